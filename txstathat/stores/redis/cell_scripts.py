"""
The part of the scripts in Redis that adds to cells.

Amounts and times in the arguments of the scripts are numbers up to 2**53, and texts
beyond that: the numbers of Lua are floats. Texts are added by Redis itself
(``INCRBY``), which is exact and reports overflows.
"""

from __future__ import annotations

__all__ = ["ADDING", "UNCHANGED"]

#: How cells are added. ``SCRATCH`` is a key that does not exist.
ADDING = """
local EXACT = 9007199254740992
local VERY_LARGE, VERY_LARGE_FLOAT = 4611686018427387904, 1e307
local large, has_written = false, false
local call, pack, unpack_bytes = redis.call, struct.pack, struct.unpack

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

-- The forms of a cell; see txstathat.stores.redis.cells.
local SHORT, LONG, FLOATS = '<i4i4i4i4', '<i8i8i8i8', '<Bi8i8dddd'
local TEXT = 56
-- The forms of whole numbers by length, and the lengths with a limited time to live.
local WHOLE = {[16] = SHORT, [22] = SHORT .. 'I6', [32] = LONG, [38] = LONG .. 'I6'}
local LIMITED = {[22] = true, [38] = true}

local function encode(w, e, l, m, r, s, kinds)
    if r then
        large = large or math.abs(r) > VERY_LARGE_FLOAT
        return struct.pack(FLOATS, kinds, w, e, l, m, r, s)
    elseif w < 2147483648 and w >= -2147483648 and e < 2147483648
        and l >= -2147483648 and m < 2147483648 and l <= m then
        return struct.pack(SHORT, w, e, l, m)
    end
    return struct.pack(LONG, w, e, l, m)
end

-- Returns a cell with an addition, which expires at a time or never: the fast way if
-- all are whole numbers that Lua adds exactly, as most are; else nil. An old cell that
-- had expired when the addition began does not count.
local function whole_cell(old, more, begin, expiry)
    local w, e, l, m = more[1], more[2], more[3], more[4]
    if old then
        local size = #old
        local form = WHOLE[size]
        if not form then
            return nil
        end
        local w2, e2, l2, m2, expires = unpack_bytes(form, old)
        if not LIMITED[size] or expires > begin then
            w, e = w + w2, e + e2
            if l2 < l then l = l2 end
            if m2 > m then m = m2 end
        end
        if w >= EXACT or w <= -EXACT or e >= EXACT then
            return nil
        end
    end
    if w < 2147483648 and w >= -2147483648 and e < 2147483648
        and l >= -2147483648 and m < 2147483648 then
        if expiry then
            return pack('<i4i4i4i4I6', w, e, l, m, expiry)
        end
        return pack(SHORT, w, e, l, m)
    elseif expiry then
        return pack('<i8i8i8i8I6', w, e, l, m, expiry)
    end
    return pack(LONG, w, e, l, m)
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
    large = large or math.abs(w) > VERY_LARGE or e > VERY_LARGE
        or (real ~= '' and math.abs(tonumber(real)) > VERY_LARGE_FLOAT)
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
local function combined(old, more, begin)
    local numbers = type(more) == 'table'
    local w, e, l, m, r, s, kinds, expiry
    if old then
        w, e, l, m, r, s, kinds, expiry = decode(old)
    end
    if not old or (expiry and expiry <= begin) then
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
    end
    return encode(sum, count, l, m, r, s, least_kind + most_kind), false
end

-- A hash expires after its cells. So that most writes need not read when: time is
-- divided into steps, and a hash lasts beyond the step in which its last cell expires.
-- If a cell in it expires in the same step as the new one, it lasts long enough.
local function set_step(change)
    local ttl, last = tonumber(change[2]), 0
    for _, expiry in ipairs(change.expiries) do
        last = math.max(last, expiry)
    end
    change.step = math.max(1, math.floor(ttl / 100))
    change.number = math.floor(last / change.step)
end

-- A shape is a list of changes of hashes: ending of the key, longest time to live,
-- fields, place of the addition of each among those of the unit, time to live of each,
-- and when its addition began and ended; both are now by default. This adds to each
-- change: when the additions began, when each new cell expires, the length and the
-- number of the step; and to the shape the number of additions. It notes which
-- additions are whole numbers.
local function prepare(plan)
    for _, sum in ipairs(plan.sums) do
        if type(sum) == 'table' then
            sum.whole = not sum[5]
        end
    end
    for _, shape in ipairs(plan.shapes) do
        shape.sums, shape.additions = plan.sums, 0
        for _, change in ipairs(shape) do
            local begins, ends = change[6] or {}, change[7] or {}
            change.begins, change.expiries = {}, {}
            for i, ttl in ipairs(change[5]) do
                change.begins[i] = begins[i] or now
                change.expiries[i] = ttl ~= '' and (ends[i] or now) + ttl
                shape.additions = math.max(shape.additions, change[4][i])
            end
            if change[2] ~= '' then
                set_step(change)
            end
        end
    end
end

-- Returns whether a cell shows that its hash lasts long enough for a change.
local function lasting(old, change)
    local size = #old
    local step = change.step
    if not step then
        return size == 16 or size == 32 or size == 49
    end
    return (size == 22 or size == 38 or size == 55)
        and math.floor(unpack_bytes('<I6', old, size - 5) / step) == change.number
end

local function cell_of(old, more, begin, expiry)
    if more.whole then
        local cell = whole_cell(old, more, begin, expiry)
        if cell then
            return cell
        end
    end
    local cell, is_text = combined(old, more, begin)
    if not cell then
        return nil
    elseif is_text then
        cell = cell .. (expiry and string.format(' @%.0f', expiry) or '')
        return cell .. string.rep(' ', TEXT - #cell)
    end
    return expiry and cell .. pack('<I6', expiry) or cell
end

-- The new cells of all units; for each change of a hash whether the hash lasts; and
-- after which of them those of a unit begin.
local cells, lasts, first_cells, first_lasts, are_new = {}, {}, {}, {}, {}
local last_cell, last_hash = 0, 0

local EMPTY = {}

-- Computes the new cells of a unit. Returns whether the unit is new, nil if a sum would
-- be too large; and whether endings of its keys may have to be noted. The numbers of
-- the additions begin in a list after ``from``.
local function change_unit(unit, shape, numbers, from, begin)
    local sums, created, has_new_endings, is_new = shape.sums, true, false, false
    first_cells[unit], first_lasts[unit] = last_cell, last_hash
    for n = 1, #shape do
        local change = shape[n]
        local fields, places = change[3], change[4]
        local begins, expiries = change.begins, change.expiries
        local key, count = begin .. change[1], #fields
        local olds, enough = EMPTY, false
        if not is_new and count > 1 then
            olds = call('HMGET', key, unpack(fields))
        elseif not is_new then
            olds = {call('HGET', key, fields[1])}
        end
        for i = 1, count do
            local old = olds[i]
            if old then
                created = created and change[1] ~= ''
                enough = enough or lasting(old, change)
            end
            local sum = sums[numbers[from + places[i]]]
            local cell = cell_of(old, sum, begins[i], expiries[i])
            if not cell then
                last_cell, last_hash = first_cells[unit], first_lasts[unit]
                return nil
            end
            last_cell = last_cell + 1
            cells[last_cell] = cell
        end
        last_hash = last_hash + 1
        lasts[last_hash] = enough
        has_new_endings = has_new_endings or not (enough or change[1] == '')
        if change[1] == '' and created and n == 1 then
            -- Look whether it has any key, rather than read each.
            is_new = call('EXISTS', key, key .. '*') == 0
        end
    end
    are_new[unit] = is_new
    return created, has_new_endings
end

-- Notes when hashes of a unit expire: a list of endings and times.
local function note_endings(index, endings)
    -- Lua passes some thousand arguments at most.
    for from = 1, #endings, 1000 do
        redis.call('HSET', index, unpack(endings, from, math.min(from + 999, #endings)))
    end
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

local function set_expiry(key, change, left)
    local step = change.step
    if not step then
        if left >= 0 then
            call('PERSIST', key)
        end
        return left ~= -1 and ''
    elseif left == -2 or (left >= 0 and now + left < (change.number + 1) * step) then
        local expiry = string.format('%.0f', (change.number + 2) * step)
        call('PEXPIREAT', key, expiry)
        return expiry
    end
end

local function write_unit(unit, shape, begin)
    local at, n, endings = first_cells[unit], first_lasts[unit], nil
    for i = 1, #shape do
        local change = shape[i]
        local fields, key = change[3], begin .. change[1]
        local left = not lasts[n + i] and (are_new[unit] and -2 or call('PTTL', key))
        if #fields == 1 then
            call('HSET', key, fields[1], cells[at + 1])
        else
            local args = {}
            for j = 1, #fields do
                args[2 * j - 1], args[2 * j] = fields[j], cells[at + j]
            end
            call('HSET', key, unpack(args))
        end
        has_written = true
        at = at + #fields
        local expiry = left and set_expiry(key, change, left)
        if expiry and change[1] ~= '' then
            endings = endings or {}
            endings[#endings + 1] = change[1]
            endings[#endings + 1] = expiry
        end
    end
    if endings then
        note_endings(begin .. '*', endings)
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
