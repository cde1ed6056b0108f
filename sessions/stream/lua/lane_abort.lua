-- Ask the holder of a lane to abort the turn at work. ARGV: …, the id of the message that asks for
-- it, or '', the id that it had before, or '', then the lanes: the first one at work counts. One
-- message asks once.
-- Answers its turn and token, or nothing where no turn is at work.
local once, former = ARGV[3], ARGV[4]
allow_writing_when_full()
if once ~= '' and not first_time(once, former) then
    return {}
end
for at = 5, #ARGV do
    local name = ARGV[at]
    local token = redis.call('HGET', facts(name), 'token')
    if token then
        abort(name)
        return {(head(name)), token}
    end
end
return {}
