-- What is in lanes. ARGV: …, stream, then the lanes.
-- Answers for each lane the places of what is at work in it, and all messages in their order.
local answer = {}
for at = 4, #ARGV do
    local name = ARGV[at]
    local running, places, messages = at_work(name, ARGV[3]), {}, {}
    for place, entry in ipairs(redis.call('LRANGE', queue(name), 0, -1)) do
        local id = split(entry)
        if running[id] then
            places[#places + 1] = place - 1
        end
        messages[#messages + 1] = redis.call('HGET', facts(name), '+' .. id) or ''
    end
    answer[#answer + 1] = {places, messages}
end
return answer
