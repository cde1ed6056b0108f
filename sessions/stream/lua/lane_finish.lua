-- End the turn at work and let the lane go on. ARGV: …, name, token.
-- Answers 'lost', or 'free' + what this replica holds next (nothing in most cases).
local name, token = ARGV[3], ARGV[4]
if redis.call('HGET', facts(name), 'token') ~= token then
    return {'lost'}
end
local id = head(name)
redis.call('LPOP', queue(name))
redis.call('HDEL', facts(name), 'token', 'holder', 'stage', 'opened', 'abort', 'ids:opened',
    'ids:ended', '+' .. id)
return {'free', advance(name)}
