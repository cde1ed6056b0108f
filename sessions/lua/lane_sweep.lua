-- Take over the lanes of dead replicas. ARGV: …, then each replica that stood still and the beat
-- that it stood at.
-- A replica that has beaten since is left alone. Answers the holdings taken over, those that the
-- replica that asks had before, and the {session, id} of messages that it may take now.
allow_writing_when_full()
for at = 3, #ARGV, 2 do
    if redis.call('HGET', BEATS, ARGV[at]) == ARGV[at + 1] then
        redis.call('HDEL', BEATS, ARGV[at])
    end
end
local taken, mine, due = {}, {}, {}
for _, session in ipairs(redis.call('SMEMBERS', KEYS[1])) do
    local holder = redis.call('HGET', lane(session), 'holder')
    local id, owner = head(session)
    if not id then
        advance(session)
    elseif holder == ME then
        mine[#mine + 1] = holding(session)
    elseif not alive(holder or owner) then
        taken[#taken + 1] = hold(session)
    elseif not holder and owner == ME then
        due[#due + 1] = {session, id}
    end
end
return {taken, mine, due}
