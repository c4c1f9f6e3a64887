-- id, or an empty text and: state, after, limit, seed
if ARGV[1] ~= '' then
    local one = record(ARGV[1])
    return one and { one } or {}
end
taken_from_strangers(ARGV[5])
local limit = tonumber(ARGV[4])
local ids
if ARGV[3] ~= '' then
    ids = redis.call('ZRANGEBYSCORE', P .. 'changed', '(' .. ARGV[3], '+inf', 'LIMIT', 0, limit)
elseif ARGV[2] ~= '' then
    ids = redis.call('ZREVRANGE', P .. 'state:' .. ARGV[2], 0, limit - 1)
else
    ids = {}
    for _, state in ipairs({ 'waiting', 'delayed', 'running', 'done', 'dead', 'cancelled' }) do
        for _, id in ipairs(redis.call('ZREVRANGE', P .. 'state:' .. state, 0, limit - 1)) do
            table.insert(ids, id)
        end
    end
    table.sort(ids, function(one, other) return one > other end)
end
local records = {}
for _, id in ipairs(ids) do
    if #records == limit then break end
    if ARGV[2] == '' or field(id, 'state') == ARGV[2] then table.insert(records, record(id)) end
end
return records
