-- Close a session in which nothing goes on: put events on the stream if nothing of it is in its lanes,
-- and nothing of it has come since a point of the stream.
-- ARGV: …, session, that point, its epoch, stream, store, most entries to look at, the number of the
-- lanes and their names, then for each event the number of its field names and values, and these.
-- Answers 'closed', or 'busy'.
local session, after, epoch, stream, store = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local first = 10 + tonumber(ARGV[9])
for at = 10, first - 1 do
    if head(ARGV[at]) then
        return {'busy'}
    end
end
if
    (redis.call('HGET', store, 'epoch') or '0') ~= epoch
    or newest(session, after, stream, tonumber(ARGV[8])) ~= ''
then
    return {'busy'}
end
local at = first
while at <= #ARGV do
    local count = tonumber(ARGV[at])
    -- A full Redis refuses the first of these, and with it all.
    redis.call('XADD', stream, '*', unpack(ARGV, at + 1, at + count))
    at = at + count + 1
end
return {'closed'}
