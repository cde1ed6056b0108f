-- A write that changes nothing and that a full Redis allows. After it Redis lets the script write
-- on: what only moves, frees or notes must not fail for want of memory. ARGV[1] is the prefix.
local function allow_writing_when_full()
    redis.call('DEL', ARGV[1] .. 'lane_nothing')
end
