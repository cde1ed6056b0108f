-- A parked reply will never be taken. ARGV: …, turn, error, how many undelivered ones an agent may
-- have. Answers the turns that went for it; nothing happens to one that is not parked.
allow_writing_when_full()
local reply = find(ARGV[2])
if not reply or reply.state ~= 'parked' then
    return {}
end
reply.tries, reply.error = reply.tries + 1, ARGV[3]
return give_up(reply, tonumber(ARGV[4]))
