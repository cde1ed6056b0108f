-- Replies in the order in which they came here. ARGV: …, the number behind which it begins, how many.
local found = redis.call('ZRANGEBYSCORE', ALL, '(' .. ARGV[2], '+inf', 'LIMIT', 0, ARGV[3])
for place, name in ipairs(found) do
    local turn, channel = string.match(name, '^(%S+) (.*)$')
    found[place] = told(load(channel, turn))
end
return found
