-- Take over the lanes of dead replicas. ARGV: …, then each replica that stood still and the beat
-- that it stood at.
-- A replica that has beaten since is left alone. Answers {taken over, held before}, each a list of
-- holdings of the replica that asks.
allow_writing_when_full()
for at = 3, #ARGV, 2 do
    if redis.call('HGET', BEATS, ARGV[at]) == ARGV[at + 1] then
        redis.call('HDEL', BEATS, ARGV[at])
    end
end
local taken, mine = {}, {}
for _, session in ipairs(redis.call('SMEMBERS', KEYS[1])) do
    local holder = redis.call('HGET', lane(session), 'holder')
    local _, owner = head(session)
    if not owner then
        advance(session)
    elseif holder == ME then
        mine[#mine + 1] = holding(session)
    elseif not alive(holder or owner) then
        taken[#taken + 1] = hold(session)
    end
end
return {taken, mine}
