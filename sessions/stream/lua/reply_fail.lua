-- Note that a channel did not take a reply. ARGV: …, channel, turn, error, milliseconds of the
-- first pause, of the longest one, and those that the platform asked for, or 0.
-- What fails during a pause began before it, and lengthens it only if the platform asks.
allow_writing_when_full()
local channel, turn = ARGV[2], ARGV[3]
local first, longest, asked = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local reply = load(channel, turn)
local key, time = pause(channel), now()
if reply then
    reply.tries, reply.error, reply.tried = reply.tries + 1, ARGV[4], time
    save(reply)
end
local found = redis.call('HMGET', key, 'failures', 'until')
local failures, over = count(found[1]), count(found[2])
if over <= time then
    over = time + math.min(first * 2 ^ math.min(failures, 16), longest)
    redis.call('HSET', key, 'failures', failures + 1, 'asked', 0)
end
if asked > 0 then
    over = math.max(over, time + asked)
    redis.call('HSET', key, 'asked', 1)
end
redis.call('HSET', key, 'until', string.format('%.0f', over))
redis.call('PEXPIRE', key, string.format('%.0f', over - time + AFTERLIFE * 1000))
return {}
