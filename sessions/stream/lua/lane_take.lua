-- Take the lane for a waiting message. ARGV: …, name, id.
-- Answers 'taken' + holding, 'waiting' + place, 'gone' where the message is not in the lane, or
-- 'declared_dead' where this replica was declared dead.
local name, id = ARGV[3], ARGV[4]
allow_writing_when_full()
if not alive(ME) then
    return {'declared_dead'}
end
local place = find(name, id)
if not place then
    return {'gone'}
end
local holder = redis.call('HGET', facts(name), 'holder')
if place > 0 or (holder and holder ~= ME) then
    return {'waiting', place}
end
return {'taken', holder and holding(name) or hold(name)}
