-- What Redis knows of the stream, without any content.
-- KEYS: stream, store. ARGV: a place, and how many entries a reader there has accounted for.
-- Returns {last id, entries added or -1, length, first id, store hash, entries behind the place,
-- newest id}. The last id is the highest that ever was, the newest that of an entry that is there.
-- Entries behind are -1 where they should be more than MOST, for looking at entries takes time.
local MOST = 128
local last, added, length, first, newest = '0-0', 0, 0, '0-0', '0-0'
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
        elseif info[i] == 'last-entry' and info[i + 1] then
            newest = info[i + 1][1]
        end
    end
end
local behind = -1
local expected = added - ARGV[2]
if expected == 0 then
    behind = 0
elseif expected > 0 and expected <= MOST then
    behind = #redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', expected)
end
return {last, added, length, first, redis.call('HGETALL', KEYS[2]), behind, newest}
