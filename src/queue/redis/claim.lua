-- worker, token, lease in ms, keep in ms, seed, counted, then the keys of the labels it can do
taken_from_strangers(ARGV[5])
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'leases', '-inf', now, 'LIMIT', 0, 100)) do
    if not lost(id) then
        local worker = field(id, 'worker') or ''
        local what = 'failed: worker `' .. worker .. '` died, or was silent for longer than its lease'
        if number(id, 'cancel') == 1 then settle(id, 'cancelled', what, 0, true, false) else failed(id, what, 0) end
    end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'delayed', '-inf', now, 'LIMIT', 0, 1000)) do
    if not lost(id) then stand(id, 'waiting', now) end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'over', '-inf', now - tonumber(ARGV[4]), 'LIMIT', 0, 100)) do
    forget(id)
end
local best, id
repeat
    local labels
    best = nil
    for place = 7, #ARGV do
        local first = redis.call('ZRANGE', P .. 'waiting:' .. ARGV[place], 0, 0)[1]
        if first and (not best or first < best) then best, labels = first, ARGV[place] end
    end
    if not best then return false end
    id = string.match(best, ':([^:]*)$')
    local gone = lost(id)
    if gone then redis.call('ZREM', P .. 'waiting:' .. labels, best) end
until not gone
local job = P .. 'job:' .. id
local turn = tonumber(string.match(best, '^%d+:(%d+):'))
if turn > tonumber(redis.call('GET', P .. 'served') or '0') then redis.call('SET', P .. 'served', whole(turn)) end
redis.call('HINCRBY', job, 'attempt', ARGV[6])
redis.call('HDEL', job, 'progress')
redis.call('HSET', job, 'worker', ARGV[1], 'token', ARGV[2], 'started', whole(now))
stand(id, 'running', now + tonumber(ARGV[3]))
return { id, field(id, 'text'), field(id, 'attempt'), field(id, 'misses') }
