"""
What runs inside Redis: a script runs alone and whole, so it can check all, then change.
"""

from __future__ import annotations

__all__ = ["ADD", "CLAIM", "PUT_RECORD", "READ"]

#: Adds a part of a batch, once.
#:
#: ``KEYS``: where the part's id is kept; a scratch key; the hash of definitions; then
#: what the plan refers to. ``ARGV``: the plan, as JSON; ``check`` to change nothing or
#: ``apply``. The plan's numbers are texts, since JSON's would become floats here:
#:
#: - ``digest``, ``remember`` (milliseconds)
#: - ``definitions``: name, definition, name, definition, ...
#: - ``cells``: lists of key, addition, key, addition, ...
#: - ``increments``: lists of name, cells' number, number of the first of some keys, and
#:   for each of these the milliseconds to keep ('' is for ever)
#: - ``choices``: lists of key's number, choice, choice, ...
#:
#: A cell is the text ``whole events least most`` and, with floats, ``real rest``.
#: Numbers here are floats, exact up to 2**53. Beyond that Redis itself adds, which is
#: exact, and tells overflows.
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
        return 'mismatch:' .. plan.definitions[i]
    end
end

-- Whole numbers that floats hold exactly, which is nearly always, go by the short way.
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
for n, cells in ipairs(plan.cells) do
    local additions = {}
    for i = 2, #cells, 2 do
        additions[i] = numbers(cells[i])
    end
    parsed[n] = additions
end

-- What the cells at a key become; nil if one of them would be too large.
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
for _, increment in ipairs(plan.increments) do
    local name, number, first = unpack(increment, 1, 3)
    local cells, additions = plan.cells[number], parsed[number]
    for i = 4, #increment do
        local key = first + i - 4
        local change = changed(KEYS[key], cells, additions)
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
        local key, keep, change = KEYS[at], increment[i], changes[at]
        for from = 1, #change, 2 * CHUNK do
            local upto = math.min(from + 2 * CHUNK - 1, #change)
            redis.call('HSET', key, unpack(change, from, upto))
        end
        if keep == '' then
            redis.call('PERSIST', key)
        else
            redis.call('PEXPIRE', key, keep)
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
redis.call('SET', KEYS[1], plan.digest, 'PX', plan.remember)
return 'added'
"""

#: In a cluster: takes possession of a batch's id before its parts are added, and tells
#: when all of them are.
#:
#: ``KEYS``: where the batch's id is kept. ``ARGV``: the digest, for how many
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

#: Reads cells in one go, as one text: a line for each, empty where there is none.
#:
#: ``KEYS``: stretches. ``ARGV``: for each of them a list of cells' keys, as JSON.
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

#: Writes or deletes a record, if it is what it should be before; tells whether it did.
#:
#: ``KEYS``: the hash of the records. ``ARGV``: the record's id; as JSON a list of: a
#: list of the new text, empty to delete; a list of the text before, empty for none; and
#: whether it may be any.
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
