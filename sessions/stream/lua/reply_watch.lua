-- What a replica must remember, to notice if Redis loses it. ARGV: …, a random name for the life of
-- these keys if they have none, the life that the replica knows, and the changes that it has seen.
-- Answers the life, the changes so far, the channels that have replies, and all members; nothing
-- instead of these if the replica has seen them.
allow_writing_when_full()
redis.call('HSETNX', STATE, 'life', ARGV[2])
local life = redis.call('HGET', STATE, 'life')
local changes = count(redis.call('HGET', STATE, 'changes'))
local channels = redis.call('SMEMBERS', CHANNELS)
if life == ARGV[3] and changes == tonumber(ARGV[4]) then
    return {life, changes, channels}
end
return {life, changes, channels, redis.call('ZRANGE', ALL, 0, -1)}
