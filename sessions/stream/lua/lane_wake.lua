-- Put a message from outside of all replicas at the end of a lane: for nobody, so that the next
-- sweep of any replica takes it. ARGV: …, name, id, message, depth, what it says as a digest, and
-- the seconds for which that is remembered.
-- Answers 'waiting' + place, 'known' where it is in the lane or was removed from it, 'other' where a message with
-- that id said something else, or 'full' + places.
local name, id, message, depth = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local digest, seconds = ARGV[7], ARGV[8]
local woken = PREFIX .. 'lane_woken:' .. id
local before = redis.call('GET', woken)
if before and before ~= digest then
    return {'other'}
end
if find(name, id) or redis.call('EXISTS', removal(id)) == 1 then
    return {'known'}
end
local length = redis.call('LLEN', queue(name))
if length >= depth then
    return {'full', length}
end
-- A full Redis refuses the first write, and with it all.
redis.call('SET', woken, digest, 'EX', seconds)
redis.call('HSET', facts(name), '+' .. id, message)
redis.call('RPUSH', queue(name), id .. ' ' .. NOBODY)
redis.call('SADD', KEYS[1], name)
return {'waiting', length}
