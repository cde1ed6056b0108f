-- Have a reply sent as soon as possible, in its old place. An undelivered one is parked again.
-- ARGV: …, turn, milliseconds until it is given up, how many parked ones an agent may have.
-- Answers 'absent', 'full', or 'parked' + the reply.
allow_writing_when_full()
local reply = find(ARGV[2])
if not reply then
    return {'absent'}
end
reply.tried = nil
if reply.state == 'parked' then
    save(reply)
else
    if is_full(reply.agent, tonumber(ARGV[4])) then
        return {'full'}
    end
    leave(reply)
    reply.state = 'parked'
    reply['until'] = now() + tonumber(ARGV[3])
    save(reply)
    enter(reply)
    changed()
end
redis.call('DEL', pause(reply.channel))
return {'parked', told(reply)}
