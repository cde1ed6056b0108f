-- What may be sent on a channel now: the first reply of each of its sessions, as many as are asked
-- for. Those come first that were left alone longest, so that no session that always fails keeps
-- the others waiting. Replies whose time is over become undelivered. ARGV: …, channel, how many,
-- what is told of those that were never tried, how many undelivered ones an agent may have.
-- Answers the heads, none during a pause; the turns that became undelivered; those that went.
local MOST = 256
allow_writing_when_full()
local channel, most, bound = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[5])
local time, firsts, over, gone, seen = now(), {}, {}, {}, {}
if paused(channel) > 0 then
    most = 0
end
for _, turn in ipairs(redis.call('ZRANGE', queue(channel), 0, -1)) do
    local reply = load(channel, turn)
    if reply['until'] > time then
        if not seen[reply.session] then
            seen[reply.session] = true
            firsts[#firsts + 1] = reply
        end
    elseif #over < MOST then
        reply.error = reply.error ~= '' and reply.error or ARGV[4]
        over[#over + 1] = turn
        for _, other in ipairs(give_up(reply, bound)) do
            gone[#gone + 1] = other
        end
    end
end
table.sort(firsts, function(one, other)
    local left, right = one.tried or one.since, other.tried or other.since
    if left == right then
        return one.number < other.number
    end
    return left < right
end)
local heads = {}
for place = 1, math.min(most, #firsts) do
    heads[place] = told(firsts[place])
end
return {heads, over, gone}
