-- One reply. ARGV: …, turn. Answers nothing if it is not here.
local reply = find(ARGV[2])
return reply and told(reply) or {}
