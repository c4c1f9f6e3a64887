-- id
local id = ARGV[1]
local state = field(id, 'state')
if state == 'dead' or state == 'cancelled' or state == 'delayed' then
    redis.call('HSET', P .. 'job:' .. id, 'cancel', 0, 'attempt', 0, 'misses', 0)
    redis.call('HDEL', P .. 'job:' .. id, 'ended')
    stand(id, 'waiting', now)
end
return field(id, 'state')
