-- Ask whoever holds the lane to abort the turn at work. ARGV: …, session.
-- Answers its turn and token, or nothing where no turn is at work.
local session = ARGV[3]
allow_writing_when_full()
local token = redis.call('HGET', lane(session), 'token')
if not token then
    return {}
end
redis.call('HSET', lane(session), 'abort', '1')
signal('abort', session)
return {(head(session)), token}
