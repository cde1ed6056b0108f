-- What the scripts of replies share; it is put in front of each of them.
-- KEYS[1] is the hash `reply_state`, ARGV[1] the prefix of all keys. Times are milliseconds since
-- 1970 by the clock of Redis. A reply is a JSON object, its member `{turn} {channel}`.
--   {prefix}reply_state                 hash: life (random), changes so far, number of the last one
--   {prefix}reply_channels              set of the channels that have replies here
--   {prefix}reply_all                   sorted set of members by number
--   {prefix}replies:{channel}           hash: turn -> reply
--   {prefix}reply_queue:{channel}       sorted set of the parked turns by number
--   {prefix}reply_lanes:{channel}       hash: session -> how many are parked
--   {prefix}reply_parked                hash: agent -> how many are parked
--   {prefix}reply_undelivered:{agent}   sorted set of the members that are undelivered, by number
--   {prefix}reply_pause:{channel}       hash: failures, until, asked (1: by the platform)
--   {prefix}sent:{turn}                 how many pieces of a reply were sent
local PREFIX, STATE = ARGV[1], KEYS[1]
local CHANNELS, ALL = PREFIX .. 'reply_channels', PREFIX .. 'reply_all'
local PARKED = PREFIX .. 'reply_parked'
-- Seconds that notes outlive their reply: longer than any replica takes over.
local AFTERLIFE = 86400

local function now()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function replies(channel)
    return PREFIX .. 'replies:' .. channel
end

local function queue(channel)
    return PREFIX .. 'reply_queue:' .. channel
end

local function lanes(channel)
    return PREFIX .. 'reply_lanes:' .. channel
end

local function undelivered(agent)
    return PREFIX .. 'reply_undelivered:' .. agent
end

local function pause(channel)
    return PREFIX .. 'reply_pause:' .. channel
end

local function sent(turn)
    return PREFIX .. 'sent:' .. turn
end

local function member(reply)
    return reply.turn .. ' ' .. reply.channel
end

local function count(found)
    return tonumber(found or '0')
end

local function load(channel, turn)
    local found = redis.call('HGET', replies(channel), turn)
    return found and cjson.decode(found)
end

-- The reply to a turn, whichever channel it is for.
local function find(turn)
    for _, channel in ipairs(redis.call('SMEMBERS', CHANNELS)) do
        local reply = load(channel, turn)
        if reply then
            return reply
        end
    end
end

local function save(reply)
    redis.call('HSET', replies(reply.channel), reply.turn, cjson.encode(reply))
end

local function changed()
    redis.call('HINCRBY', STATE, 'changes', 1)
end

local function lower(key, field)
    if redis.call('HINCRBY', key, field, -1) <= 0 then
        redis.call('HDEL', key, field)
    end
end

-- Put a reply where those of its state are.
local function enter(reply)
    if reply.state == 'parked' then
        redis.call('ZADD', queue(reply.channel), reply.number, reply.turn)
        redis.call('HINCRBY', lanes(reply.channel), reply.session, 1)
        redis.call('HINCRBY', PARKED, reply.agent, 1)
    else
        redis.call('ZADD', undelivered(reply.agent), reply.number, member(reply))
    end
end

local function leave(reply)
    if reply.state == 'parked' then
        redis.call('ZREM', queue(reply.channel), reply.turn)
        lower(lanes(reply.channel), reply.session)
        lower(PARKED, reply.agent)
    else
        redis.call('ZREM', undelivered(reply.agent), member(reply))
    end
end

local function add(reply)
    reply.number = redis.call('HINCRBY', STATE, 'number', 1)
    save(reply)
    redis.call('SADD', CHANNELS, reply.channel)
    redis.call('ZADD', ALL, reply.number, member(reply))
    enter(reply)
    redis.call('PERSIST', sent(reply.turn))
    changed()
end

local function remove(reply)
    leave(reply)
    redis.call('HDEL', replies(reply.channel), reply.turn)
    redis.call('ZREM', ALL, member(reply))
    if redis.call('EXISTS', replies(reply.channel)) == 0 then
        redis.call('SREM', CHANNELS, reply.channel)
    end
    redis.call('EXPIRE', sent(reply.turn), AFTERLIFE)
    changed()
end

-- Whether another reply of the agent can be parked.
local function is_full(agent, bound)
    return count(redis.call('HGET', PARKED, agent)) >= bound
end

-- Of too many undelivered replies of an agent the oldest go; their turns.
local function trim(agent, bound)
    local gone = {}
    while redis.call('ZCARD', undelivered(agent)) > bound do
        local turn = string.match(redis.call('ZRANGE', undelivered(agent), 0, 0)[1], '^%S+')
        remove(find(turn))
        gone[#gone + 1] = turn
    end
    return gone
end

-- Move a reply among the undelivered ones; the turns that went for it.
local function give_up(reply, bound)
    leave(reply)
    reply.state = 'undelivered'
    save(reply)
    enter(reply)
    changed()
    return trim(reply.agent, bound)
end

-- Milliseconds until the channel's pause is over, and whether its platform asked for it.
local function paused(channel)
    local found = redis.call('HMGET', pause(channel), 'until', 'asked')
    return math.max(0, count(found[1]) - now()), count(found[2])
end

-- The reply as it is told: as it is kept, and how many pieces were sent.
local function told(reply)
    return {cjson.encode(reply), count(redis.call('GET', sent(reply.turn)))}
end
