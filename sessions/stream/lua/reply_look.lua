-- What a turn that has ended finds of its reply. ARGV: …, channel, session, turn.
-- Answers how many pieces were sent, the reply's state or '', how many others of its session are
-- parked, milliseconds until the channel's pause is over, and 1 if its platform asked for it.
local channel, session, turn = ARGV[2], ARGV[3], ARGV[4]
local reply = load(channel, turn)
local others = count(redis.call('HGET', lanes(channel), session))
if reply and reply.state == 'parked' then
    others = others - 1
end
return {
    count(redis.call('GET', sent(turn))), reply and reply.state or '', others, paused(channel),
}
