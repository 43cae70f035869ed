"""
The scripts of the listing that run inside Redis. See
:mod:`txstathat.stores.redis.listing` for the keys.
"""

from __future__ import annotations

__all__ = ["GROUPS", "PAGE", "PUT", "SEARCH"]

# Lua compares texts by the locale of the server; Redis sorts members by their bytes.
_LESS = """
local function less(a, b)
    local n = math.min(#a, #b)
    for i = 1, n do
        local x, y = a:byte(i), b:byte(i)
        if x ~= y then
            return x < y
        end
    end
    return #a < #b
end
"""

#: Writes rows and deletes others.
#:
#: ``KEYS``: the hash of the rows; the hash of the ids; then for each kind its sorted
#: sets, in the order of :data:`~txstathat.stores.listing.ORDERS`. ``ARGV``: as JSON,
#: lists of: the name; the member of the set of names; the id, which may be empty; and,
#: unless the row is to be deleted, the index of the first key of its kind, three
#: scores, and the text of the row.
PUT = """
for _, row in ipairs(cjson.decode(ARGV[1])) do
    local name, member, id, kind = row[1], row[2], row[3], row[4]
    for first = 3, #KEYS, 4 do
        if first ~= kind then
            redis.call('ZREM', KEYS[first], member)
            for order = 1, 3 do
                redis.call('ZREM', KEYS[first + order], name)
            end
        end
    end
    if kind then
        redis.call('ZADD', KEYS[kind], 0, member)
        for order = 1, 3 do
            redis.call('ZADD', KEYS[kind + order], row[4 + order], name)
        end
        redis.call('HSET', KEYS[1], name, row[8])
        if id ~= '' then
            redis.call('HSET', KEYS[2], id, name)
        end
    else
        redis.call('HDEL', KEYS[1], name)
        redis.call('HDEL', KEYS[2], id)
    end
end
"""

#: Returns the names of a page in the order of a number.
#:
#: ``KEYS``: a sorted set. ``ARGV``: ``1`` for descending; how many names; and, unless
#: the page is the first, the score and the name after which it begins.
PAGE = (
    _LESS
    + """
local key, descending, limit = KEYS[1], ARGV[1] == '1', tonumber(ARGV[2])
local at = descending and redis.call('ZCARD', key) or 0
if ARGV[3] then
    -- The number of members before this score and name, or with them.
    local low = redis.call('ZCOUNT', key, '-inf', '(' .. ARGV[3])
    local high = low + redis.call('ZCOUNT', key, ARGV[3], ARGV[3])
    while low < high do
        local middle = math.floor((low + high) / 2)
        local member = redis.call('ZRANGE', key, middle, middle)[1]
        if less(member, ARGV[4]) or (not descending and member == ARGV[4]) then
            low = middle + 1
        else
            high = middle
        end
    end
    at = low
end
if not descending then
    return redis.call('ZRANGE', key, at, at + limit - 1)
end
local names, page = {}, {}
if at > 0 then
    names = redis.call('ZRANGE', key, math.max(0, at - limit), at - 1)
end
for i = #names, 1, -1 do
    page[#page + 1] = names[i]
end
return page
"""
)

#: Searches a part of the names. Returns how many match, the last member that was looked
#: at (empty if that was the last part), and the names of those that may be on the page.
#:
#: ``KEYS``: the sorted set of the names; and that of the order (the same for the order
#: by name). ``ARGV``: two bounds of the names; the number of names to look at; the
#: words, as JSON; ``1`` for descending; how many names; and, unless the page is the
#: first, the score and the name after which it begins.
SEARCH = (
    _LESS
    + """
local size, words = tonumber(ARGV[3]), cjson.decode(ARGV[4])
local descending, limit = ARGV[5] == '1', tonumber(ARGV[6])
local score, name = tonumber(ARGV[7]), ARGV[8]

local function comes_first(a, b)
    if descending then
        a, b = b, a
    end
    if a[1] ~= b[1] then
        return a[1] < b[1]
    end
    return less(a[2], b[2])
end

local members = redis.call(
    'ZRANGEBYLEX', KEYS[1], ARGV[1], ARGV[2], 'LIMIT', 0, size)
local by_name = KEYS[1] == KEYS[2]
local matches, found = {}, 0

-- Holds only the first ones, in their order.
local function insert(match)
    local at = #matches
    if at == limit and not comes_first(match, matches[at]) then
        return
    end
    local low, high = 1, at + 1
    while low < high do
        local middle = math.floor((low + high) / 2)
        if comes_first(match, matches[middle]) then
            high = middle
        else
            low = middle + 1
        end
    end
    table.insert(matches, low, match)
    matches[limit + 1] = nil
end

local function is_match(folded)
    for _, word in ipairs(words) do
        if not folded:find(word, 1, true) then
            return false
        end
    end
    return true
end

local from, till, step = 1, #members, 1
if by_name and descending then
    from, till, step = till, from, -1
end
for i = from, till, step do
    local member = members[i]
    local at = member:find('%z')
    if is_match(at and member:sub(at + 1) or member:lower()) then
        found = found + 1
        local match = {0, at and member:sub(1, at - 1) or member}
        if by_name and #matches == limit then
            match = nil  -- the names come in order
        elseif not by_name then
            match[1] = tonumber(redis.call('ZSCORE', KEYS[2], match[2]) or 0)
        end
        if match and (not name or comes_first({score, name}, match)) then
            insert(match)
        end
    end
end
local reply = {found, #members == size and members[size] or ''}
for i = 1, #matches do
    reply[i + 2] = matches[i][2]
end
return reply
"""
)

#: Returns the groups of names below a prefix: a list of part, count, first name, part,
#: and so on.
#:
#: ``KEYS``: the sorted sets of the names. ``ARGV``: two bounds of the names; the length
#: of the prefix; how many groups; the separators, as a set of a pattern; and 1 to begin
#: with the last group.
GROUPS = (
    _LESS
    + """
local low, high, length = ARGV[1], ARGV[2], tonumber(ARGV[3])
local descending = ARGV[6] == '1'
local function outermost(low, high, last)
    local name
    for _, key in ipairs(KEYS) do
        local command, from, to = 'ZRANGEBYLEX', low, high
        if last then
            command, from, to = 'ZREVRANGEBYLEX', high, low
        end
        local found = redis.call(command, key, from, to, 'LIMIT', 0, 1)[1]
        found = found and found:match('^%Z+')
        if found and (not name or less(found, name) ~= last) then
            name = found
        end
    end
    return name
end
local groups = {}
while #groups < 3 * tonumber(ARGV[4]) do
    local name = outermost(low, high, descending)
    if not name then
        break
    end
    local at = name:find(ARGV[5], length + 1)
    local part, count, beyond = name, 1, name .. string.char(1)
    if at then
        part, count = name:sub(1, at), 0
        beyond = name:sub(1, at - 1) .. string.char(name:byte(at) + 1)
        for _, key in ipairs(KEYS) do
            local from, till = '[' .. part, '(' .. beyond
            count = count + redis.call('ZLEXCOUNT', key, from, till)
        end
        if descending then
            name = outermost('[' .. part, '(' .. beyond, false)
        end
    end
    if descending then
        high = '(' .. part
    else
        low = '[' .. beyond
    end
    groups[#groups + 1] = part
    groups[#groups + 1] = count
    groups[#groups + 1] = name
end
return groups
"""
)
