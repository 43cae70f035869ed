"""
The scripts that run inside Redis. Redis runs one script at a time, and each as a whole:
so a script can check everything first, then change it.

Amounts and times in the arguments are texts, since Lua converts the numbers of JSON to
floats. They are exact up to 2**53. Beyond that the scripts let Redis add them
(``INCRBY``), which is exact and reports overflows.
"""

from __future__ import annotations

__all__ = [
    "ADD",
    "CLAIM",
    "DROP",
    "DROP_UNIT",
    "NAMES",
    "PART",
    "PARTS",
    "PUT_RECORD",
    "READ",
]

# How cells are added. ``keys`` are the keys of units, ``SCRATCH`` is a key that does
# not exist.
_ADDING = """
local EXACT = 9007199254740992
local VERY_LARGE, VERY_LARGE_FLOAT = 4611686018427387904, 1e307
local large = false

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function small(number)
    return number < EXACT and number > -EXACT
end

local function add_whole(a, b)
    local x, y = tonumber(a), tonumber(b)
    local sum = x + y
    if math.abs(x) < EXACT and math.abs(y) < EXACT and math.abs(sum) < EXACT then
        return string.format('%.0f', sum)
    end
    redis.call('SET', SCRATCH, a)
    local reply = redis.pcall('INCRBY', SCRATCH, b)
    local exact = redis.call('GET', SCRATCH)
    redis.call('DEL', SCRATCH)
    if math.abs(sum) > VERY_LARGE then
        large = true
    end
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
        if math.abs(total) > VERY_LARGE_FLOAT then
            large = true
        end
        real = string.format('%.17g', total)
        rest = string.format('%.17g', tonumber(rest) + tonumber(rest2) + lost)
    end
    if real == '' then
        return sum
    end
    return sum .. ' ' .. real .. ' ' .. rest
end

-- The forms of a cell; see txstathat.stores.redis.cells.
local SHORT, LONG, FLOATS = '<i4i4i4i4', '<i8i8i8i8', '<Bi8i8dddd'
local TEXT = 56

local function encode(w, e, l, m, r, s, kinds)
    if r then
        return struct.pack(FLOATS, kinds, w, e, l, m, r, s)
    elseif w < 2147483648 and w >= -2147483648 and e < 2147483648
        and l >= -2147483648 and m < 2147483648 and l <= m then
        return struct.pack(SHORT, w, e, l, m)
    end
    return struct.pack(LONG, w, e, l, m)
end

-- Returns the numbers of a cell, and when it expires. A text has no numbers.
local function decode(cell)
    local size = #cell
    local w, e, l, m, r, s, kinds
    if size == 16 or size == 22 then
        w, e, l, m = struct.unpack(SHORT, cell)
    elseif size == 32 or size == 38 then
        w, e, l, m = struct.unpack(LONG, cell)
    elseif size == 49 or size == 55 then
        kinds, w, e, l, m, r, s = struct.unpack(FLOATS, cell)
    else
        local expiry = cell:match('@(%d+) *$')
        return nil, nil, nil, nil, nil, nil, nil, tonumber(expiry)
    end
    if size == 22 or size == 38 or size == 55 then
        return w, e, l, m, r, s, kinds, (struct.unpack('<I6', cell, size - 5))
    end
    return w, e, l, m, r, s, kinds, nil
end

local function number_text(number, whole)
    return string.format(whole and '%.0f' or '%.17g', number)
end

local function text_of(w, e, l, m, r, s, kinds)
    local least = number_text(l, not r or kinds % 2 == 1)
    local most = number_text(m, not r or kinds >= 2)
    local text = string.format('%.0f %.0f %s %s', w, e, least, most)
    return r and string.format('%s %.17g %.17g', text, r, s) or text
end

-- Returns a cell in its shortest form, and whether it is a text.
local function shortest(text)
    local whole, events, least, most, real, rest = split(text)
    local w, e = tonumber(whole), tonumber(events)
    local l, m = tonumber(least), tonumber(most)
    local l_whole = least:match('^-?%d+$') and small(l)
    local m_whole = most:match('^-?%d+$') and small(m)
    if not (small(w) and small(e)) then
        return text, true
    elseif real == '' then
        if l_whole and m_whole then
            return encode(w, e, l, m), false
        end
        return text, true
    elseif (least:match('^-?%d+$') and not l_whole)
        or (most:match('^-?%d+$') and not m_whole) then
        return text, true
    end
    local kinds = (l_whole and 1 or 0) + (m_whole and 2 or 0)
    return encode(w, e, l, m, tonumber(real), tonumber(rest), kinds), false
end

-- Returns a cell with an addition, and whether it is a text; nil if it would be too
-- large. An addition is a list of numbers, or a text.
local function combined(old, more)
    local numbers = type(more) == 'table'
    local w, e, l, m, r, s, kinds, expiry
    if old then
        w, e, l, m, r, s, kinds, expiry = decode(old)
    end
    if not old or (expiry and expiry <= now) then
        if numbers then
            return encode(unpack(more)), false
        end
        return shortest(more)
    end
    if not (numbers and w) then
        local text = w and text_of(w, e, l, m, r, s, kinds)
            or old:match('^([^@]*[^@ ])')
        text = add(text, numbers and text_of(unpack(more)) or more)
        if not text then
            return nil
        end
        return shortest(text)
    end
    local real = more[5]
    local sum, count = w + more[1], e + more[2]
    if not (small(sum) and small(count)) then
        local text = add(text_of(w, e, l, m, r, s, kinds), text_of(unpack(more)))
        if not text then
            return nil
        end
        return shortest(text)
    end
    if not (r or real) then
        if more[3] < l then l = more[3] end
        if more[4] > m then m = more[4] end
        return encode(sum, count, l, m), false
    end
    local least_kind, most_kind = (kinds or 3) % 2, (kinds or 3) >= 2 and 2 or 0
    local other = more[7] or 3
    if more[3] < l then l, least_kind = more[3], other % 2 end
    if more[4] > m then m, most_kind = more[4], other >= 2 and 2 or 0 end
    if not r then
        r, s = real, more[6]
    elseif real then
        -- as txstathat.stores.sums.add_floats
        local total = r + real
        local part = total - r
        s = s + more[6] + ((r - (total - part)) + (real - part))
        r = total
        if math.abs(r) == math.huge then
            return nil
        end
        if math.abs(r) > VERY_LARGE_FLOAT then
            large = true
        end
    end
    return encode(sum, count, l, m, r, s, least_kind + most_kind), false
end

local function padded(text)
    return text .. string.rep(' ', TEXT - #text)
end

-- A shape is a list of changes of hashes: ending of the key, longest time to live,
-- fields, number of the addition for each, time to live of each. This adds: how each
-- new cell ends, and how it ends if it is a text.
local function prepare(shape)
    for _, change in ipairs(shape) do
        local endings, text_endings = {}, {}
        for i, ttl in ipairs(change[5]) do
            endings[i] = ttl == '' and '' or struct.pack('<I6', now + ttl)
            text_endings[i] = ttl == '' and '' or string.format(' @%.0f', now + ttl)
        end
        change[6], change[7] = endings, text_endings
    end
end

-- Returns the new contents of a unit, and whether the unit is new; nil if a sum would
-- be too large. The keys of the unit are its index, then one for each change.
local function changed(shape, unit, at)
    local new, created = {}, true
    for n, change in ipairs(shape) do
        local fields, sources, endings = change[3], change[4], change[6]
        local olds = redis.call('HMGET', keys[at + n], unpack(fields))
        local args = {}
        for i, field in ipairs(fields) do
            local old, source = olds[i], sources[i]
            if old and change[1] == '' then
                created = false
            end
            local cell, is_text = combined(old, unit[source + 2])
            if not cell then
                return nil
            end
            args[2 * i - 1] = field
            args[2 * i] = is_text and padded(cell .. change[7][i]) or cell .. endings[i]
        end
        new[n] = args
    end
    return new, created
end

local function note_ending(index, ending, expiry)
    redis.call('HSET', index, ending, expiry)
    local count = redis.call('HLEN', index)
    if count < 100 or count % 16 > 0 then
        return
    end
    local all = redis.call('HGETALL', index)
    for i = 1, #all, 2 do
        if all[i + 1] ~= '' and tonumber(all[i + 1]) <= now then
            redis.call('HDEL', index, all[i])
        end
    end
end

local function write(shape, new, at)
    for n, change in ipairs(shape) do
        local key, ending, ttl = keys[at + n], change[1], change[2]
        local left = redis.call('PTTL', key)
        local expiry = nil
        redis.call('HSET', key, unpack(new[n]))
        if ttl == '' then
            if left >= 0 then
                redis.call('PERSIST', key)
            end
            if left ~= -1 then
                expiry = ''
            end
        elseif left == -2 or (left >= 0 and left < tonumber(ttl)) then
            -- Some time more, so that most writes need not change it.
            local lasting = math.ceil(ttl * 1.02) + 1000
            redis.call('PEXPIRE', key, string.format('%.0f', lasting))
            expiry = string.format('%.0f', now + lasting)
        end
        if expiry and ending ~= '' then
            note_ending(keys[at], ending, expiry)
        end
    end
end
"""

#: Adds batches to a server, all or none.
#:
#: ``KEYS``: the keys of the batches' digests; for each group of names the hash of the
#: definitions and the sorted set of tags; the sets of choices; then for each unit its
#: index and the hashes that its shape changes. ``ARGV[1]``: the plan, as JSON:
#:
#: - ``batches``: lists of: digest, for how many milliseconds to remember it
#: - ``names``: lists of: name, definition, name, definition, ...
#: - ``choices``: lists of: number of the group of names; choice, choice, ...
#: - ``shapes``: see ``prepare``
#: - ``units``: lists of: number of the shape, number of the group of names, additions
#:
#: Returns ``added``; ``known:`` and a letter for each batch: ``n`` new, ``r``
#: repeated, ``c`` conflict; ``mismatch:`` and the name; or ``overflow:`` and the number
#: of the unit. Only the first of these changes anything.
ADD = (
    "local keys, SCRATCH = KEYS, KEYS[1] .. 'scratch'"
    + _ADDING
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
local first_unit = first_choices + #plan.choices + 1

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

for _, shape in ipairs(plan.shapes) do
    prepare(shape)
end
local at, news, created = first_unit, {}, {}
for n, unit in ipairs(plan.units) do
    local shape = plan.shapes[unit[1]]
    news[n], created[n] = changed(shape, unit, at)
    if not news[n] then
        return 'overflow:' .. n
    end
    at = at + 1 + #shape
end

at = first_unit
for n, unit in ipairs(plan.units) do
    local shape = plan.shapes[unit[1]]
    write(shape, news[n], at)
    if created[n] then
        local tag = KEYS[at]:match('{(.*)}:%*$')
        redis.call('ZADD', KEYS[first_names + 2 * unit[2]], 0, tag)
    end
    at = at + 1 + #shape
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

# Adds batches to units, each by itself.
_PARTS = (
    _ADDING
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
    local ids, states, repeated = {}, {}, 0
    for i, number in ipairs(batches) do
        local batch = plan.batches[number]
        local field = batch.field
        ids[field] = ids[field] or redis.call('HGET', key, field) or ''
        states[i] = 'n'
        if has(ids[field], batch[1]) then
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

for _, shape in ipairs(plan.shapes) do
    prepare(shape)
end

-- Read everything before anything is written: a key in a slot that is being moved is an
-- error.
local news, ids, replies, flags = {}, {}, {}, {}
local at = first
for n, unit in ipairs(plan.units) do
    local shape = plan.shapes[unit[1]]
    ids[n], replies[n] = known_ids(keys[at], unit[2])
    if not replies[n] then
        local created
        large = false
        news[n], created = changed(shape, unit, at + 1)
        if not news[n] then
            replies[n] = 'overflow'
        elseif ARGV[2] == 'check' then
            replies[n] = 'fine'
        end
        flags[n] = (created and '+' or '') .. (large and '!' or '')
        redis.call('HLEN', keys[at + 1])
    end
    at = at + 2 + #shape
end

at = first
for n, unit in ipairs(plan.units) do
    local shape = plan.shapes[unit[1]]
    if not replies[n] then
        write(shape, news[n], at + 1)
        remember(keys[at], unit[2], ids[n])
        replies[n] = 'added' .. flags[n]
    end
    at = at + 2 + #shape
end
return replies
"""
)

#: In a cluster: adds batches to units. The ids of the batches are remembered beside
#: each unit: a repeated batch adds nothing to it.
#:
#: ``KEYS``: for each unit the hash of ids, the index of the unit, and the hashes that
#: its shape changes; all in one slot. ``ARGV``: the plan, as JSON; and ``check``
#: (change nothing) or ``apply``. The plan contains:
#:
#: - ``batches``: lists of: hash of the id, 12 characters; for how many milliseconds to
#:   remember it
#: - ``shapes``: as in :data:`ADD`
#: - ``units``: lists of: number of the shape; a list of the numbers of the batches; the
#:   additions
#:
#: Returns for each unit ``fine`` after a check; ``overflow``; ``repeated`` if all
#: batches are known; ``known:`` and a letter for each batch, ``n`` new or ``r``
#: repeated, if some are; or ``added``. After that, ``+`` tells that the unit is new,
#: ``!`` that a sum is very large. Only ``added`` changes anything.
#:
#: An id is 18 bytes: the hash, and when it expires, in milliseconds. The hash of ids
#: has up to 1,024 fields, each with the ids of which the hashes begin alike: so a few
#: ids need little memory, and many are found quickly.
PART = "local keys, first, SCRATCH = KEYS, 1, KEYS[1] .. 'scratch'" + _PARTS

#: The same for units in any slots of a node, with the keys in ``ARGV`` after the other
#: arguments. Needs Redis 7. It changes nothing if a slot is not, or not wholly, on the
#: node.
PARTS = (
    "#!lua flags=allow-cross-slot-keys\n"
    "local keys, first, SCRATCH = ARGV, 3, ARGV[3] .. 'scratch'" + _PARTS
)

#: In a cluster: compares definitions, or saves them if none of them differs.
#:
#: ``KEYS``: the hash of the definitions; the set of names with very large sums.
#: ``ARGV``: ``check`` or ``save``; name, definition, name, definition, ... Returns
#: numbers: of the first name that has another definition, or 0; how many names are new;
#: then of the names with very large sums.
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

# Compares a cell with its bytes in hexadecimal digits.
_UNCHANGED = """
local function is_unchanged(key, field, hex)
    local cell = redis.call('HGET', key, field)
    return cell and hex == cell:gsub('.', function(c)
        return string.format('%02x', c:byte())
    end)
end
"""

#: On one server: deletes a Metrica, if a cell is unchanged.
#:
#: ``KEYS``: the hash of its definition; the sorted set of its tags; and the hash of the
#: cell, if one must be unchanged. ``ARGV``: its name; the limits of its tags; the
#: beginning of all keys; and if a cell must be unchanged, its field, and its bytes in
#: hexadecimal digits. Returns 1 if there was something to delete and it was unchanged,
#: else 0.
DROP = (
    _UNCHANGED
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

#: In a cluster: deletes a unit, if a cell is unchanged.
#:
#: ``KEYS``: the index; the hash of the cell, or the index if there is no condition; and
#: all keys to delete. ``ARGV``: the number of endings in the index; and if a cell must
#: be unchanged, its field, and its bytes in hexadecimal digits. Returns 1 more than the
#: number of deleted keys; 0 if the cell has changed, -1 if the index has.
DROP_UNIT = (
    _UNCHANGED
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
