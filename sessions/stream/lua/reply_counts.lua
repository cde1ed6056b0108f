-- How many replies each channel has. Answers channel, parked ones and undelivered ones in turn.
local found = {}
for _, channel in ipairs(redis.call('SMEMBERS', CHANNELS)) do
    local parked = redis.call('ZCARD', queue(channel))
    local all = redis.call('HLEN', replies(channel))
    found[#found + 1] = {channel, parked, all - parked}
end
return found
