-- What waits behind the turn at work. ARGV: …, name, token.
-- Answers 'lost', or 'held' + the messages in their order.
local name, token = ARGV[3], ARGV[4]
if redis.call('HGET', facts(name), 'token') ~= token then
    return {'lost'}
end
local messages = {}
for _, entry in ipairs(redis.call('LRANGE', queue(name), 1, -1)) do
    messages[#messages + 1] = redis.call('HGET', facts(name), '+' .. split(entry))
end
return {'held', messages}
