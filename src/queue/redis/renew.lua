-- id, token, lease in ms, progress; without progress the lease stays as it is
local id = ARGV[1]
if not holds(id, ARGV[2]) then return -1 end
if ARGV[4] ~= '' then
    local until_then = now + tonumber(ARGV[3])
    redis.call('HSET', P .. 'job:' .. id, 'progress', ARGV[4], 'due', whole(until_then))
    redis.call('ZADD', P .. 'leases', until_then, id)
    touch(id)
end
return number(id, 'cancel')
