-- The newest entry of a session behind a point of the stream. ARGV: …, session, that point, stream,
-- store, most entries to look at.
-- Answers the registered epoch, the stream's last id, and the entry: its id, '' if there is none,
-- or the last id where there is too much to look through.
local session, after, stream, store, left = ARGV[3], ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])
local epoch = redis.call('HGET', store, 'epoch') or '0'
local last = '0-0'
if redis.call('EXISTS', stream) == 1 then
    local info = redis.call('XINFO', 'STREAM', stream)
    for at = 1, #info, 2 do
        if info[at] == 'last-generated-id' then
            last = info[at + 1]
        end
    end
end
return {epoch, last, newest(session, after, stream, left) or last}
