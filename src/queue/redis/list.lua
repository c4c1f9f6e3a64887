-- id, or an empty text and: state, after, limit, seed, the beginning of the labels of jobs that are hidden
if ARGV[1] ~= '' then
    local one = record(ARGV[1])
    return one and { one } or {}
end
taken_from_strangers(ARGV[5])
local limit = tonumber(ARGV[4])
local hidden = ARGV[6]

local function shows(id)
    if ARGV[2] ~= '' and field(id, 'state') ~= ARGV[2] then return false end
    return hidden == '' or not string.find(field(id, 'labels') or '', hidden, 1, true)
end

-- The first ids that show, of those that `page` gives in turn.
local function shown(page)
    local found, from = {}, 0
    while #found < limit do
        local ids = page(from)
        for _, id in ipairs(ids) do
            if #found < limit and shows(id) then table.insert(found, id) end
        end
        if #ids < limit then break end
        from = from + limit
    end
    return found
end

local function newest(state)
    return shown(function(from) return redis.call('ZREVRANGE', P .. 'state:' .. state, from, from + limit - 1) end)
end

local ids
if ARGV[3] ~= '' then
    ids = shown(function(from)
        return redis.call('ZRANGEBYSCORE', P .. 'changed', '(' .. ARGV[3], '+inf', 'LIMIT', from, limit)
    end)
elseif ARGV[2] ~= '' then
    ids = newest(ARGV[2])
else
    ids = {}
    for _, state in ipairs(STATES) do
        for _, id in ipairs(newest(state)) do table.insert(ids, id) end
    end
    table.sort(ids, function(one, other) return one > other end)
end
local records = {}
for _, id in ipairs(ids) do
    if #records == limit then break end
    table.insert(records, record(id))
end
return records
