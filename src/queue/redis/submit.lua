-- text, identity, named, labels, priority, tenant, attempts, delay in ms, seed
local id, new = take(ARGV[1], {
    identity = ARGV[2], named = ARGV[3] == '1', labels = ARGV[4], priority = tonumber(ARGV[5]), tenant = ARGV[6],
    attempts = tonumber(ARGV[7]), delay = tonumber(ARGV[8]),
}, ARGV[9])
return { id, new and 1 or 0 }
