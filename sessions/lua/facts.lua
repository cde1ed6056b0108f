-- What Redis knows of the stream, without any content.
-- KEYS: stream, store. Returns {last id, entries added or -1, length, first id, store hash}.
local last, added, length, first = '0-0', 0, 0, '0-0'
if redis.call('EXISTS', KEYS[1]) == 1 then
    local info = redis.call('XINFO', 'STREAM', KEYS[1])
    added = -1 -- before Redis 7 nobody counts
    for i = 1, #info, 2 do
        if info[i] == 'last-generated-id' then
            last = info[i + 1]
        elseif info[i] == 'entries-added' then
            added = info[i + 1]
        elseif info[i] == 'length' then
            length = info[i + 1]
        elseif info[i] == 'first-entry' and info[i + 1] then
            first = info[i + 1][1]
        end
    end
end
return {last, added, length, first, redis.call('HGETALL', KEYS[2])}
