-- Note that so many pieces of a reply were sent, and that its channel takes replies. The number
-- never falls. A pause that the platform asked for goes on: what was sent may be older than that.
-- ARGV: …, channel, turn, pieces. Answers how many were sent.
allow_writing_when_full()
local channel, turn = ARGV[2], ARGV[3]
local number = math.max(count(redis.call('GET', sent(turn))), tonumber(ARGV[4]))
redis.call('SET', sent(turn), number)
if not load(channel, turn) then
    redis.call('EXPIRE', sent(turn), AFTERLIFE)
end
local left, asked = paused(channel)
if left == 0 or asked == 0 then
    redis.call('DEL', pause(channel))
end
return number
