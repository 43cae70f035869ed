"""
Folds the journal of a Redis server into its cells.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha1
from typing import Any
from uuid import uuid4

from twisted.logger import Logger

from txstathat.stores.interface import Addition
from txstathat.stores.journal.fold_runner import SLICE_SECONDS
from txstathat.stores.journal.pending import Pending
from txstathat.stores.redis.keys import KeyNames, as_json, unit_tag
from txstathat.stores.redis.merging import Shapes, fits
from txstathat.stores.redis.server.journal import (
    Journal,
    Progress,
    Row,
    progress_of,
    spans,
)
from txstathat.stores.redis.server.journal_scripts import BEGIN, SLICE
from txstathat.stores.redis.server.plans import (
    NameGroups,
    UnitPlan,
    plan_text,
)

__all__ = ["LEASE_SECONDS", "SLICE_CELLS", "RedisFold", "RedisFolding"]

#: For how many seconds other processes leave the journal to one that folds.
LEASE_SECONDS = 10.0
#: How many cells the first slice of a fold changes. Later slices have so many that
#: Redis needs about :data:`.SLICE_SECONDS` for each.
SLICE_CELLS = 2_000

# Later slices have at least so many: a fold goes on, however busy the machine is.
_LEAST_CELLS = 500
_MOST_CELLS = 20_000

_log = Logger()


class RedisFold:
    """
    Adds the first rows of the journal to the cells.

    :param journal: the rows.
    :param rows: how many rows the journal has.
    :param texts: the bytes of the rows that were read.

    :ivar progress: how far it is, as the state of the journal has it.
    :ivar is_last: whether no rows were left out.
    """

    def __init__(self, journal: Journal, rows: int, texts: Sequence[bytes]) -> None:
        self.progress = journal.progress
        folded, upto, _ = journal.progress
        self._rows: Sequence[Row] = journal.rows
        self._upto = int(folded) + len(journal.rows) + len(journal.damaged)
        if upto:
            self._upto = int(upto)
        elif journal.rows:
            self._rows = next(spans(journal.rows))
            later = journal.rows[len(self._rows) : len(self._rows) + 1]
            self._upto = later[0].number - 1 if later else self._upto
        self._names = journal.names()
        self._count = self._upto - int(folded)
        # After a failover other rows may have the same numbers.
        last = min(self._count, len(texts))
        self._last: list[int | str] = [last, sha1(texts[last - 1]).hexdigest()]
        self._damaged = [
            number - int(folded) - 1
            for number in journal.damaged
            if number <= self._upto
        ]
        self.is_last = self._count == rows
        self._shapes: Shapes | None = None
        # The tags of all units, in order; their Metricas; and what is added to each, by
        # number of the set of time buckets. (An object for each unit would cost as much
        # as all the rest, since Python's garbage collector would look at it.)
        self._tags: list[str] = []
        self._name_of: dict[str, str] = {}
        self._sums: list[dict[str, Addition]] = []
        self._place = self._done = 0

    @property
    def folded(self) -> float:
        """About how many additions it has added, as the journal counts them."""
        additions = sum(row.usage.additions for row in self._rows)
        return additions * self._done / max(1, len(self._tags))

    def prepare(self) -> None:
        """
        Spread the sums of the rows over all units, if that was not done before.
        """
        if self._shapes is not None:
            return
        pending = Pending()
        for row in self._rows:
            pending.add(row.number, row.at, row.sections)
        self._shapes = Shapes()
        for group in pending.groups():
            times = int(group.begin), int(group.end)
            self._shapes.number([bucket for _, bucket in group.buckets], times)
            self._sums.append(self._by_tag(pending.sums_of(group)))
        self._tags = sorted(self._name_of)
        self._place = self._done = bisect_right(self._tags, self.progress.at)

    def _by_tag(self, sums: Mapping[tuple[int, str], Addition]) -> dict[str, Addition]:
        names, name_of, by_tag = self._names, self._name_of, {}
        for (id, key), addition in sums.items():
            if fits(addition):
                tag = unit_tag(names[id], key)
                by_tag[tag] = addition
                name_of[tag] = names[id]
            else:
                _warn(names[id], key)
        return by_tag

    def plan(
        self, keys: KeyNames, cells: int
    ) -> tuple[dict[str, str], UnitPlan, NameGroups]:
        """
        Return the plan of the next slice, after :meth:`prepare`.

        :param keys: the names of the keys.
        :param cells: about how many cells it changes.
        """
        assert self._shapes is not None
        groups = NameGroups()
        plan = UnitPlan(keys, self._shapes, groups.number)
        numbered = list(enumerate(self._sums))
        self._place = self._done
        while cells > 0 and self._place < len(self._tags):
            tag = self._tags[self._place]
            additions = {n: sums[tag] for n, sums in numbered if tag in sums}
            cells -= plan.add(self._name_of[tag], tag, additions)
            self._place += 1
        fields = {
            "state": as_json(self.progress),
            "last": as_json(self._last),
            "damaged": as_json(self._damaged),
        }
        if self._is_end:
            usages = [row.usage for row in self._rows]
            size = sum(one.additions for one in usages), sum(one.load for one in usages)
            fields["done"] = as_json([self._count, *size])
        else:
            fields["next"] = as_json(self._next()[1:])
        return fields, plan, groups

    @property
    def _is_end(self) -> bool:
        return self._place == len(self._tags)

    def _next(self) -> Progress:
        tag = self._tags[self._place - 1]
        return Progress(self.progress.folded, str(self._upto), tag)

    def note_slice(self, too_large: Sequence[int]) -> bool:
        """
        Note that the planned slice is in the cells.

        :param too_large: the numbers of the units that were left out, since a sum would
            be too large or a cell is damaged.
        :returns: whether more is left.
        """
        for number in too_large:
            _warn(*json.loads(self._tags[self._done + number - 1]))
        self._done = self._place
        if self._is_end:
            return False
        self.progress = self._next()
        self._last = []
        return True


def _warn(name: str, key: str) -> None:
    # The load of each row was checked before it was written: so something is damaged.
    _log.error(
        "the store's journal or a cell is damaged: a sum for the key {key} of the "
        "Metrica {name} is too large or cannot be added, and is not counted",
        key=key,
        name=name,
    )


class RedisFolding:
    """
    The folds of one server (:class:`~txstathat.stores.journal.fold_runner.Folding`).

    :param keys: the names of the keys.
    :param client: the client.
    :param session: returns a context manager for a use of the client.
    :param fold_at: how many additions a fold has if there are more than twice as many.
    :param slice_cells: how many cells the first slice changes.
    :param monotonic: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        keys: KeyNames,
        client: Any,
        session: Callable[[], Any],
        *,
        fold_at: int,
        slice_cells: int,
        monotonic: Callable[[], float],
    ) -> None:
        self._keys = keys
        self._session = session
        self._fold_at = fold_at
        self._cells = slice_cells
        self._least_cells = min(slice_cells, _LEAST_CELLS)
        self._monotonic = monotonic
        self._begin = client.register_script(BEGIN)
        self._slice = client.register_script(SLICE)
        self._owner = uuid4().hex

    def begin(self, takes_over: bool) -> tuple[RedisFold | None, int]:
        """See :meth:`.Folding.begin`."""
        lease = int(1000 * LEASE_SECONDS)
        arguments = [self._owner, lease, int(takes_over), self._fold_at]
        with self._session():
            reply = self._begin(keys=self._keys.journal(), args=arguments)
        additions, *rest = reply
        if not rest:
            return None, additions
        *progress, count, rows = rest
        journal = Journal(progress_of(progress), rows)
        return RedisFold(journal, count, rows), additions

    def step(self, fold: RedisFold) -> tuple[bool | None, int]:
        """See :meth:`.Folding.step`."""
        fields, plan, groups = fold.plan(self._keys, self._cells)
        tags = [self._keys.units(shard) for shard in groups.shards]
        fields = {
            **fields,
            **plan.fields(),
            "tags": as_json(tags),
            "lease": str(int(1000 * LEASE_SECONDS)),
        }
        keys = [*self._keys.journal(), self._keys.damaged()]
        arguments = [plan_text(fields), "\n".join(plan.begins), self._owner]
        began = self._monotonic()
        with self._session():
            reply = self._slice(keys=keys, args=arguments)
        if reply is None:
            return None, 1
        self._adjust(self._monotonic() - began)
        additions, *too_large = reply
        return fold.note_slice(too_large), additions

    def _adjust(self, seconds: float) -> None:
        """
        Change the size of slices, so that they take as long as they should.
        """
        if seconds > 0:
            factor = min(2.0, max(0.5, SLICE_SECONDS / seconds))
            self._cells = max(
                self._least_cells, min(_MOST_CELLS, int(self._cells * factor))
            )
