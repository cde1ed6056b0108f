-- Take a waiting message out of the lane. ARGV: …, name, id.
-- Answers 'withdrawn' + what this replica holds now, 'running' where its turn has begun, 'gone'.
local name, id = ARGV[3], ARGV[4]
local place, _, entry = find(name, id)
if not place then
    return {'gone'}
end
local held = redis.call('HEXISTS', facts(name), 'token') == 1
if place == 0 and held then
    return {'running'}
end
redis.call('LREM', queue(name), 1, entry)
redis.call('HDEL', facts(name), '+' .. id)
return {'withdrawn', held and {} or advance(name)}
