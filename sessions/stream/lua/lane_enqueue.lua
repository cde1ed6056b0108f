-- Put a message at the end of its lane. ARGV: …, name, id, message, depth, '1' if the turn at work
-- is to be aborted for it, the first time that it comes, and the id that it had before, or ''; then
-- where it came from, if its channel can answer there at any time.
-- Answers 'taken' + holding, 'waiting' + place, 'known' where another replica has the message or
-- it was removed before, 'full' + places, or 'declared_dead' where this replica was declared dead.
local name, id, message, depth, urgent = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6]), ARGV[7]
local former, origin = ARGV[8], ARGV[9]
-- Seconds for which it is remembered where the person of a lane can be reached: 90 days.
local REACHED = 7776000
if not alive(ME) then
    return {'declared_dead'}
end
local place, owner = find(name, id)
if place then
    local holder = redis.call('HGET', facts(name), 'holder')
    if place == 0 and holder == ME then
        return {'taken', holding(name)}
    end
    return owner == ME and {'waiting', place} or {'known', place}
end
if redis.call('EXISTS', removal(id)) == 1 then
    return {'known', 0}
end
local length = redis.call('LLEN', queue(name))
if length >= depth then
    return {'full', length}
end
-- A full Redis refuses the first write, and with it all.
redis.call('HSET', facts(name), '+' .. id, message)
redis.call('RPUSH', queue(name), id .. ' ' .. ME)
redis.call('SADD', KEYS[1], name)
if origin then
    redis.call('SET', PREFIX .. 'lane_from:' .. name, origin, 'EX', REACHED)
end
if
    urgent == '1' and first_time(id, former)
    and redis.call('HEXISTS', facts(name), 'token') == 1
then
    abort(name)
end
if length == 0 then
    return {'taken', hold(name)}
end
return {'waiting', length}
