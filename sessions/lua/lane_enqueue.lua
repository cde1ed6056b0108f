-- Put a message at the end of its lane. ARGV: …, session, id, message, depth, and '1' where the
-- turn at work shall be aborted for it, the first time that it comes.
-- Answers 'taken' + holding, 'waiting' + place, 'known' where another replica has the message,
-- 'full' + places, or 'stranger' where this replica was declared dead.
local session, id, message, depth, urgent = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6]), ARGV[7]
if not alive(ME) then
    return {'stranger'}
end
local place, owner = find(session, id)
if place then
    local holder = redis.call('HGET', lane(session), 'holder')
    if place == 0 and holder == ME then
        return {'taken', holding(session)}
    end
    return owner == ME and {'waiting', place} or {'known', place}
end
local length = redis.call('LLEN', queue(session))
if length >= depth then
    return {'full', length}
end
-- A full Redis refuses the first write, and with it all.
redis.call('HSET', lane(session), '+' .. id, message)
redis.call('RPUSH', queue(session), id .. ' ' .. ME)
redis.call('SADD', KEYS[1], session)
if urgent == '1' and first_time(id) and redis.call('HEXISTS', lane(session), 'token') == 1 then
    abort(session)
end
if length == 0 then
    return {'taken', hold(session)}
end
return {'waiting', length}
