"""
The part of the scripts in Redis that adds to cells.

Amounts and times in the arguments of the scripts are numbers up to 2**53, and texts
beyond that: the numbers of Lua are floats. Texts are added by Redis itself
(``INCRBY``), which is exact and reports overflows.
"""

from __future__ import annotations

__all__ = ["ADDING", "UNCHANGED"]

#: How cells are added. ``keys`` are the keys of units, ``SCRATCH`` is a key that does
#: not exist.
ADDING = """
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

#: Compares a cell with its bytes in hexadecimal digits.
UNCHANGED = """
local function is_unchanged(key, field, hex)
    local cell = redis.call('HGET', key, field)
    return cell and hex == cell:gsub('.', function(c)
        return string.format('%02x', c:byte())
    end)
end
"""
