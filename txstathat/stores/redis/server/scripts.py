"""
The scripts that run on one Redis server. Redis runs one script at a time, and each as a
whole: so a script can check everything first, then change it.
"""

from __future__ import annotations

from txstathat.stores.redis.cell_scripts import ADDING, UNCHANGED

__all__ = ["ADD", "APPEND", "DROP", "HOLD", "JOURNAL", "RENAME", "UNITS"]

#: The first keys of each script that needs the journal (:meth:`.KeyNames.journal`).
#: A name that is *held* is in no new row until the set of these names expires; each
#: life of the set has a number.
JOURNAL = """
local JOURNAL, STATE, LARGE, HELD = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local function is_held(name, number)
    return redis.call('SISMEMBER', HELD, name) == 1
        and redis.call('HGET', STATE, 'holds') == number
end
"""

#: How units are changed: those of ``plan.units``, whose keys begin with the lines of
#: ``ARGV[2]``. ``plan.units`` has for each unit its numbers: of the shape, of the group
#: of names, of the additions; one after the other.
UNITS = """
-- Calls a function for each unit, until it returns something: with the number of the
-- unit, the beginning of its keys, its shape, and where its other numbers begin.
local function for_units(plan, work)
    local n, at = 0, 1
    for begin in ARGV[2]:gmatch('[^\\n]+') do
        n = n + 1
        local shape = plan.shapes[plan.units[at]]
        local result = work(n, begin, shape, at + 1)
        if result then
            return result
        end
        at = at + 2 + shape.additions
    end
end

-- Notes a unit that was written, if it is new, and its name, if a sum is very large.
local function note_unit(begin, is_new, is_large, tags)
    if is_new or is_large then
        local tag = begin:match('{(.*)}:$')
        if is_new then
            redis.call('ZADD', tags, 0, tag)
        end
        if is_large then
            redis.call('SADD', LARGE, cjson.decode(tag)[1])
        end
    end
end
"""

# What must hold before batches are added. ``KEYS``: those of the journal; the keys of
# the batches' digests; for each group of names the hash of the definitions and the
# sorted set of tags; the sets of choices. ``ARGV[1]`` is the plan, as JSON:
#
# - ``batches``: lists of: digest, for how many milliseconds to remember it
# - ``names``: lists of: name, definition, name, definition, ...
# - ``choices``: lists of: number of the group of names; choice, choice, ...
_CHECKS = """
local CHUNK = 1000
local plan = cjson.decode(ARGV[1])
local first_batches = 4
local first_names = first_batches + #plan.batches
local first_choices = first_names + 2 * #plan.names

local states, any = {}, false
for i, batch in ipairs(plan.batches) do
    local known = redis.call('GET', KEYS[first_batches + i])
    states[i] = 'n'
    if known then
        any = true
        states[i] = known:gsub('^!', '') == batch[1] and 'r' or 'c'
    end
end
if any then
    return 'known:' .. table.concat(states)
end

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
"""

# Saves what is new: definitions, choices, and the ids of the batches.
_SAVING = """
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
    redis.call('SET', KEYS[first_batches + i], batch[1], 'PX', batch[2])
end
"""

#: Appends batches to the journal of a server, all or none.
#:
#: ``ARGV``: the plan; and the row without its time. In the plan are also ``load`` and
#: ``additions``, the size of the row; and ``max_load`` and ``max_additions``, those of
#: the journal.
#:
#: Returns ``added:`` and how many additions the journal has; ``known:`` and a letter
#: for each batch: ``n`` new, ``r`` repeated, ``c`` conflict; ``mismatch:`` and the
#: name; ``out:`` and the name of a Metrica that stays out of the journal; ``full:`` and
#: how many additions the journal has, if these are too many; or ``load`` if its sums
#: could become too large. Only the first of these changes anything.
APPEND = (
    JOURNAL
    + _CHECKS
    + """
for _, kept_out in ipairs({LARGE, HELD}) do
    if redis.call('EXISTS', kept_out) == 1 then
        for _, names in ipairs(plan.names) do
            for i = 1, #names, 2 do
                if redis.call('SISMEMBER', kept_out, names[i]) == 1 then
                    return 'out:' .. names[i]
                end
            end
        end
    end
end
local size = redis.call('HMGET', STATE, 'additions', 'load')
local additions, load = tonumber(size[1] or 0), tonumber(size[2] or 0)
local is_first = redis.call('EXISTS', JOURNAL) == 0
if is_first then
    additions, load = 0, 0
end
if additions > plan.max_additions then
    return string.format('full:%.0f', additions)
elseif load + plan.load > plan.max_load then
    return 'load'
end
additions = string.format('%.0f', additions + plan.additions)
load = string.format('%.17g', load + plan.load)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('RPUSH', JOURNAL, struct.pack('<I6', now) .. ARGV[2])
redis.call('HSET', STATE, 'additions', additions, 'load', load)
if is_first then
    -- If only the rows were deleted, or evicted, the position in them is left.
    redis.call('HDEL', STATE, 'upto', 'at')
end
"""
    + _SAVING
    + "return 'added:' .. additions"
)

#: Adds batches to the cells of a server at once, all or none. Their names are held, and
#: no row of the journal has one of them.
#:
#: ``ARGV``: the plan; and the beginnings of the keys of the units, in lines. (The keys
#: of units are not among ``KEYS``: one server needs no list.) In the plan are also:
#:
#: - ``hold``: the number of the hold
#: - ``shapes``: see ``prepare``
#: - ``sums``: additions
#: - ``units``: see :data:`UNITS`
#:
#: Returns ``added``; ``known:`` or ``mismatch:`` as :data:`APPEND`; ``again`` if a
#: name is not held any more; or ``overflow:`` and the number of the unit. Only the
#: first of these changes anything.
ADD = (
    JOURNAL
    + "local SCRATCH = KEYS[1] .. 'scratch'"
    + ADDING
    + UNITS
    + _CHECKS
    + """
for _, names in ipairs(plan.names) do
    for i = 1, #names, 2 do
        if not is_held(names[i], plan.hold) then
            return 'again'
        end
    end
end
prepare(plan)
local created, are_large = {}, {}
local too_large = for_units(plan, function(n, begin, shape, from)
    large = false
    created[n] = change_unit(n, shape, plan.units, from, begin)
    are_large[n] = large
    return created[n] == nil and n
end)
if too_large then
    return 'overflow:' .. too_large
end
for_units(plan, function(n, begin, shape, from)
    local tags = KEYS[first_names + 2 * plan.units[from]]
    write_unit(n, shape, begin)
    note_unit(begin, created[n], are_large[n], tags)
end)
"""
    + _SAVING
    + "return 'added'"
)

#: Holds names. ``KEYS``: those of the journal. ``ARGV``: for how many milliseconds at
#: most, if no name is held yet; and the names. Returns the number of the hold.
HOLD = (
    JOURNAL
    + """
local is_new = redis.call('EXISTS', HELD) == 0
for i = 2, #ARGV do
    redis.call('SADD', HELD, ARGV[i])
end
if is_new then
    -- Later names do not prolong it: what is added to a name that is held holds all
    -- names of its batch too, so it would never end.
    redis.call('HINCRBY', STATE, 'holds', 1)
    redis.call('PEXPIRE', HELD, ARGV[1])
end
return redis.call('HGET', STATE, 'holds')
"""
)

#: On one server: deletes a Metrica, if a cell is unchanged. Its name is held, and no
#: row of the journal has it.
#:
#: ``KEYS``: those of the journal; the hash of its definition; the sorted set of its
#: tags; and the hash of the cell, if one must be unchanged. ``ARGV``: its name; the
#: limits of its tags; the beginning of all keys; the number of the hold; and if a cell
#: must be unchanged, its field, and its bytes in hexadecimal digits. Returns 1 if there
#: was something to delete and it was unchanged, else 0; nothing if the name is not held
#: any more.
DROP = (
    JOURNAL
    + UNCHANGED
    + """
if not is_held(ARGV[1], ARGV[5]) then
    return false
end
if KEYS[7] and not is_unchanged(KEYS[7], ARGV[6], ARGV[7]) then
    return 0
end
local tags = redis.call('ZRANGEBYLEX', KEYS[6], ARGV[2], ARGV[3])
for _, tag in ipairs(tags) do
    local begin = ARGV[4] .. ':{' .. tag .. '}:'
    for _, ending in ipairs(redis.call('HKEYS', begin .. '*')) do
        redis.call('UNLINK', begin .. ending)
    end
    redis.call('UNLINK', begin, begin .. '*')
    redis.call('ZREM', KEYS[6], tag)
end
redis.call('SREM', LARGE, ARGV[1])
local existed = redis.call('HDEL', KEYS[5], ARGV[1]) == 1
return (existed or #tags > 0) and 1 or 0
"""
)

#: On one server: gives a Metrica another name. Its name is held, and no row of the
#: journal has it.
#:
#: ``KEYS``: those of the journal; the hash of its definition and the sorted set of its
#: tags; the same for the new name. ``ARGV``: the name; the new name; both as JSON; the
#: limits of its tags; the beginning of all keys; the number of the hold. Returns 1,
#: or 0 if there is no such Metrica or the new name is in use; nothing if the name is
#: not held any more.
RENAME = (
    JOURNAL
    + """
if not is_held(ARGV[1], ARGV[8]) then
    return false
end
local definition = redis.call('HGET', KEYS[5], ARGV[1])
if not definition or redis.call('HEXISTS', KEYS[7], ARGV[2]) == 1 then
    return 0
end
local function move(old, new, ending)
    if redis.call('EXISTS', old .. ending) == 1 then
        redis.call('RENAME', old .. ending, new .. ending)
    end
end
for _, tag in ipairs(redis.call('ZRANGEBYLEX', KEYS[6], ARGV[5], ARGV[6])) do
    local new_tag = '[' .. ARGV[4] .. tag:sub(2 + #ARGV[3])
    local old = ARGV[7] .. ':{' .. tag .. '}:'
    local new = ARGV[7] .. ':{' .. new_tag .. '}:'
    for _, ending in ipairs(redis.call('HKEYS', old .. '*')) do
        move(old, new, ending)
    end
    move(old, new, '*')
    move(old, new, '')
    redis.call('ZREM', KEYS[6], tag)
    redis.call('ZADD', KEYS[8], 0, new_tag)
end
if redis.call('SREM', LARGE, ARGV[1]) == 1 then
    redis.call('SADD', LARGE, ARGV[2])
end
redis.call('HSET', KEYS[7], ARGV[2], definition)
redis.call('HDEL', KEYS[5], ARGV[1])
return 1
"""
)
