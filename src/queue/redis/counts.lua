-- seed
taken_from_strangers(ARGV[1])
local counts = {}
for _, state in ipairs(STATES) do
    table.insert(counts, redis.call('ZCARD', P .. 'state:' .. state))
end
return counts
