-- Ask the holder of a lane to abort the turn at work. ARGV: …, the id of the message that asks for
-- it, or '', the id that it had before, or '', then the lanes: the first one at work counts. One
-- message asks once. A turn that has ended, whose reply is being sent, is stopped by nothing.
-- Answers its turn and token, or nothing where no turn is at work.
local once, former = ARGV[3], ARGV[4]
allow_writing_when_full()
if once ~= '' and not first_time(once, former) then
    return {}
end
for at = 5, #ARGV do
    local name = ARGV[at]
    local found = redis.call('HMGET', facts(name), 'token', 'stage')
    if found[1] and found[2] ~= 'ended' then
        abort(name)
        return {(head(name)), found[1]}
    end
end
return {}
