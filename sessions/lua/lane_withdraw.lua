-- Take a waiting message out of the lane. ARGV: …, session, id.
-- Answers 'withdrawn' + what this replica holds now, 'running' where its turn has begun, 'gone'.
local session, id = ARGV[3], ARGV[4]
local place, _, entry = find(session, id)
if not place then
    return {'gone'}
end
local held = redis.call('HEXISTS', lane(session), 'token') == 1
if place == 0 and held then
    return {'running'}
end
redis.call('LREM', queue(session), 1, entry)
redis.call('HDEL', lane(session), '+' .. id)
return {'withdrawn', held and {} or advance(session)}
