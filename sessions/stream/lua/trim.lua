-- Drop the entries before ARGV[1]; how many. Nothing goes where the stream's last id is before ARGV[2],
-- the last one that was applied: then it is another stream, of which nobody has read that far.
-- KEYS[1] stream. The numbers of ids have 64 bits, more than Lua's: so they are compared as text.

local function split(id)
    local ms, seq = string.match(id, '^(%d+)-(%d+)$')
    return ms, seq
end

local function less(one, other)
    if #one ~= #other then
        return #one < #other
    end
    return one < other
end

if redis.call('EXISTS', KEYS[1]) == 0 then
    return 0
end
local info, last = redis.call('XINFO', 'STREAM', KEYS[1]), nil
for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
        last = info[i + 1]
    end
end
local ms, seq = split(last)
local applied_ms, applied_seq = split(ARGV[2])
if less(ms, applied_ms) or (ms == applied_ms and less(seq, applied_seq)) then
    return 0
end
return redis.call('XTRIM', KEYS[1], 'MINID', ARGV[1])
