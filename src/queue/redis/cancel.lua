-- id
local id = ARGV[1]
taken_from_strangers(id)
local state = field(id, 'state')
if state == 'running' then
    redis.call('HSET', P .. 'job:' .. id, 'cancel', 1)
    touch(id)
elseif state == 'waiting' or state == 'delayed' then
    redis.call('HSET', P .. 'job:' .. id, 'cancel', 1)
    stand(id, 'cancelled', now)
end
return field(id, 'state')
