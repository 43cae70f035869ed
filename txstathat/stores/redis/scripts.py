"""
The scripts that run inside Redis. Redis runs one script at a time, and each as a whole:
so a script can check everything first, then change it.
"""

from __future__ import annotations

__all__ = ["ADD", "CLAIM", "PUT_RECORD", "READ", "RENAME", "RENAME_MARK"]

#: The beginning of what the hash of the definitions has in place of a definition while
#: a Metrica is renamed. (A definition is JSON.)
RENAME_MARK = "#renaming "

#: Adds a part of a batch, once.
#:
#: ``KEYS``: the key for the id of the part; a scratch key; the hash of the definitions;
#: then the keys to which the plan refers by index. ``ARGV``: the plan, as JSON; and
#: ``check`` (change nothing) or ``apply``. Amounts and times in the plan are texts,
#: since Lua converts the numbers of JSON to floats. The plan contains:
#:
#: - ``digest``, ``id_ttl`` (milliseconds)
#: - ``definitions``: name, definition, name, definition, ...
#: - ``increments``: lists of: name; a list of key, addition, key, addition, ...; index
#:   of
#:   the first key of the time buckets; and for each bucket its time to live in
#:   milliseconds ('' for no limit)
#: - ``choices``: lists of: index of the key; choice, choice, ...
#:
#: A cell is the text ``whole events least most`` and, with floats, ``real rest``.
#: Numbers in Lua are floats, exact up to 2**53. Beyond that the script lets Redis add
#: them (``INCRBY``), which is exact and reports overflows.
ADD = """
local EXACT = 9007199254740992
local CHUNK = 1000
local plan = cjson.decode(ARGV[1])

local known = redis.call('GET', KEYS[1])
if known then
    return known == plan.digest and 'repeated' or 'conflict'
end

local function add_whole(a, b)
    local x, y = tonumber(a), tonumber(b)
    local sum = x + y
    if math.abs(x) < EXACT and math.abs(y) < EXACT and math.abs(sum) < EXACT then
        return string.format('%.0f', sum)
    end
    redis.call('SET', KEYS[2], a)
    local reply = redis.pcall('INCRBY', KEYS[2], b)
    local exact = redis.call('GET', KEYS[2])
    redis.call('DEL', KEYS[2])
    if type(reply) == 'table' and reply.err then
        return nil
    end
    return exact
end

local function less(a, b)
    local x, y = tonumber(a), tonumber(b)
    if x ~= y then
        return x < y
    end
    if a == b or not (a:match('^-?%d+$') and b:match('^-?%d+$')) then
        return false
    end
    local smaller = a < b
    if #a ~= #b then
        smaller = #a < #b
    end
    return smaller ~= (x < 0)
end

local function split(cell)
    return cell:match('^(%S+) (%S+) (%S+) (%S+) ?(%S*) ?(%S*)$')
end

local function add(old, more)
    local whole, events, least, most, real, rest = split(old)
    local whole2, events2, least2, most2, real2, rest2 = split(more)
    whole = add_whole(whole, whole2)
    events = add_whole(events, events2)
    if not whole or not events then
        return nil
    end
    if less(least2, least) then least = least2 end
    if less(most, most2) then most = most2 end
    local sum = whole .. ' ' .. events .. ' ' .. least .. ' ' .. most
    if real == '' then
        real, rest = real2, rest2
    elseif real2 ~= '' then
        -- as txstathat.stores.sums.add_floats
        local r, x = tonumber(real), tonumber(real2)
        local total = r + x
        local part = total - r
        local lost = (r - (total - part)) + (x - part)
        if math.abs(total) == math.huge then
            return nil
        end
        real = string.format('%.17g', total)
        rest = string.format('%.17g', tonumber(rest) + tonumber(rest2) + lost)
    end
    if real == '' then
        return sum
    end
    return sum .. ' ' .. real .. ' ' .. rest
end

for i = 1, #plan.definitions, 2 do
    local stored = redis.call('HGET', KEYS[3], plan.definitions[i])
    if stored and stored ~= plan.definitions[i + 1] then
        if stored:sub(1, 10) == '#renaming ' then
            return 'renaming:' .. plan.definitions[i]
        end
        return 'mismatch:' .. plan.definitions[i]
    end
end

-- The fast path: nearly all whole numbers are small enough to be exact as floats.
local function small(number)
    return number and math.abs(number) < EXACT
end

local INTEGERS = '^(%-?%d+) (%d+) (%-?%d+) (%-?%d+)$'

local function numbers(cell)
    local whole, events, least, most = cell:match(INTEGERS)
    local n = {tonumber(whole), tonumber(events), tonumber(least), tonumber(most)}
    if small(n[1]) and small(n[2]) and small(n[3]) and small(n[4]) then
        n.least, n.most = least, most
        return n
    end
    return false
end

local function add_fast(old, more)
    local whole, events, least, most = old:match(INTEGERS)
    if not whole then
        return nil
    end
    local old_whole = tonumber(whole)
    local sum, count = old_whole + more[1], events + more[2]
    if not (small(old_whole) and small(sum) and small(count)) then
        return nil
    end
    if more[3] < tonumber(least) then least = more.least end
    if more[4] > tonumber(most) then most = more.most end
    return string.format('%.0f %.0f %s %s', sum, count, least, most)
end

local parsed = {}
for n, increment in ipairs(plan.increments) do
    local cells, additions = increment[2], {}
    for i = 2, #cells, 2 do
        additions[i] = numbers(cells[i])
    end
    parsed[n] = additions
end

-- Returns the new contents of the cells at a key; nil if one would be too large.
local function changed(key, cells, additions)
    local change = {}
    for from = 1, #cells, 2 * CHUNK do
        local fields = {}
        for i = from, math.min(from + 2 * CHUNK - 1, #cells), 2 do
            fields[#fields + 1] = cells[i]
        end
        local olds = redis.call('HMGET', key, unpack(fields))
        for i, old in ipairs(olds) do
            local at = from + 2 * i - 1
            local new = cells[at]
            if old then
                local more = additions[at]
                new = more and add_fast(old, more) or add(old, new)
            end
            if not new then
                return nil
            end
            change[#change + 1] = fields[i]
            change[#change + 1] = new
        end
    end
    return change
end

local changes = {}
for n, increment in ipairs(plan.increments) do
    local name, cells, first = unpack(increment, 1, 3)
    for i = 4, #increment do
        local key = first + i - 4
        local change = changed(KEYS[key], cells, parsed[n])
        if not change then
            return 'overflow:' .. name
        end
        changes[key] = change
    end
end

if ARGV[2] == 'check' then
    return 'fine'
end

for _, increment in ipairs(plan.increments) do
    for i = 4, #increment do
        local at = increment[3] + i - 4
        local key, ttl, change = KEYS[at], increment[i], changes[at]
        for from = 1, #change, 2 * CHUNK do
            local upto = math.min(from + 2 * CHUNK - 1, #change)
            redis.call('HSET', key, unpack(change, from, upto))
        end
        if ttl == '' then
            redis.call('PERSIST', key)
        else
            redis.call('PEXPIRE', key, ttl)
        end
    end
end
for i = 1, #plan.definitions, 2 do
    redis.call('HSET', KEYS[3], plan.definitions[i], plan.definitions[i + 1])
end
for _, choices in ipairs(plan.choices) do
    for from = 2, #choices, CHUNK do
        local upto = math.min(from + CHUNK - 1, #choices)
        redis.call('SADD', KEYS[choices[1]], unpack(choices, from, upto))
    end
end
redis.call('SET', KEYS[1], plan.digest, 'PX', plan.id_ttl)
return 'added'
"""

#: In a cluster: reserves the id of a batch before its parts are added, and marks it as
#: added after all of them.
#:
#: ``KEYS``: the key for the id of the batch. ``ARGV``: the digest, for how many
#: milliseconds to remember it, and ``begin``, ``done`` or ``release``.
CLAIM = """
local known = redis.call('GET', KEYS[1])
if known and known:sub(7) ~= ARGV[1] then
    return 'conflict'
end
if ARGV[3] == 'release' then
    redis.call('DEL', KEYS[1])
    return 'released'
end
if known and known:sub(1, 6) == 'added:' then
    return 'repeated'
end
if ARGV[3] == 'done' then
    redis.call('SET', KEYS[1], 'added:' .. ARGV[1], 'PX', ARGV[2])
    return 'added'
end
if known then
    return 'resumed'
end
redis.call('SET', KEYS[1], 'begun:' .. ARGV[1], 'PX', ARGV[2])
return 'begun'
"""

#: Begins or ends to rename a Metrica: marks both names, or replaces the marks by the
#: definition. Returns ``begun`` (also if it was begun before) or ``done``; ``missing``
#: or ``used`` if it cannot be renamed so; ``busy`` if another process renames one.
#:
#: ``KEYS``: the hash of the definitions; the lock. ``ARGV``: the name; the new name; a
#: token of the caller; for how many milliseconds the lock lasts; and ``begin`` or
#: ``done``.
RENAME = """
local old, new, token = ARGV[1], ARGV[2], ARGV[3]
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= token then
    return 'busy'
end
local MARK = '#renaming '
local function marked(text)
    return text and text:sub(1, #MARK) == MARK
end
local from, to = redis.call('HGET', KEYS[1], old), redis.call('HGET', KEYS[1], new)
if marked(from) and from == to then
    local mark = cjson.decode(from:sub(#MARK + 1))
    if mark[1] ~= old or mark[2] ~= new then
        return 'busy'
    end
    if ARGV[5] == 'done' then
        redis.call('HDEL', KEYS[1], old)
        redis.call('HSET', KEYS[1], new, mark[3])
        redis.call('DEL', KEYS[2])
        return 'done'
    end
else
    if ARGV[5] == 'done' or not from then
        return 'missing'
    end
    if to then
        return 'used'
    end
    if marked(from) then
        return 'busy'
    end
    local mark = MARK .. cjson.encode({old, new, from})
    redis.call('HSET', KEYS[1], old, mark, new, mark)
end
redis.call('SET', KEYS[2], token, 'PX', ARGV[4])
return 'begun'
"""

#: Reads cells as one text: a line for each cell, empty for a missing one.
#:
#: ``KEYS``: the time buckets. ``ARGV``: as JSON, a list of the keys of cells for each.
READ = """
local lines = {}
for n, fields in ipairs(cjson.decode(ARGV[1])) do
    for from = 1, #fields, 1000 do
        local upto = math.min(from + 999, #fields)
        local found = redis.call('HMGET', KEYS[n], unpack(fields, from, upto))
        for i = 1, #found do
            lines[#lines + 1] = found[i] or ''
        end
    end
end
return table.concat(lines, '\\n')
"""

#: Writes or deletes a record if its present text is the expected one. Returns 1 if it
#: did, else 0.
#:
#: ``KEYS``: the hash of the records. ``ARGV``: the id of the record; and as JSON a list
#: of: a list with the new text, empty to delete; a list with the expected text, empty
#: for none; and whether any text is expected.
PUT_RECORD = """
local plan = cjson.decode(ARGV[2])
local known = redis.call('HGET', KEYS[1], ARGV[1])
if not plan[3] and (known or nil) ~= plan[2][1] then
    return 0
end
if plan[1][1] then
    redis.call('HSET', KEYS[1], ARGV[1], plan[1][1])
else
    redis.call('HDEL', KEYS[1], ARGV[1])
end
return 1
"""
