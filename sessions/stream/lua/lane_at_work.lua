-- Which turn is at work. ARGV: …, name. Answers its turn and token, and its stage, or nothing.
local found = redis.call('HMGET', facts(ARGV[3]), 'token', 'stage')
return found[1] and {(head(ARGV[3])), found[1], found[2]} or {}
