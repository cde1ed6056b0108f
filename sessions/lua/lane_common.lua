-- What the lane scripts share; it is put in front of each of them.
-- KEYS[1] is the set of lanes in use, ARGV[1] the prefix of all keys, ARGV[2] the replica that asks.
--   {prefix}lane:{session}   hash: token, holder, stage, opened, abort, and `+{id}` for each message
--   {prefix}queue:{session}  list of `{id} {owner}`, the first is at work or next
--   {prefix}lane_beats       hash: replica -> beats so far; a replica that is not in it is dead
--   {prefix}lane_token       counter of fencing tokens
--   {prefix}lane_once:{id}   a message that has aborted a turn, or found none, and must not again
local PREFIX, ME = ARGV[1], ARGV[2]
local BEATS = PREFIX .. 'lane_beats'

local function lane(session)
    return PREFIX .. 'lane:' .. session
end

local function queue(session)
    return PREFIX .. 'queue:' .. session
end

local function split(entry)
    return string.match(entry, '^(%S+) (%S+)$')
end

-- Id and owner of the message that is at work or next; nothing for a lane that is not in use.
local function head(session)
    local entry = redis.call('LINDEX', queue(session), 0)
    if entry then
        return split(entry)
    end
end

-- The message with that id as {place from 0, owner, entry}.
local function find(session, id)
    for place, entry in ipairs(redis.call('LRANGE', queue(session), 0, -1)) do
        local found, owner = split(entry)
        if found == id then
            return place - 1, owner, entry
        end
    end
end

local function alive(replica)
    return redis.call('HEXISTS', BEATS, replica) == 1
end

-- A write that changes nothing and that a full Redis allows. After it Redis lets the script write
-- on: what only moves or frees must not fail for want of memory.
local function allow_writing_when_full()
    redis.call('DEL', PREFIX .. 'lane_nothing')
end

-- What the holder has: {session, token, id, stage, entry that opened the turn, message}.
local function holding(session)
    local id = head(session)
    local found = redis.call('HMGET', lane(session), 'token', 'stage', 'opened', '+' .. id)
    return {session, found[1], id, found[2], found[3] or '', found[4]}
end

-- Give the lane to the replica that asks, with a new token.
local function hold(session)
    local token = redis.call('INCR', PREFIX .. 'lane_token') .. ':' .. ME
    redis.call('HSET', lane(session), 'token', token, 'holder', ME)
    redis.call('HSETNX', lane(session), 'stage', 'taken')
    return holding(session)
end

local function signal(word, session)
    redis.call('PUBLISH', PREFIX .. 'lane_signals', word .. ' ' .. session)
end

-- Let a free lane go on: gone if it is empty, else for whoever put the next message there; the
-- replica that asks gets it at once if that is itself or dead.
local function advance(session)
    local id, owner = head(session)
    if not id then
        redis.call('DEL', lane(session), queue(session))
        redis.call('SREM', KEYS[1], session)
    elseif owner == ME or not alive(owner) then
        return hold(session)
    else
        signal('free', session)
    end
    return {}
end

-- Whether that message asks for an abort the first time. It is remembered for longer than any
-- platform goes on delivering a message again.
local function first_time(id)
    return redis.call('SET', PREFIX .. 'lane_once:' .. id, '1', 'NX', 'EX', 172800)
end

local function abort(session)
    redis.call('HSET', lane(session), 'abort', '1')
    signal('abort', session)
end
