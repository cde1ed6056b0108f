-- Take, renew or (with 0) release a lease. KEYS: its key. ARGV: the holder, milliseconds.
-- Answers 1 where the holder has it now, or had it, else 0.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
    return 0
end
if ARGV[2] == '0' then
    redis.call('DEL', KEYS[1])
else
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 1
