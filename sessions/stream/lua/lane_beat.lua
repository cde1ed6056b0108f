-- Show that this replica lives. ARGV: …, number of lanes held, name and token of each, then the
-- lanes in which it waits.
-- Answers 'declared_dead' where it was declared dead, else 'alive', the lanes that it has lost,
-- those whose turn shall be aborted, and those where it waits and the lane is free.
allow_writing_when_full()
if not alive(ME) then
    return {'declared_dead'}
end
redis.call('HINCRBY', BEATS, ME, 1)
local lost, aborted, free = {}, {}, {}
local first_waiting = 4 + 2 * tonumber(ARGV[3])
for at = 4, first_waiting - 1, 2 do
    local name, token = ARGV[at], ARGV[at + 1]
    local found = redis.call('HMGET', facts(name), 'token', 'abort')
    if found[1] ~= token then
        lost[#lost + 1] = name
    elseif found[2] then
        aborted[#aborted + 1] = name
    end
end
for at = first_waiting, #ARGV do
    if redis.call('HEXISTS', facts(ARGV[at]), 'token') == 0 then
        free[#free + 1] = ARGV[at]
    end
end
return {'alive', lost, aborted, free}
