-- id, token, end, word, wait in ms, result, miss
local id = ARGV[1]
local token = ARGV[2] == '*' and field(id, 'token') or ARGV[2]
if not holds(id, token) then return false end
local wait = tonumber(ARGV[5])
if ARGV[3] == 'retry' then return failed(id, ARGV[4], wait) end
if ARGV[3] == 'release' then
    return settle(id, wait > 0 and 'delayed' or 'waiting', ARGV[4], wait, false, ARGV[7] == '1')
end
if ARGV[3] == 'done' then redis.call('HSET', P .. 'job:' .. id, 'result', ARGV[6]) end
return settle(id, ARGV[3], ARGV[4], 0, true, false)
