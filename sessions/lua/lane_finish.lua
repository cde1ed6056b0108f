-- End the turn at work and let the lane go on. ARGV: …, session, token.
-- Answers 'lost', or 'free' + what this replica holds next (nothing in most cases).
local session, token = ARGV[3], ARGV[4]
if redis.call('HGET', lane(session), 'token') ~= token then
    return {'lost'}
end
local id = head(session)
redis.call('LPOP', queue(session))
redis.call('HDEL', lane(session), 'token', 'holder', 'stage', 'opened', 'abort', 'ids:opened',
    'ids:ended', '+' .. id)
return {'free', advance(session)}
