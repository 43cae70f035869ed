"""
A stat: a Metrica without axes, with an id and two dates.

The dates are the least and greatest amount of a cell in the store: the times of the
first and last receipt. So they are written together with the points, are deleted with
the stat, and are the same for all collectors on the store.
"""

from __future__ import annotations

import hashlib
from base64 import b32encode
from collections.abc import Iterable
from dataclasses import dataclass

from txstathat.metrica.axes import as_json
from txstathat.metrica.calendar import ALL
from txstathat.metrica.cells import cell_key
from txstathat.metrica.metrica import AveragedMetrica, Metrica
from txstathat.stores.interface import (
    Addition,
    Cell,
    CellKey,
    Increment,
    Key,
    TimeBucket,
)

__all__ = [
    "CLOCK_SLACK",
    "DEFINITIONS",
    "EVERYTHING",
    "RETENTION",
    "Stat",
    "Total",
    "received",
    "received_key",
    "stat_id",
    "total_key",
]

_DAY = 86_400.0

#: By how many seconds the clock can be behind the newest receipt without being doubted:
#: the clocks of several collectors on a store differ a little.
CLOCK_SLACK = 60.0

#: For how many seconds the detail of each scale is stored, by default; ``None`` for
#: ever. With these the usual timeframes are complete: ``1h1m``, ``1d5m``, ``1w3h``,
#: ``1M1h``, ``1y1d``.
RETENTION: dict[str, float | None] = {
    "year": None,
    "month": None,
    "day": 400 * _DAY,
    "hour": 35 * _DAY,
    "minute": 26 * 3600.0,
}

#: The key of the only cell that a stat has in a time bucket.
EVERYTHING = cell_key(())

_RECEIVED = "received"


def _definition(kind: str) -> str:
    return as_json({"axes": [], "kind": kind, "multiplier": None, "tz": "UTC"})


#: The definition of a stat in the store, by ``'count'`` or ``'value'``.
DEFINITIONS = {
    "count": _definition(Metrica.kind),
    "value": _definition(AveragedMetrica.kind),
}


@dataclass(frozen=True, slots=True)
class Stat:
    """
    A stat.

    :ivar name: its name.
    :ivar counter: whether it is a counter; otherwise it is a value.
    :ivar created_at: when its first point was received, in Unix seconds.
    :ivar received_at: when its last point was received, in Unix seconds.
    :ivar receipts: how many batches had points of it.
    :ivar is_ahead: whether a receipt was noted while the clock was wrong, ahead of now.
        Then ``received_at`` is now, and when the last point was received is not known.
    """

    name: str
    counter: bool
    created_at: float
    received_at: float
    receipts: int
    is_ahead: bool = False

    @classmethod
    def of(cls, name: str, definition: str, cell: Cell, now: float) -> Stat:
        """
        Make a stat from the contents of the store.

        :param name: its name.
        :param definition: one of :data:`DEFINITIONS`.
        :param cell: the cell of :func:`received_key`.
        :param now: Unix seconds. A receipt cannot be later: it was noted while the
            clock was wrong.
        """
        counter = definition == DEFINITIONS["count"]
        created, received = min(cell.min / 1000, now), min(cell.max / 1000, now)
        ahead = cell.max / 1000 > now + CLOCK_SLACK
        return cls(name, counter, created, received, cell.count, ahead)

    @property
    def id(self) -> str:
        """See :func:`stat_id`."""
        return stat_id(self.name)

    @property
    def kind(self) -> str:
        """``'count'`` or ``'value'``."""
        return "count" if self.counter else "value"


@dataclass(frozen=True, slots=True)
class Total:
    """
    All points of a stat, added up.

    :ivar kind: ``'count'`` or ``'value'``.
    :ivar points: the number of points.
    :ivar sum: the sum of their amounts.
    """

    kind: str
    points: int = 0
    sum: int | float = 0

    @property
    def average(self) -> float | None:
        """
        The mean of the amounts; ``None`` without points.
        """
        return self.sum / self.points if self.points else None


def stat_id(name: str) -> str:
    """
    Return the id of a stat: 16 letters and digits, computed from its name. So all
    collectors on a store use the same id, and it needs no storage.
    """
    digest = hashlib.sha256(name.encode("utf-8")).digest()
    return b32encode(digest[:10]).decode("ascii").lower()


def received(names: Iterable[str], now: float, batches: int = 1) -> Increment:
    """
    Return the increment that notes a receipt.

    :param names: the stats.
    :param now: Unix seconds.
    :param batches: the number of batches; 0 for stats created without points.
    """
    milliseconds = int(now * 1000)
    addition = Addition(0, batches, milliseconds, milliseconds)
    cells: dict[Key, Addition] = {EVERYTHING: addition}
    return Increment([TimeBucket(_RECEIVED, "", None)], dict.fromkeys(names, cells))


def received_key(name: str) -> CellKey:
    """
    Return the key of the cell with a stat's receipts.
    """
    return CellKey(name, _RECEIVED, "", EVERYTHING)


def total_key(name: str) -> CellKey:
    """
    Return the key of the cell with the sum of all points of a stat.
    """
    return CellKey(name, ALL, "", EVERYTHING)
