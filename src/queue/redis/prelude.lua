-- What all scripts share. Each verb is one script, so it happens whole or not
-- at all. Time is the server's. KEYS[1] is the prefix of every key:
--
--   inbox, jobs          where other programs put jobs: a list, a stream
--   job:ID               a hash, all of a job but its log
--   log:ID               its log, a list of JSON
--   waiting:LABELS       what may be taken, in order: priority, turn, place
--   delayed, leases      by the time they are due, or run out
--   over, changed        by the time they ended, or their version
--   state:STATE          by the time they were handed in
--   identity:IDENTITY    the job that a wish became

local P = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function whole(number) return string.format('%.0f', number) end

local function touch(id)
    local version = redis.call('INCR', P .. 'version')
    redis.call('HSET', P .. 'job:' .. id, 'version', version)
    redis.call('ZADD', P .. 'changed', version, id)
end

local function field(id, name) return redis.call('HGET', P .. 'job:' .. id, name) end

local function number(id, name) return tonumber(field(id, name) or '0') or 0 end

local STATES = { 'waiting', 'delayed', 'running', 'done', 'dead', 'cancelled' }

-- Whether nothing but the number of a job is left, as its hash was evicted, or deleted by hand. Then that goes as well.
local function lost(id)
    if field(id, 'text') then return false end
    for _, state in ipairs(STATES) do redis.call('ZREM', P .. 'state:' .. state, id) end
    for _, set in ipairs({ 'delayed', 'leases', 'over', 'changed' }) do redis.call('ZREM', P .. set, id) end
    redis.call('DEL', P .. 'job:' .. id, P .. 'log:' .. id)
    return true
end

local function note(id, what)
    local entry = {
        at = now, attempt = number(id, 'attempt'), worker = field(id, 'worker') or '', what = string.sub(what, 1, 4000),
    }
    redis.call('RPUSH', P .. 'log:' .. id, cjson.encode(entry))
    redis.call('LTRIM', P .. 'log:' .. id, -40, -1)
end

-- Takes a job out of where it stands and puts it where `state` stands.
local function stand(id, state, due)
    local before = field(id, 'state')
    if before then redis.call('ZREM', P .. 'state:' .. before, id) end
    if before == 'waiting' then
        redis.call('ZREM', P .. 'waiting:' .. field(id, 'labels'), field(id, 'rank'))
    end
    redis.call('ZREM', P .. 'delayed', id)
    redis.call('ZREM', P .. 'leases', id)
    redis.call('ZREM', P .. 'over', id)
    redis.call('HSET', P .. 'job:' .. id, 'state', state, 'due', whole(due))
    redis.call('ZADD', P .. 'state:' .. state, number(id, 'submitted'), id)
    if state == 'waiting' then
        redis.call('ZADD', P .. 'waiting:' .. field(id, 'labels'), 0, field(id, 'rank'))
    elseif state == 'delayed' then
        redis.call('ZADD', P .. 'delayed', due, id)
    elseif state == 'running' then
        redis.call('ZADD', P .. 'leases', due, id)
    else
        redis.call('HSET', P .. 'job:' .. id, 'ended', whole(now))
        redis.call('ZADD', P .. 'over', now, id)
    end
    touch(id)
end

-- The end of a claim. `keeps` says that the attempt counts.
local function settle(id, state, what, wait, keeps, miss)
    if number(id, 'cancel') == 1 and (state == 'waiting' or state == 'delayed') then state = 'cancelled' end
    note(id, what)
    local job = P .. 'job:' .. id
    if not keeps then redis.call('HSET', job, 'attempt', math.max(number(id, 'attempt') - 1, 0)) end
    if miss then redis.call('HINCRBY', job, 'misses', 1) else redis.call('HSET', job, 'misses', 0) end
    redis.call('HDEL', job, 'token')
    stand(id, state, now + wait)
    return state
end

-- A failure that may pass: due again, or dead with the last attempt.
local function failed(id, what, wait)
    local state = wait > 0 and 'delayed' or 'waiting'
    if number(id, 'attempt') >= number(id, 'attempts') then state = 'dead' end
    return settle(id, state, what, wait, true, false)
end

-- The job that stands for a wish already, if there is one.
local function twin_of(identity, named)
    local twin = redis.call('GET', P .. 'identity:' .. identity)
    if not twin then return nil end
    local state = field(twin, 'state')
    local alive = state == 'waiting' or state == 'delayed' or state == 'running'
    return state and (alive or (named and state ~= 'dead')) and twin or nil
end

-- Takes in a job. `given` has what the sender's program knows of it; a stranger's text is looked into here.
local function take(text, given, seed)
    local twin = twin_of(given.identity, given.named)
    if twin then return twin, false end
    local place = redis.call('INCR', P .. 'place')
    local id = string.format('%012x', now) .. string.sub(redis.sha1hex(seed .. place), 1, 10)
    local served = tonumber(redis.call('GET', P .. 'served') or '0')
    local turn = 1 + math.max(served, tonumber(redis.call('HGET', P .. 'turns', given.tenant) or '0'))
    redis.call('HSET', P .. 'turns', given.tenant, whole(turn))
    local rank = string.format('%02d:%015.0f:%015.0f:%s', 9 - given.priority, turn, place, id)
    redis.call('HSET', P .. 'job:' .. id, 'text', text, 'labels', given.labels, 'rank', rank,
        'attempts', given.attempts, 'attempt', 0, 'misses', 0, 'cancel', 0, 'submitted', whole(now),
        'identity', given.identity)
    redis.call('SET', P .. 'identity:' .. given.identity, id)
    stand(id, given.delay > 0 and 'delayed' or 'waiting', now + given.delay)
    return id, true
end

local function between(value, least, most, usual)
    if type(value) ~= 'number' or value ~= math.floor(value) or value < least or value > most then return usual end
    return value
end

-- The labels of a stranger's job as one text. If they are not what labels are it has none, so that
-- any worker takes it, finds that out, and says so.
local function labels_of(list)
    if type(list) ~= 'table' then return '' end
    local labels, known = {}, {}
    for _, label in ipairs(list) do
        local plain = type(label) == 'string' and #label <= 32 and string.match(label, '^[a-z0-9-]+$')
        if not plain or string.sub(label, 1, 8) == 'forebay-' then return '' end
        if not known[label] then table.insert(labels, label) end
        known[label] = true
    end
    if #labels > 6 then return '' end
    table.sort(labels)
    return table.concat(labels, ',')
end

-- What a stranger's job says of its place. What is wrong with it, a worker finds and says.
local function looked_into(text)
    local read, job = pcall(cjson.decode, text)
    if not read or type(job) ~= 'table' then job = {} end
    local tenant = type(job.tenant) == 'string' and string.sub(job.tenant, 1, 64) or ''
    local named = type(job.key) == 'string'
    return {
        tenant = tenant,
        labels = labels_of(job.labels),
        priority = between(job.priority, -9, 9, 0),
        attempts = between(job.attempts, 1, 20, 3),
        delay = 1000 * between(job.delay, 0, 2592000, 0),
        named = named,
        identity = named and ('k:' .. tenant .. ':' .. string.sub(job.key, 1, 128)) or ('t:' .. redis.sha1hex(text)),
    }
end

local function taken_from_strangers(seed)
    local longest = 65536
    -- What is no list is none of ours: `warnings` says so.
    local inbox = redis.call('TYPE', P .. 'inbox').ok == 'list' and 50 or 0
    for _ = 1, inbox do
        local text = redis.call('RPOP', P .. 'inbox')
        if not text then break end
        take(string.sub(text, 1, longest + 1), looked_into(text), seed)
    end
    if redis.call('TYPE', P .. 'jobs').ok ~= 'stream' then return end
    for _, message in ipairs(redis.call('XRANGE', P .. 'jobs', '-', '+', 'COUNT', 50)) do
        local text = ''
        for place = 1, #message[2], 2 do
            if message[2][place] == 'job' then text = message[2][place + 1] end
        end
        take(string.sub(text, 1, longest + 1), looked_into(text), seed)
        redis.call('XDEL', P .. 'jobs', message[1])
    end
end

local function forget(id)
    if lost(id) then return end
    local identity = field(id, 'identity')
    if identity and redis.call('GET', P .. 'identity:' .. identity) == id then
        redis.call('DEL', P .. 'identity:' .. identity)
    end
    redis.call('ZREM', P .. 'state:' .. field(id, 'state'), id)
    redis.call('ZREM', P .. 'over', id)
    redis.call('ZREM', P .. 'changed', id)
    redis.call('DEL', P .. 'job:' .. id, P .. 'log:' .. id)
end

-- Whether the claim that is shown is the one under which the job is lent.
local function holds(id, token)
    return field(id, 'state') == 'running' and field(id, 'token') == token
end

local function record(id)
    local flat = redis.call('HGETALL', P .. 'job:' .. id)
    if #flat == 0 then return nil end
    local fields = { id = id, log = redis.call('LRANGE', P .. 'log:' .. id, 0, -1) }
    for place = 1, #flat, 2 do
        if flat[place] ~= 'token' then fields[flat[place]] = flat[place + 1] end
    end
    return cjson.encode(fields)
end
