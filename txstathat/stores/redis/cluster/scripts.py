"""
The scripts that run on the nodes of a Redis Cluster.
"""

from __future__ import annotations

from txstathat.stores.redis.cell_scripts import ADDING, UNCHANGED

__all__ = ["DROP_UNIT", "PART", "PARTS", "PREPARE", "PREPARE_NODE", "TAKE_UNIT"]

# The first line of a script for any slots of a node.
_NODE = "#!lua flags=allow-cross-slot-keys\n"

# Adds batches to units, each by itself.
_PARTS = (
    "local SCRATCH = ARGV[3]:match('[^\\n]+') .. 'scratch'"
    + ADDING
    + """
local BYTES, HASH = 18, 12
local find = string.find
local plan = cjson.decode(ARGV[1])

local function expiry_of(ids, from)
    return (unpack_bytes('>I6', ids, from + HASH))
end

local function has(ids, hash)
    local from = find(ids, hash, 1, true)
    while from do
        if (from - 1) % BYTES == 0 then
            return expiry_of(ids, from) > now
        end
        from = find(ids, hash, from + 1, true)
    end
    return false
end

-- Ids expire about in the order in which they were added: so look at the first one, and
-- at all of them less often.
local function without_expired(ids)
    local count = #ids / BYTES
    if count % 4 > 0 or (count % 32 > 0 and expiry_of(ids, 1) > now) then
        return ids
    end
    local left = {}
    for from = 1, #ids, BYTES do
        if expiry_of(ids, from) > now then
            left[#left + 1] = ids:sub(from, from + BYTES - 1)
        end
    end
    return table.concat(left)
end

-- Of each batch: the hash of its id, the field of that, what is stored, for how long.
local hashes, fields_of, stored, ttls = {}, {}, {}, {}
for n, batch in ipairs(plan.batches) do
    local hash, ttl = batch[1], tonumber(batch[2])
    hashes[n], ttls[n] = hash, ttl
    fields_of[n] = hash:sub(1, 1) .. hash:byte(2) % 16
    stored[n] = hash .. pack('>I6', now + ttl)
end

-- Returns the ids in the fields of batches; and what is known of these, or nil.
local function known_ids(key, batches)
    local fields, repeated, states = {}, 0, {}
    for i = 1, #batches do
        fields[i] = fields_of[batches[i]]
    end
    local found = call('HMGET', key, unpack(fields))
    for i = 1, #batches do
        local ids = found[i]
        if ids and has(ids, hashes[batches[i]]) then
            repeated = repeated + 1
            states[i] = 'r'
        end
    end
    if repeated == 0 then
        return found, nil
    elseif repeated == #batches then
        return found, 'repeated'
    end
    for i = 1, #batches do
        states[i] = states[i] or 'n'
    end
    return found, 'known:' .. table.concat(states)
end

local function remember(key, batches, found)
    local longest, args, places, last = 0, {}, {}, 0
    for i = 1, #batches do
        local number, ids = batches[i], found[i]
        local field, id = fields_of[number], stored[number]
        local place = places[field]
        if place then
            args[place] = args[place] .. id
        else
            args[last + 1] = field
            args[last + 2] = ids and without_expired(ids) .. id or id
            last = last + 2
            places[field] = last
        end
        if ttls[number] > longest then
            longest = ttls[number]
        end
    end
    local left = call('PTTL', key)
    call('HSET', key, unpack(args))
    if left < longest then
        call('PEXPIRE', key, string.format('%.0f', longest * 1.02 + 1000))
    end
end

prepare(plan)

-- Read everything before anything is written: a key in a slot that is being moved is an
-- error.
local begins, ids, replies, flags = {}, {}, {}, {}
for begin in ARGV[3]:gmatch('[^\\n]+') do
    local n = #begins + 1
    local unit = plan.units[n]
    begins[n] = begin
    ids[n], replies[n] = known_ids(begin .. '#', unit[2])
    if not replies[n] then
        large = false
        local created, has_new_endings =
            change_unit(n, plan.shapes[unit[1]], unit, 2, begin)
        if created == nil then
            replies[n] = 'overflow'
        elseif ARGV[2] == 'check' then
            replies[n] = 'fine'
        end
        flags[n] = (created and '+' or '') .. (large and '!' or '')
        if has_new_endings then
            call('HLEN', begin .. '*')
        end
    end
end

for n, unit in ipairs(plan.units) do
    if not replies[n] then
        write_unit(n, plan.shapes[unit[1]], begins[n])
        remember(begins[n] .. '#', unit[2], ids[n])
        replies[n] = 'added' .. flags[n]
    end
end
return table.concat(replies, '\\n')
"""
)

#: In a cluster: adds batches to units. The ids of the batches are remembered beside
#: each unit: a repeated batch adds nothing to it.
#:
#: ``KEYS``: for each unit the hash of ids, the index of the unit, and the hashes that
#: its shape changes; all in one slot. ``ARGV``: the plan, as JSON; ``check`` (change
#: nothing) or ``apply``; and the beginnings of the keys of the units, in lines. The
#: plan contains:
#:
#: - ``batches``: lists of: hash of the id, 12 characters; for how many milliseconds to
#:   remember it
#: - ``shapes``, ``sums``: as in :data:`.server.scripts.ADD`
#: - ``units``: lists of: number of the shape; a list of the numbers of the batches;
#:   numbers of the additions
#:
#: Returns a line for each unit: ``fine`` after a check; ``overflow``; ``repeated`` if
#: all batches are known; ``known:`` and a letter for each batch, ``n`` new or ``r``
#: repeated, if some are; or ``added``. After that, ``+`` tells that the unit is new,
#: ``!`` that a sum is very large. Only ``added`` changes anything.
#:
#: An id is 18 bytes: the hash, and when it expires, in milliseconds. The hash of ids
#: has up to 1,024 fields, each with the ids of which the hashes begin alike: so a few
#: ids need little memory, and many are found quickly.
PART = _PARTS

#: The same for units in any slots of a node, without ``KEYS``. Needs Redis 7. It
#: changes nothing if a slot is not, or not wholly, on the node.
PARTS = _NODE + _PARTS

# Reserves ids, and compares definitions.
_PREPARE = """
local CHUNK = 1000
local plan, mode = cjson.decode(ARGV[1]), ARGV[2]
local replies, new = {}, {}

local function state_of(id)
    local known = redis.call('GET', id[1])
    if not known then
        return 'new'
    elseif known == id[2] then
        return 'known'
    end
    return known == '!' .. id[2] and 'added' or 'conflict'
end

-- Returns what is told of the names in a slot, and the new definitions.
local function compare(key, large, names, numbers)
    local missing, result = {}, {0, 0}
    for from = 1, #names, CHUNK do
        local upto = math.min(from + CHUNK - 1, #names)
        for i, known in ipairs(redis.call('HMGET', key, unpack(names, from, upto))) do
            local n = from + i - 1
            local text = plan.texts[numbers[n]]
            if not known then
                missing[#missing + 1] = names[n]
                missing[#missing + 1] = text
            elseif known:sub(1, 10) == '#renaming ' then
                return {n, -1}, {}
            elseif known ~= text then
                return {n, 0}, {}
            end
        end
    end
    result[2] = #missing / 2
    if mode == 'check' and redis.call('EXISTS', large) == 1 then
        for n, name in ipairs(names) do
            if redis.call('SISMEMBER', large, name) == 1 then
                result[#result + 1] = n
            end
        end
    end
    return result, missing
end

-- Read everything before anything is written: a key in a slot that is being moved is an
-- error.
for n, id in ipairs(plan.ids) do
    replies[n] = state_of(id)
end
for n, shard in ipairs(plan.names) do
    local told
    told, new[n] = compare(unpack(shard))
    replies[#plan.ids + n] = table.concat(told, ' ')
end

for n, id in ipairs(plan.ids) do
    if replies[n] == 'new' then
        redis.call('SET', id[1], id[2], 'PX', id[3])
    end
end
if mode == 'save' then
    for n, shard in ipairs(plan.names) do
        for from = 1, #new[n], 2 * CHUNK do
            local upto = math.min(from + 2 * CHUNK - 1, #new[n])
            redis.call('HSET', shard[1], unpack(new[n], from, upto))
        end
    end
end
return table.concat(replies, '\\n')
"""

#: In a cluster: reserves ids of batches, so that another batch with such an id is
#: found; and compares definitions, or saves them if none of them differs.
#:
#: ``KEYS``: those that are used, all in one slot. ``ARGV``: the plan, as JSON; and
#: ``check`` or ``save``. The plan contains:
#:
#: - ``ids``: lists of: key of the digest; digest; for how many milliseconds to remember
#:   it
#: - ``texts``: the definitions
#: - ``names``: for each slot of definitions a list of: their hash; the set of names
#:   with very large sums; a list of names; a list of the numbers of their definitions
#:
#: Returns a line for each id: ``new``, ``known``, ``conflict``, or ``added`` for a
#: batch that an older version has added. After that, a line of numbers for each slot of
#: definitions: of the first name that has another definition, or 0; how many names are
#: new, or -1 if that name is being renamed; then of the names with very large sums.
PREPARE = _PREPARE

#: The same for any slots of a node, without ``KEYS``, as :data:`PARTS`.
PREPARE_NODE = _NODE + _PREPARE

#: In a cluster: deletes a unit, if a cell is unchanged.
#:
#: ``KEYS``: the index; the hash of the cell, or the index if there is no condition; and
#: all keys to delete. ``ARGV``: the number of endings in the index; and if a cell must
#: be unchanged, its field, and its bytes in hexadecimal digits. Returns 1 more than the
#: number of deleted keys; 0 if the cell has changed, -1 if the index has.
DROP_UNIT = (
    UNCHANGED
    + """
if ARGV[2] and not is_unchanged(KEYS[2], ARGV[2], ARGV[3]) then
    return 0
end
if redis.call('HLEN', KEYS[1]) ~= tonumber(ARGV[1]) then
    return -1
end
return 1 + redis.call('UNLINK', unpack(KEYS, 3))
"""
)

#: In a cluster: gives the keys of a unit other names in their slot, at once.
#:
#: ``KEYS``: the key of the id of the move; the index; then the keys and their new names
#: in turn. ``ARGV``: an id; the number of endings in the index. Returns the id of the
#: move, which is that of an earlier call if that move has not ended; an empty text if
#: there is nothing to move, or ``again`` if the index has changed.
TAKE_UNIT = """
local id = redis.call('GET', KEYS[1])
if id then
    return id
end
if redis.call('HLEN', KEYS[2]) ~= tonumber(ARGV[2]) then
    return 'again'
end
local any = false
for i = 3, #KEYS, 2 do
    if redis.call('EXISTS', KEYS[i]) == 1 then
        redis.call('RENAME', KEYS[i], KEYS[i + 1])
        any = true
    end
end
if not any then
    return ''
end
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]
"""
