-- What the lane scripts share; it is put in front of each of them.
-- KEYS[1] is the set of the lanes in use, KEYS[2] the set of those that a version before lanes had
-- agents has in use, ARGV[1] the prefix of all keys, ARGV[2] the replica that asks. A lane's name
-- is what the caller says, bytes of any kind.
--   {prefix}lane:{name}      hash: token, holder, stage, opened, abort, and `+{id}` for each message
--   {prefix}queue:{name}     list of `{id} {owner}`, the first is at work or next
--   {prefix}lane_beats       hash: replica -> beats so far; a replica that is not in it is dead
--   {prefix}lane_token       counter of fencing tokens
--   {prefix}lane_once:{id}   a message that has aborted a turn, or found none, and must not again
--   {prefix}lane_removed:{id} a message that was taken out of its lane for good: the entry that says so
--   {prefix}lane_woken:{id}  what a message from outside of all replicas says, as a digest
--   {prefix}lane_from:{name} where the lane's last message came from: JSON, channel and address
--   {prefix}lane_notes:{name} events that wait for the end of the turn: JSON, ticket and fields
--   {prefix}lane_noted:{ticket} `{epoch} {entry}` of one that was put on the stream then
local PREFIX, ME = ARGV[1], ARGV[2]
-- Seconds that a message is remembered: longer than any platform goes on delivering it again.
local REMEMBERED = 172800
-- Seconds for which it is told where such an event is: who waits for it asks many times a second.
local NOTED = 60
local BEATS = PREFIX .. 'lane_beats'
-- Owns what was put into a lane from outside of all replicas. Never alive: no replica is called so.
local NOBODY = '-'

local function facts(name)
    return PREFIX .. 'lane:' .. name
end

local function queue(name)
    return PREFIX .. 'queue:' .. name
end

local function removal(id)
    return PREFIX .. 'lane_removed:' .. id
end

local function notes(name)
    return PREFIX .. 'lane_notes:' .. name
end

local function noted(ticket)
    return PREFIX .. 'lane_noted:' .. ticket
end

local function split(entry)
    return string.match(entry, '^(%S+) (%S+)$')
end

-- Id and owner of the message that is at work or next; nothing for a lane that is not in use.
local function head(name)
    local entry = redis.call('LINDEX', queue(name), 0)
    if entry then
        return split(entry)
    end
end

-- The message with that id as {place from 0, owner, entry}.
local function find(name, id)
    for place, entry in ipairs(redis.call('LRANGE', queue(name), 0, -1)) do
        local found, owner = split(entry)
        if found == id then
            return place - 1, owner, entry
        end
    end
end

local function alive(replica)
    return redis.call('HEXISTS', BEATS, replica) == 1
end

-- The newest entry of a session behind a point of the stream, '' if there is none; nothing if there
-- are more than `most` entries to look through.
local function newest(session, after, stream, most)
    local CHUNK = 16
    local found, from, left = '', after, most
    while left > 0 do
        local entries = redis.call('XRANGE', stream, '(' .. from, '+', 'COUNT', CHUNK)
        for _, entry in ipairs(entries) do
            for at = 1, #entry[2], 2 do
                if entry[2][at] == 'session' and entry[2][at + 1] == session then
                    found = entry[1]
                end
            end
            from = entry[1]
        end
        if #entries < CHUNK then
            return found
        end
        left = left - CHUNK
    end
end

-- Whether a turn has the lane whose end is not on the stream yet.
local function is_in_turn(name)
    local found = redis.call('HMGET', facts(name), 'token', 'stage')
    return found[1] and found[2] ~= 'ended'
end

-- Put what waits for the end of the turn on the stream, in its order.
local function publish_notes(name, stream, epoch)
    for _, note in ipairs(redis.call('LRANGE', notes(name), 0, -1)) do
        local ticket, fields = unpack(cjson.decode(note))
        local entry = redis.call('XADD', stream, '*', unpack(cjson.decode(fields)))
        redis.call('SET', noted(ticket), epoch .. ' ' .. entry, 'EX', NOTED)
    end
    redis.call('DEL', notes(name))
end

-- What the holder has: {name, token, id, stage, entry that opened the turn, message}.
local function holding(name)
    local id = head(name)
    local found = redis.call('HMGET', facts(name), 'token', 'stage', 'opened', '+' .. id)
    return {name, found[1], id, found[2], found[3] or '', found[4]}
end

-- The ids of the messages that are at work in the lane, as a set: the first one, and those that
-- became a part of its turn, which the events tell that opened it.
local function at_work(name, stream)
    local found = redis.call('HMGET', facts(name), 'token', 'ids:opened')
    local ids = {}
    if found[1] then
        ids[head(name)] = true
    end
    for _, opened in ipairs(found[2] and cjson.decode(found[2]) or {}) do
        for _, entry in ipairs(redis.call('XRANGE', stream, opened, opened)) do
            for at = 1, #entry[2], 2 do
                if entry[2][at] == 'id' then
                    ids[entry[2][at + 1]] = true
                end
            end
        end
    end
    return ids
end

-- Give the lane to the replica that asks, with a new token.
local function hold(name)
    local token = redis.call('INCR', PREFIX .. 'lane_token') .. ':' .. ME
    redis.call('HSET', facts(name), 'token', token, 'holder', ME)
    redis.call('HSETNX', facts(name), 'stage', 'taken')
    return holding(name)
end

local function signal(word, name)
    redis.call('PUBLISH', PREFIX .. 'lane_hints', word .. ' ' .. name)
end

-- Forget a lane in which nothing is any more.
local function drop(name)
    redis.call('DEL', facts(name), queue(name))
    redis.call('SREM', KEYS[1], name)
    redis.call('SREM', KEYS[2], name)
end

-- Let a free lane go on: gone if it is empty, else for the one who put the next message there; the
-- replica that asks gets it at once if that is itself or dead.
local function advance(name)
    local id, owner = head(name)
    if not id then
        drop(name)
    elseif owner == ME or not alive(owner) then
        return hold(name)
    else
        signal('free', name)
    end
    return {}
end

-- Whether that message asks for an abort the first time, also under the id that it had before (or
-- '').
local function first_time(id, former)
    if former ~= '' and redis.call('EXISTS', PREFIX .. 'lane_once:' .. former) == 1 then
        return false
    end
    return redis.call('SET', PREFIX .. 'lane_once:' .. id, '1', 'NX', 'EX', REMEMBERED)
end

local function abort(name)
    redis.call('HSET', facts(name), 'abort', '1')
    signal('abort', name)
end
