"""
What was sent, remembered while it is sent; and beside it what the collector tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, isclose
from typing import Any

from rich.table import Table
from twisted.internet.defer import Deferred
from zope.interface import implementer

from txstathat.export.client import StatHatExport
from txstathat.export.models import FullDataset
from txstathat.interfaces import IKick, IKickProvider, IStatHat, IStatHatProvider
from txstathat.points.model import Amount, Time
from txstathat.testing import MemoryStatHat

__all__ = ["KickTally", "Line", "Tally", "compare", "table_of"]

#: What covers all that the demo sends.
TIMEFRAME = "2d1h"


@implementer(IStatHatProvider)
class Tally:
    """
    Remembers each call, and passes it on.

    :param stats: who really counts.
    :ivar sent: what was sent.
    """

    def __init__(self, stats: IStatHat) -> None:
        self.sent = MemoryStatHat(ignore_errors=True)
        self._stats = stats

    def count(
        self,
        stat: str,
        count: Amount = 1,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        See :meth:`~txstathat.interfaces.IStatHat.count`.
        """
        self.sent.count(stat, count, t=t)
        return self._stats.count(stat, count, t=t, ignore_errors=ignore_errors)

    def value(
        self,
        stat: str,
        value: Amount,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        See :meth:`~txstathat.interfaces.IStatHat.value`.
        """
        self.sent.value(stat, value, t=t)
        return self._stats.value(stat, value, t=t, ignore_errors=ignore_errors)

    def tick(
        self,
        stat: str,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        See :meth:`~txstathat.interfaces.IStatHat.tick`.
        """
        return self.count(stat, t=t, ignore_errors=ignore_errors)


@implementer(IKickProvider)
class KickTally:
    """
    Counts kicks, and passes them on.

    :param metrica: what is really kicked.
    :ivar number: how many kicks there were.
    """

    def __init__(self, metrica: IKick) -> None:
        self.number = 0
        self._metrica = metrica

    def kick(self, value: Amount = 1, date: Any = None, **axes: Any) -> Deferred[Any]:
        """
        See :meth:`~txstathat.interfaces.IKick.kick`.
        """
        self.number += 1
        return self._metrica.kick(value, date, **axes)


@dataclass(frozen=True, slots=True)
class Line:
    """
    One thing that was counted.

    :ivar name: what.
    :ivar sent: how many: the sum of a counter, the number of a value's points.
    :ivar told: the same, as it is told afterwards.
    :ivar sent_mean: the mean of a value's points; ``None`` for a counter.
    :ivar told_mean: the same, as it is told.
    """

    name: str
    sent: Amount
    told: Amount
    sent_mean: float | None = None
    told_mean: float | None = None

    @property
    def equal(self) -> bool:
        """
        Whether both are equal; means up to the last digits of a float.
        """
        if self.sent_mean is None or self.told_mean is None:
            return self.sent == self.told and self.sent_mean is self.told_mean
        return self.sent == self.told and isclose(
            self.sent_mean, self.told_mean, rel_tol=1e-9
        )


async def compare(sent: MemoryStatHat, export: StatHatExport) -> list[Line]:
    """
    Ask the export API for everything, and put it beside what was sent.

    :returns: a line for each stat that was sent or is told, by name.
    """
    told: dict[str, FullDataset] = {}
    for stat in await export.stats():
        told[stat.name] = await export.full_data(stat.id, TIMEFRAME)
    counts, values = sent.counts, sent.values
    lines = []
    for name in sorted({*counts, *values, *told}):
        points = told[name].points if name in told else ()
        if name in values:
            amounts = values[name]
            number = sum(point.receipts for point in points)
            summed = fsum(point.value * point.receipts for point in points)
            lines.append(
                Line(
                    name,
                    len(amounts),
                    number,
                    fsum(amounts) / len(amounts),
                    summed / number if number else None,
                )
            )
        else:
            total = sum(point.value for point in points)
            lines.append(Line(name, counts.get(name, 0), total))
    return lines


def table_of(lines: Sequence[Line]) -> Table:
    """
    The lines as a table.
    """
    table = Table(title="What was sent, and what is told")
    table.add_column("", overflow="fold")
    for heading in ("sent", "told", "mean sent", "mean told", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for line in lines:
        table.add_row(
            line.name,
            f"{line.sent:,}",
            f"{line.told:,}",
            _mean(line.sent_mean),
            _mean(line.told_mean),
            "[green]✓[/]" if line.equal else "[red]✗[/]",
        )
    return table


def _mean(mean: Any) -> str:
    return "" if mean is None else f"{mean:,.6g}"
