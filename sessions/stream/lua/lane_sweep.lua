-- Take over the lanes of dead replicas. ARGV: …, then each replica that stood still and the beat
-- that it stood at.
-- A replica that has beaten since is left alone. Answers the holdings taken over, those that the
-- replica that asks had before, the {name, id} of messages that it may take now, the lanes of an
-- older version that are still in use, and the holdings of messages that were nobody's.
allow_writing_when_full()
for at = 3, #ARGV, 2 do
    if redis.call('HGET', BEATS, ARGV[at]) == ARGV[at + 1] then
        redis.call('HDEL', BEATS, ARGV[at])
    end
end
local taken, mine, due, woken = {}, {}, {}, {}
for _, name in ipairs(redis.call('SUNION', KEYS[1], KEYS[2])) do
    local holder = redis.call('HGET', facts(name), 'holder')
    local id, owner = head(name)
    if not id then
        advance(name)
    elseif holder == ME then
        mine[#mine + 1] = holding(name)
    elseif not holder and owner == NOBODY then
        woken[#woken + 1] = hold(name)
    elseif not alive(holder or owner) then
        taken[#taken + 1] = hold(name)
    elseif not holder and owner == ME then
        due[#due + 1] = {name, id}
    end
end
return {taken, mine, due, redis.call('SMEMBERS', KEYS[2]), woken}
