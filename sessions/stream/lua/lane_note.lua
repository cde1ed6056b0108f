-- Put an event on the stream between two turns of a lane: now if no turn is at work, else when the
-- turn ends. ARGV: …, ticket, the event's fields as JSON, stream, store, depth, '1' if it may wait,
-- the seconds for which it waits at most, then the lane, and the names of other lanes of its session.
-- Answers 'published' + the stream epoch and the entry, the same again where it was done before,
-- 'waiting', 'full' + places, or 'withdrawn' where it may not wait any more.
local ticket, fields, stream, store = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local depth, patient, seconds, name = tonumber(ARGV[7]), ARGV[8], ARGV[9], ARGV[10]
local done = redis.call('GET', noted(ticket))
if done then
    return {'published', split(done)}
end
local note = cjson.encode({ticket, fields})
local busy = false
for at = 10, #ARGV do
    busy = busy or is_in_turn(ARGV[at])
end
if not busy then
    -- A full Redis refuses this first write, and with it all.
    local entry = redis.call('XADD', stream, '*', unpack(cjson.decode(fields)))
    redis.call('LREM', notes(name), 1, note)
    return {'published', redis.call('HGET', store, 'epoch') or '0', entry}
end
if patient == '0' then
    redis.call('LREM', notes(name), 1, note)
    return {'withdrawn'}
end
for _, waiting in ipairs(redis.call('LRANGE', notes(name), 0, -1)) do
    if waiting == note then
        return {'waiting'}
    end
end
local length = redis.call('LLEN', queue(name)) + redis.call('LLEN', notes(name))
if length >= depth then
    return {'full', length}
end
redis.call('RPUSH', notes(name), note)
redis.call('EXPIRE', notes(name), seconds)
return {'waiting'}
