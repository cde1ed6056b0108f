-- The entries behind a cursor, bounded by count and by bytes.
-- KEYS[1] stream; ARGV: cursor, most entries, most bytes of names and values.
-- XREAD alone bounds the count only: 500 entries of 256 KiB would be one answer of 128 MB. The
-- last entry may exceed the bound, so that one larger than all of it is read too.
local CHUNK = 8
local cursor, left, room = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local found = {}
while left > 0 and room > 0 do
    local reply = redis.call('XREAD', 'COUNT', math.min(left, CHUNK), 'STREAMS', KEYS[1], cursor)
    if not reply then
        break
    end
    for _, entry in ipairs(reply[1][2]) do
        found[#found + 1] = entry
        cursor = entry[1]
        left = left - 1
        for _, part in ipairs(entry[2]) do
            room = room - #part
        end
        if room <= 0 then
            break
        end
    end
end
return found
