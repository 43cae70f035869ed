"""
What a stat is: a Metrica without axes, with an id and two dates.

The dates are a cell of the store like any other, so that they are written with the
points, come and go with the stat, and are the same for several collectors: its least
and greatest amounts are the first and the last time of receipt.
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
from txstathat.stores.interface import Addition, Cell, CellKey, Increment, TimeBucket

__all__ = [
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

#: For how many seconds the detail of each scale is kept, by default; for ever where
#: there is none. So the usual timeframes are whole: ``1h1m``, ``1d5m``, ``1w3h``,
#: ``1M1h``, ``1y1d``.
RETENTION: dict[str, float | None] = {
    "year": None,
    "month": None,
    "day": 400 * _DAY,
    "hour": 35 * _DAY,
    "minute": 26 * 3600.0,
}

#: The key of the one cell that a stretch of a stat has.
EVERYTHING = cell_key(())

_RECEIVED = "received"


def _definition(kind: str) -> str:
    return as_json({"axes": [], "kind": kind, "multiplier": None, "tz": "UTC"})


#: How a store keeps a stat: by ``'count'`` or ``'value'``.
DEFINITIONS = {
    "count": _definition(Metrica.kind),
    "value": _definition(AveragedMetrica.kind),
}


@dataclass(frozen=True, slots=True)
class Stat:
    """
    A stat.

    :ivar name: its name.
    :ivar counter: whether it is a counter; else it is a value.
    :ivar created_at: when the first point was received, in Unix seconds.
    :ivar received_at: when the last one was.
    :ivar receipts: how many batches had points of it.
    """

    name: str
    counter: bool
    created_at: float
    received_at: float
    receipts: int

    @classmethod
    def of(cls, name: str, definition: str, cell: Cell) -> Stat:
        """
        A stat of what the store holds.

        :param cell: the one of :func:`received_key`.
        """
        counter = definition == DEFINITIONS["count"]
        return cls(name, counter, cell.min / 1000, cell.max / 1000, cell.count)

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
    All that was received for one stat.

    :ivar kind: ``'count'`` or ``'value'``, as of its first point.
    :ivar points: how many points.
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
    The id of a stat: 16 letters and digits, made of its name, so that every collector
    on a store gives a stat the same one, and nothing has to be kept.
    """
    digest = hashlib.sha256(name.encode("utf-8")).digest()
    return b32encode(digest[:10]).decode("ascii").lower()


def received(names: Iterable[str], now: float, batches: int = 1) -> Increment:
    """
    What notes that something was received.

    :param names: the stats that it was received for.
    :param now: Unix seconds.
    :param batches: 0 to note that stats were made without points.
    """
    milliseconds = int(now * 1000)
    cells = {EVERYTHING: Addition(0, batches, milliseconds, milliseconds)}
    return Increment([TimeBucket(_RECEIVED, "", None)], dict.fromkeys(names, cells))


def received_key(name: str) -> CellKey:
    """
    The cell that tells when something was received.
    """
    return CellKey(name, _RECEIVED, "", EVERYTHING)


def total_key(name: str) -> CellKey:
    """
    The cell that holds all that was received.
    """
    return CellKey(name, ALL, "", EVERYTHING)
