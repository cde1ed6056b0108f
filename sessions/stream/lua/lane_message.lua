-- The message of the turn at work. ARGV: …, name. Answers it, or nothing.
local name = ARGV[3]
if redis.call('HEXISTS', facts(name), 'token') == 0 then
    return {}
end
return {holding(name)[6]}
