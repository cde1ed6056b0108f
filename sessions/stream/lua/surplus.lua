-- The first entry to keep when about ARGV[2] bytes at the front of the stream are dropped.
-- KEYS[1] stream; ARGV: cursor (entries behind it must stay), bytes to drop, most entries to look at.
local CHUNK = 16
local room, left = tonumber(ARGV[2]), tonumber(ARGV[3])
local from = '-'
while left > 0 do
    local entries = redis.call('XRANGE', KEYS[1], from, ARGV[1], 'COUNT', CHUNK)
    if #entries == 0 then
        break
    end
    for _, entry in ipairs(entries) do
        if room <= 0 then
            return entry[1]
        end
        for _, part in ipairs(entry[2]) do
            room = room - #part
        end
        from = '(' .. entry[1]
        left = left - 1
    end
end
return from
