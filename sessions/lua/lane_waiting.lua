-- What waits behind the turn at work. ARGV: …, session, token.
-- Answers 'lost', or 'held' + the messages in their order.
local session, token = ARGV[3], ARGV[4]
if redis.call('HGET', lane(session), 'token') ~= token then
    return {'lost'}
end
local messages = {}
for _, entry in ipairs(redis.call('LRANGE', queue(session), 1, -1)) do
    messages[#messages + 1] = redis.call('HGET', lane(session), '+' .. split(entry))
end
return {'held', messages}
