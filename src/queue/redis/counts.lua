-- seed
taken_from_strangers(ARGV[1])
local counts = {}
for _, state in ipairs({ 'waiting', 'delayed', 'running', 'done', 'dead', 'cancelled' }) do
    table.insert(counts, redis.call('ZCARD', P .. 'state:' .. state))
end
return counts
