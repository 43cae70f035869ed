"""
The scripts that run on the nodes of a Redis Cluster.
"""

from __future__ import annotations

from txstathat.stores.redis.cell_scripts import ADDING, UNCHANGED

__all__ = ["CLAIM", "DROP_UNIT", "NAMES", "PART", "PARTS", "TAKE_UNIT"]

# Adds batches to units, each by itself.
_PARTS = (
    "local SCRATCH = ARGV[3]:match('[^\\n]+') .. 'scratch'"
    + ADDING
    + """
local BYTES, HASH = 18, 12
local plan = cjson.decode(ARGV[1])

local function expiry_of(ids, from)
    return (struct.unpack('>I6', ids, from + HASH))
end

local function has(ids, hash)
    local from = ids:find(hash, 1, true)
    while from do
        if (from - 1) % BYTES == 0 then
            return expiry_of(ids, from) > now
        end
        from = ids:find(hash, from + 1, true)
    end
    return false
end

-- Ids expire about in the order in which they were added.
local function without_expired(ids)
    if #ids == 0 or (expiry_of(ids, 1) > now and #ids % (32 * BYTES) > 0) then
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

for _, batch in ipairs(plan.batches) do
    local hash = batch[1]
    batch.field = hash:sub(1, 1) .. hash:byte(2) % 16
    batch.ttl = tonumber(batch[2])
    batch.id = hash .. struct.pack('>I6', now + batch.ttl)
end

-- Returns the ids of a unit in the fields of its batches, and what is known of these.
local function known_ids(key, batches)
    local ids, fields, states, repeated = {}, {}, {}, 0
    for _, number in ipairs(batches) do
        local field = plan.batches[number].field
        if not ids[field] then
            ids[field] = ''
            fields[#fields + 1] = field
        end
    end
    for i, found in ipairs(redis.call('HMGET', key, unpack(fields))) do
        ids[fields[i]] = found or ''
    end
    for i, number in ipairs(batches) do
        local batch = plan.batches[number]
        states[i] = 'n'
        if has(ids[batch.field], batch[1]) then
            states[i] = 'r'
            repeated = repeated + 1
        end
    end
    if repeated == #batches then
        return ids, 'repeated'
    elseif repeated > 0 then
        return ids, 'known:' .. table.concat(states)
    end
    return ids, nil
end

local function remember(key, batches, ids)
    local longest, args = 0, {}
    for _, number in ipairs(batches) do
        local batch = plan.batches[number]
        ids[batch.field] = without_expired(ids[batch.field]) .. batch.id
        longest = math.max(longest, batch.ttl)
    end
    for field, text in pairs(ids) do
        args[#args + 1] = field
        args[#args + 1] = text
    end
    local left = redis.call('PTTL', key)
    redis.call('HSET', key, unpack(args))
    if left < longest then
        redis.call('PEXPIRE', key, string.format('%.0f', longest * 1.02 + 1000))
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
        local created = change_unit(n, plan.shapes[unit[1]], unit, 2, begin)
        if created == nil then
            replies[n] = 'overflow'
        elseif ARGV[2] == 'check' then
            replies[n] = 'fine'
        end
        flags[n] = (created and '+' or '') .. (large and '!' or '')
        redis.call('HLEN', begin .. '*')
    end
end

for n, unit in ipairs(plan.units) do
    if not replies[n] then
        write_unit(n, plan.shapes[unit[1]], begins[n])
        remember(begins[n] .. '#', unit[2], ids[n])
        replies[n] = 'added' .. flags[n]
    end
end
return replies
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
#: - ``shapes``, ``sums``: as in :data:`.scripts.ADD`
#: - ``units``: lists of: number of the shape; a list of the numbers of the batches;
#:   numbers of the additions
#:
#: Returns for each unit ``fine`` after a check; ``overflow``; ``repeated`` if all
#: batches are known; ``known:`` and a letter for each batch, ``n`` new or ``r``
#: repeated, if some are; or ``added``. After that, ``+`` tells that the unit is new,
#: ``!`` that a sum is very large. Only ``added`` changes anything.
#:
#: An id is 18 bytes: the hash, and when it expires, in milliseconds. The hash of ids
#: has up to 1,024 fields, each with the ids of which the hashes begin alike: so a few
#: ids need little memory, and many are found quickly.
PART = _PARTS

#: The same for units in any slots of a node, without ``KEYS``. Needs Redis 7. It
#: changes nothing if a slot is not, or not wholly, on the node.
PARTS = "#!lua flags=allow-cross-slot-keys\n" + _PARTS

#: In a cluster: compares definitions, or saves them if none of them differs.
#:
#: ``KEYS``: the hash of the definitions; the set of names with very large sums.
#: ``ARGV``: ``check`` or ``save``; name, definition, name, definition, ... Returns
#: numbers: of the first name that has another definition, or 0; how many names are new,
#: or -1 if that name is being renamed; then of the names with very large sums.
NAMES = """
local CHUNK = 1000
local new, result = {}, {0, 0}
for from = 2, #ARGV, 2 * CHUNK do
    local fields = {}
    for i = from, math.min(from + 2 * CHUNK - 1, #ARGV), 2 do
        fields[#fields + 1] = ARGV[i]
    end
    for i, known in ipairs(redis.call('HMGET', KEYS[1], unpack(fields))) do
        local at = from + 2 * i - 2
        if not known then
            new[#new + 1] = ARGV[at]
            new[#new + 1] = ARGV[at + 1]
        elseif known:sub(1, 10) == '#renaming ' then
            return {at / 2, -1}
        elseif known ~= ARGV[at + 1] then
            return {at / 2, 0}
        end
    end
end
result[2] = #new / 2
if ARGV[1] == 'save' then
    for from = 1, #new, 2 * CHUNK do
        local upto = math.min(from + 2 * CHUNK - 1, #new)
        redis.call('HSET', KEYS[1], unpack(new, from, upto))
    end
elseif redis.call('EXISTS', KEYS[2]) == 1 then
    for i = 2, #ARGV, 2 do
        if redis.call('SISMEMBER', KEYS[2], ARGV[i]) == 1 then
            result[#result + 1] = i / 2
        end
    end
end
return result
"""

#: In a cluster: reserves the id of a batch, so that another batch with this id is
#: found.
#:
#: ``KEYS``: the key of the digest. ``ARGV``: the digest, and for how many milliseconds
#: to remember it. Returns ``new``, ``known``, ``conflict``, or ``added`` for a batch
#: that an older version has added.
CLAIM = """
local known = redis.call('GET', KEYS[1])
if not known then
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    return 'new'
elseif known == ARGV[1] then
    return 'known'
end
return known == '!' .. ARGV[1] and 'added' or 'conflict'
"""

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
