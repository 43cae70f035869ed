"""
The scripts that read the journal of a Redis server, and fold it.

A script changes all or nothing, also for a replica and for the log on the disk. So a
slice of a fold is in the cells if, and only if, the state of the journal says so.
"""

from __future__ import annotations

from txstathat.stores.redis.cell_scripts import ADDING
from txstathat.stores.redis.server.scripts import JOURNAL, UNITS

__all__ = ["BEGIN", "READ", "SLICE", "TOTAL"]

#: Reads the rows of the next fold, or of the one that has begun.
#:
#: ``KEYS``: those of the journal. ``ARGV``: who folds; for how many milliseconds others
#: shall leave the journal to it; whether to take it from another one, ``1`` or ``0``;
#: and how many additions a fold has if there are more than twice as many.
#:
#: Returns how many additions the journal has; and, unless another process folds, the
#: state of the fold: how many rows were folded before, its last row and its position,
#: both empty if none has begun; the number of all rows; and the rows of the fold, or
#: those of which its first ones may be.
BEGIN = (
    JOURNAL
    + """
local state = redis.call('HMGET', STATE,
    'additions', 'folded', 'upto', 'at', 'owner', 'until')
local additions, folded = tonumber(state[1] or 0), state[2] or '0'
local upto, rows = state[3], redis.call('LLEN', JOURNAL)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local owner, left = state[5], tonumber(state[6] or 0) - now
if rows == 0 then
    return {0}
elseif ARGV[3] == '0' and owner and owner ~= ARGV[1]
    -- More is left of it if the clock was set back since.
    and left > 0 and left <= tonumber(ARGV[2]) then
    return {additions}
end
local lease = string.format('%.0f', now + ARGV[2])
redis.call('HSET', STATE, 'owner', ARGV[1], 'until', lease)
local found = {}
if upto then
    found = redis.call('LRANGE', JOURNAL, 0, upto - folded - 1)
else
    local fold_at, sum = tonumber(ARGV[4]), 0
    local most = additions > 2 * fold_at and fold_at or math.huge
    while #found < rows and sum < most do
        for _, row in ipairs(redis.call('LRANGE', JOURNAL, #found, #found + 15)) do
            found[#found + 1] = row
            -- A damaged row may be shorter.
            sum = sum + (#row >= 10 and struct.unpack('<I4', row, 7) or 0)
        end
    end
end
return {additions, folded, upto or '', state[4] or '', rows, found}
"""
)

#: Adds a slice of a fold to the cells, if no other process has done so.
#:
#: ``KEYS``: those of the journal; and the list of damaged rows. ``ARGV``: the plan, as
#: JSON; the beginnings of the keys of the units, in lines; and who folds. The plan:
#:
#: - ``state``: what the state of the fold must be: as :data:`BEGIN` returned it or the
#:   slice before left it
#: - ``last``: for the first slice that this process adds, the place of the last row of
#:   the fold, from 1 on, and its SHA-1 digest: after a failover, or with an older copy,
#:   another row may have its number. Later slices must follow one of their own
#: - ``next``: the last row and the position, if this is not the last slice
#: - ``done``: else how many rows the fold has, their additions and their load
#: - ``damaged``: the places of the rows that could not be read
#: - ``lease``: as for :data:`BEGIN`
#: - ``tags``: the sorted set of tags for each group of names
#: - ``shapes``, ``sums``, ``units``: as in :data:`.server.scripts.ADD`
#:
#: Returns how many additions the journal has, and the numbers of the units that were
#: left out because a sum would be too large or a cell is damaged; nothing if another
#: process has gone on.
SLICE = (
    JOURNAL
    + "local SCRATCH = KEYS[1] .. 'scratch'"
    + ADDING
    + UNITS
    + """
local plan = cjson.decode(ARGV[1])
local state = redis.call('HMGET', STATE, 'folded', 'upto', 'at', 'owner')
if (state[1] or '0') ~= plan.state[1] or (state[2] or '') ~= plan.state[2]
    or (state[3] or '') ~= plan.state[3] then
    return false
end
if plan.last[1] then
    local last = redis.call('LINDEX', JOURNAL, plan.last[1] - 1)
    if not last or redis.sha1hex(last) ~= plan.last[2] then
        return false
    end
elseif state[4] ~= ARGV[3] then
    return false
end

-- Returns whether a unit could be added.
local function add_unit(n, begin, shape, from)
    -- Each unit is written at once, while the processor has it in its cache.
    large, last_cell, last_hash = false, 0, 0
    local created = change_unit(n, shape, plan.units, from, begin)
    if created == nil then
        return false
    end
    write_unit(n, shape, begin)
    note_unit(begin, created, large, plan.tags[plan.units[from]])
    return true
end

-- Returns whether an error is that of a damaged cell or key.
local function is_damage(problem)
    local text = type(problem) == 'table' and problem.err or problem
    return text:match('WRONGTYPE') or text:match('attempt to')
        or text:match('bad argument')
end

local reply = {0}
prepare(plan)
for_units(plan, function(...)
    local is_fine, result = pcall(add_unit, ...)
    -- Redis may refuse the first write. Later an error must not end the script: the
    -- next attempt would add to the same units again.
    if not is_fine and not (has_written or is_damage(result)) then
        error(result, 0)
    elseif not is_fine or not result then
        reply[#reply + 1] = (...)
    end
end)

if plan.next then
    redis.call('HSET', STATE, 'upto', plan.next[1], 'at', plan.next[2],
        'owner', ARGV[3], 'until', string.format('%.0f', now + plan.lease))
    reply[1] = tonumber(redis.call('HGET', STATE, 'additions') or 0)
    return reply
end
for _, place in ipairs(plan.damaged) do
    redis.call('RPUSH', KEYS[5], redis.call('LINDEX', JOURNAL, place))
end
local rows, additions, load = unpack(plan.done)
local size = redis.call('HMGET', STATE, 'additions', 'load')
redis.call('LTRIM', JOURNAL, rows, -1)
redis.call('HINCRBY', STATE, 'folded', rows)
redis.call('HDEL', STATE, 'upto', 'at', 'owner', 'until')
if redis.call('EXISTS', JOURNAL) == 1 then
    reply[1] = math.max(0, tonumber(size[1] or 0) - additions)
    load = math.max(0, tonumber(size[2] or 0) - load)
else
    load = 0
end
redis.call('HSET', STATE, 'additions', string.format('%.0f', reply[1]),
    'load', string.format('%.17g', load))
return reply
"""
)

#: Reads cells as one string: the time in milliseconds, 6 bytes; then for each cell its
#: length, 1 byte, and the cell. If the journal is not empty, the reply is a list of
#: that string; the state of the fold, as :data:`BEGIN` returns it; and all rows.
#:
#: ``KEYS``: those of the journal; the hashes. ``ARGV``: as JSON, a list of the fields
#: for each hash.
READ = (
    JOURNAL
    + """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local parts = {struct.pack('<I6', now)}
for n, fields in ipairs(cjson.decode(ARGV[1])) do
    for from = 1, #fields, 1000 do
        local upto = math.min(from + 999, #fields)
        local found = redis.call('HMGET', KEYS[4 + n], unpack(fields, from, upto))
        for i = 1, #found do
            local cell = found[i] or ''
            parts[#parts + 1] = string.char(#cell)
            parts[#parts + 1] = cell
        end
    end
end
local cells = table.concat(parts)
if redis.call('EXISTS', JOURNAL) == 0 then
    return cells
end
local state = redis.call('HMGET', STATE, 'folded', 'upto', 'at')
return {cells, state[1] or '0', state[2] or '', state[3] or '',
    redis.call('LRANGE', JOURNAL, 0, -1)}
"""
)

#: Reads a cell, if the journal is empty: else the reply is an empty list.
#:
#: ``KEYS``: the rows of the journal; the hash. ``ARGV``: the field.
TOTAL = """
if redis.call('EXISTS', KEYS[1]) == 1 then
    return {}
end
return redis.call('HGET', KEYS[2], ARGV[1])
"""
