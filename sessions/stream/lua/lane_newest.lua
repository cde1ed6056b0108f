-- The newest entry of a session behind a point of the stream. ARGV: …, session, that point, stream,
-- store, most entries to look at.
-- Answers the registered epoch, the stream's last id, and the entry: its id, '' if there is none,
-- or the last id where there is too much to look through.
local CHUNK = 16
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
local found, from = '', after
while left > 0 do
    local entries = redis.call('XRANGE', stream, '(' .. from, '+', 'COUNT', CHUNK)
    for _, entry in ipairs(entries) do
        for at = 1, #entry[2], 2 do
            if entry[2][at] == 'session' and entry[2][at + 1] == session then
                found = entry[1]
            end
        end
        from = entry[1]
    end
    if #entries < CHUNK then
        return {epoch, last, found}
    end
    left = left - CHUNK
end
return {epoch, last, last}
