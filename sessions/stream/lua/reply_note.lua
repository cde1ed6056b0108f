-- Note that so many pieces of a reply were sent, and that its channel takes replies. The number
-- never falls. ARGV: …, channel, turn, pieces. Answers how many were sent.
allow_writing_when_full()
local channel, turn = ARGV[2], ARGV[3]
local number = math.max(count(redis.call('GET', sent(turn))), tonumber(ARGV[4]))
redis.call('SET', sent(turn), number)
if not load(channel, turn) then
    redis.call('EXPIRE', sent(turn), AFTERLIFE)
end
redis.call('DEL', pause(channel))
return number
