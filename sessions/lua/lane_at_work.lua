-- Which turn is at work. ARGV: …, session. Answers its turn and token, or nothing.
local token = redis.call('HGET', lane(ARGV[3]), 'token')
return token and {(head(ARGV[3])), token} or {}
