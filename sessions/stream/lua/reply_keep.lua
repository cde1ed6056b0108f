-- Keep a reply, once. ARGV: …, the reply, milliseconds until it is given up, how many parked and
-- how many undelivered ones an agent may have.
-- Answers 'known' + its state if it is here, 'full', or 'kept' + the turns of undelivered replies
-- that went for it.
allow_writing_when_full()
local reply = cjson.decode(ARGV[2])
local known = load(reply.channel, reply.turn)
if known then
    return {'known', known.state}
end
if reply.state == 'parked' and is_full(reply.agent, tonumber(ARGV[4])) then
    return {'full'}
end
reply.since = now()
reply['until'] = reply.since + tonumber(ARGV[3])
add(reply)
return {'kept', trim(reply.agent, tonumber(ARGV[5]))}
