-- Take a waiting message out of its lane for good, and put the event on the stream that says so.
-- ARGV: …, name, id, stream, store, then the names and values of the event's fields.
-- Answers 'removed' + the stream epoch and the event's entry, the same again where it was done
-- before, 'running' where it is a part of the turn at work, or 'gone' where it is not in the lane.
local name, id, stream, store = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local epoch = redis.call('HGET', store, 'epoch') or '0'
local place, _, entry = find(name, id)
if not place then
    local before = redis.call('GET', removal(id))
    return before and {'removed', epoch, before} or {'gone'}
end
if at_work(name, stream)[id] then
    return {'running'}
end
-- It frees about as much as it takes.
allow_writing_when_full()
redis.call('LREM', queue(name), 1, entry)
redis.call('HDEL', facts(name), '+' .. id)
local published = redis.call('XADD', stream, '*', unpack(ARGV, 7))
redis.call('SET', removal(id), published, 'EX', REMEMBERED)
signal('removed', name)
if redis.call('HEXISTS', facts(name), 'token') == 0 then
    if head(name) then
        signal('free', name)
    else
        drop(name)
    end
end
return {'removed', epoch, published}
