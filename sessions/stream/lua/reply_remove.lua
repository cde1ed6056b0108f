-- Forget a reply: it was sent, or nobody wants it. ARGV: …, turn. Answers 1 if it was here, else 0.
allow_writing_when_full()
local reply = find(ARGV[2])
if not reply then
    return 0
end
remove(reply)
return 1
