"""
The scripts that run on one Redis server. Redis runs one script at a time, and each as a
whole: so a script can check everything first, then change it.
"""

from __future__ import annotations

from txstathat.stores.redis.cell_scripts import ADDING, UNCHANGED

__all__ = ["ADD", "DROP", "PUT_RECORD", "READ", "RENAME"]

#: Adds batches to a server, all or none.
#:
#: ``KEYS``: the keys of the batches' digests; for each group of names the hash of the
#: definitions and the sorted set of tags; the sets of choices. (The keys of units
#: are not among them: one server needs no list.) ``ARGV``: the plan, as JSON; and for
#: each unit the beginning of its keys, in lines. The plan:
#:
#: - ``batches``: lists of: digest, for how many milliseconds to remember it
#: - ``names``: lists of: name, definition, name, definition, ...
#: - ``choices``: lists of: number of the group of names; choice, choice, ...
#: - ``shapes``: see ``prepare``
#: - ``sums``: additions
#: - ``units``: for each its numbers: of the shape, of the group of names, of the
#:   additions; one after the other
#:
#: Returns ``added``; ``known:`` and a letter for each batch: ``n`` new, ``r``
#: repeated, ``c`` conflict; ``mismatch:`` and the name; or ``overflow:`` and the number
#: of the unit. Only the first of these changes anything.
ADD = (
    "local SCRATCH = KEYS[1] .. 'scratch'"
    + ADDING
    + """
local CHUNK = 1000
local plan = cjson.decode(ARGV[1])

local states, any = {}, false
for i, batch in ipairs(plan.batches) do
    local known = redis.call('GET', KEYS[i])
    states[i] = 'n'
    if known then
        any = true
        states[i] = known:gsub('^!', '') == batch[1] and 'r' or 'c'
    end
end
if any then
    return 'known:' .. table.concat(states)
end

local first_names = #plan.batches
local first_choices = first_names + 2 * #plan.names

for n, names in ipairs(plan.names) do
    local key, new = KEYS[first_names + 2 * n - 1], {}
    for from = 1, #names, 2 * CHUNK do
        local fields = {}
        for i = from, math.min(from + 2 * CHUNK - 1, #names), 2 do
            fields[#fields + 1] = names[i]
        end
        for i, known in ipairs(redis.call('HMGET', key, unpack(fields))) do
            local definition = names[from + 2 * i - 1]
            if not known then
                new[#new + 1] = fields[i]
                new[#new + 1] = definition
            elseif known ~= definition then
                return 'mismatch:' .. fields[i]
            end
        end
    end
    names.new = new
end

prepare(plan)
local units, begins, created, at = plan.units, {}, {}, 1
for begin in ARGV[2]:gmatch('[^\\n]+') do
    local n, shape = #begins + 1, plan.shapes[units[at]]
    begins[n] = begin
    created[n] = change_unit(n, shape, units, at + 1, begin)
    if created[n] == nil then
        return 'overflow:' .. n
    end
    at = at + 2 + shape.additions
end

at = 1
for n, begin in ipairs(begins) do
    local shape = plan.shapes[units[at]]
    write_unit(n, shape, begin)
    if created[n] then
        local tag = begin:match('{(.*)}:$')
        redis.call('ZADD', KEYS[first_names + 2 * units[at + 1]], 0, tag)
    end
    at = at + 2 + shape.additions
end
for n, names in ipairs(plan.names) do
    for from = 1, #names.new, 2 * CHUNK do
        local upto = math.min(from + 2 * CHUNK - 1, #names.new)
        local key = KEYS[first_names + 2 * n - 1]
        redis.call('HSET', key, unpack(names.new, from, upto))
    end
end
for n, choices in ipairs(plan.choices) do
    local key = KEYS[first_choices + n]
    for from = 2, #choices, CHUNK do
        local upto = math.min(from + CHUNK - 1, #choices)
        redis.call('SADD', key, unpack(choices, from, upto))
    end
    local tag = key:match('{(.*)}:$')
    redis.call('ZADD', KEYS[first_names + 2 * choices[1]], 0, tag)
end
for i, batch in ipairs(plan.batches) do
    redis.call('SET', KEYS[i], batch[1], 'PX', batch[2])
end
return 'added'
"""
)

#: Reads cells as one string: the time in milliseconds, 6 bytes; then for each cell its
#: length, 1 byte, and the cell.
#:
#: ``KEYS``: the hashes. ``ARGV``: as JSON, a list of the fields for each.
READ = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local parts = {struct.pack('<I6', now)}
for n, fields in ipairs(cjson.decode(ARGV[1])) do
    for from = 1, #fields, 1000 do
        local upto = math.min(from + 999, #fields)
        local found = redis.call('HMGET', KEYS[n], unpack(fields, from, upto))
        for i = 1, #found do
            local cell = found[i] or ''
            parts[#parts + 1] = string.char(#cell)
            parts[#parts + 1] = cell
        end
    end
end
return table.concat(parts)
"""

#: On one server: deletes a Metrica, if a cell is unchanged.
#:
#: ``KEYS``: the hash of its definition; the sorted set of its tags; and the hash of the
#: cell, if one must be unchanged. ``ARGV``: its name; the limits of its tags; the
#: beginning of all keys; and if a cell must be unchanged, its field, and its bytes in
#: hexadecimal digits. Returns 1 if there was something to delete and it was unchanged,
#: else 0.
DROP = (
    UNCHANGED
    + """
if KEYS[3] and not is_unchanged(KEYS[3], ARGV[5], ARGV[6]) then
    return 0
end
local tags = redis.call('ZRANGEBYLEX', KEYS[2], ARGV[2], ARGV[3])
for _, tag in ipairs(tags) do
    local begin = ARGV[4] .. ':{' .. tag .. '}:'
    for _, ending in ipairs(redis.call('HKEYS', begin .. '*')) do
        redis.call('UNLINK', begin .. ending)
    end
    redis.call('UNLINK', begin, begin .. '*')
    redis.call('ZREM', KEYS[2], tag)
end
local existed = redis.call('HDEL', KEYS[1], ARGV[1]) == 1
return (existed or #tags > 0) and 1 or 0
"""
)

#: On one server: gives a Metrica another name.
#:
#: ``KEYS``: the hash of its definition and the sorted set of its tags; the same for the
#: new name. ``ARGV``: the name; the new name; both as JSON; the limits of its tags; the
#: beginning of all keys. Returns 1, or 0 if there is no such Metrica or the new name is
#: in use.
RENAME = """
local definition = redis.call('HGET', KEYS[1], ARGV[1])
if not definition or redis.call('HEXISTS', KEYS[3], ARGV[2]) == 1 then
    return 0
end
local function move(old, new, ending)
    if redis.call('EXISTS', old .. ending) == 1 then
        redis.call('RENAME', old .. ending, new .. ending)
    end
end
for _, tag in ipairs(redis.call('ZRANGEBYLEX', KEYS[2], ARGV[5], ARGV[6])) do
    local new_tag = '[' .. ARGV[4] .. tag:sub(2 + #ARGV[3])
    local old = ARGV[7] .. ':{' .. tag .. '}:'
    local new = ARGV[7] .. ':{' .. new_tag .. '}:'
    for _, ending in ipairs(redis.call('HKEYS', old .. '*')) do
        move(old, new, ending)
    end
    move(old, new, '*')
    move(old, new, '')
    redis.call('ZREM', KEYS[2], tag)
    redis.call('ZADD', KEYS[4], 0, new_tag)
end
redis.call('HSET', KEYS[3], ARGV[2], definition)
redis.call('HDEL', KEYS[1], ARGV[1])
return 1
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
