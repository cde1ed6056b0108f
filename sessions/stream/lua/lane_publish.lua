-- Put the events of a turn on the stream if the lane is still held with this token.
-- ARGV: …, name, token, stage that this brings the turn to, stream, store, the number of messages
-- that become a part of the turn and their ids, then for each event the number of its field names
-- and values, and these. Without events only the stage changes.
-- Answers 'lost', 'changed' where one of these messages is not in the lane any more, or the stream
-- epoch and the entries' ids; the same again where it was done before.
local name, token, stage, stream, store = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local found = redis.call('HMGET', facts(name), 'token', 'stage', 'ids:' .. stage)
if found[1] ~= token then
    return {'lost'}
end
local epoch = redis.call('HGET', store, 'epoch') or '0'
if found[3] then
    return {epoch, cjson.decode(found[3])}
end
local first = 9 + tonumber(ARGV[8])
for at = 9, first - 1 do
    if redis.call('HEXISTS', facts(name), '+' .. ARGV[at]) == 0 then
        return {'changed'}
    end
end
local ids = {}
local at = first
while at <= #ARGV do
    local count = tonumber(ARGV[at])
    -- A full Redis refuses the first of these, and with it all.
    ids[#ids + 1] = redis.call('XADD', stream, '*', unpack(ARGV, at + 1, at + count))
    at = at + count + 1
end
redis.call('HSET', facts(name), 'stage', stage, 'ids:' .. stage, cjson.encode(ids))
if stage == 'opened' and ids[1] then
    redis.call('HSET', facts(name), 'opened', ids[1])
elseif stage == 'ended' then
    publish_notes(name, stream, epoch)
end
return {epoch, ids}
