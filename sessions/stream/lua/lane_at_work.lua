-- Which turn is at work. ARGV: …, name. Answers its turn and token, or nothing.
local token = redis.call('HGET', facts(ARGV[3]), 'token')
return token and {(head(ARGV[3])), token} or {}
