-- Ask whoever holds the lane to abort the turn at work. ARGV: …, session, and the id of the message
-- that asks for it, or ''; one message asks once.
-- Answers its turn and token, or nothing where no turn is at work.
local session, once = ARGV[3], ARGV[4]
allow_writing_when_full()
if once ~= '' and not first_time(once) then
    return {}
end
local token = redis.call('HGET', lane(session), 'token')
if not token then
    return {}
end
abort(session)
return {(head(session)), token}
