"""
Record what the demo sends, and compare it with what the server received.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, isclose
from typing import Any

from rich.table import Table
from twisted.internet.defer import Deferred
from zope.interface import implementer

from txstathat.client.wrappable import Wrappable
from txstathat.export.client import StatHatExport
from txstathat.export.models import FullDataset
from txstathat.interfaces import IKick, IKickProvider, IStatHat
from txstathat.points.amounts import Amount, Time
from txstathat.testing import MemoryStatHat

__all__ = [
    "KickCounter",
    "Comparison",
    "RecordingStatHat",
    "compare",
    "comparison_table",
]

#: The timeframe that covers all points of the demo.
TIMEFRAME = "2d1h"


class RecordingStatHat(Wrappable):
    """
    Records each call, and passes it on to another client.

    :param stats: the client that sends.
    :ivar sent: the recorded points.
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


@implementer(IKickProvider)
class KickCounter:
    """
    Counts kicks, and passes them on to a Metrica.

    :param metrica: the Metrica.
    :ivar number: the number of kicks.
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
class Comparison:
    """
    What was sent of one stat, and what the server received.

    :ivar name: the stat's name.
    :ivar sent: the total of a counter, or the number of a value's points, as sent.
    :ivar received: the same, as received.
    :ivar sent_mean: the mean of a value's points as sent; ``None`` for a counter.
    :ivar received_mean: the same, as received.
    """

    name: str
    sent: Amount
    received: Amount
    sent_mean: float | None = None
    received_mean: float | None = None

    @property
    def equal(self) -> bool:
        """
        Whether both sides are equal; means may differ by rounding (1e-9 relative).
        """
        if self.sent_mean is None or self.received_mean is None:
            return self.sent == self.received and self.sent_mean is self.received_mean
        return self.sent == self.received and isclose(
            self.sent_mean, self.received_mean, rel_tol=1e-9
        )


async def compare(sent: MemoryStatHat, export: StatHatExport) -> list[Comparison]:
    """
    Compare what was sent with the server's data.

    :param sent: the recorded points.
    :param export: reads the server's data.
    :returns: one comparison for each stat that was sent or received, sorted by name.
    :raises txstathat.errors.StatHatError: if the server's data cannot be read.
    """
    received: dict[str, FullDataset] = {}
    for stat in await export.stats():
        received[stat.name] = await export.full_data(stat.id, TIMEFRAME)
    counts, values = sent.counts, sent.values
    comparisons = []
    for name in sorted({*counts, *values, *received}):
        points = received[name].points if name in received else ()
        if name in values:
            amounts = values[name]
            number = sum(point.receipts for point in points)
            summed = fsum(point.value * point.receipts for point in points)
            comparisons.append(
                Comparison(
                    name,
                    len(amounts),
                    number,
                    fsum(amounts) / len(amounts),
                    summed / number if number else None,
                )
            )
        else:
            total = sum(point.value for point in points)
            comparisons.append(Comparison(name, counts.get(name, 0), total))
    return comparisons


def comparison_table(comparisons: Sequence[Comparison]) -> Table:
    """
    The comparisons as a table for a terminal.
    """
    table = Table(title="Sent and received")
    table.add_column("", overflow="fold")
    for heading in ("sent", "received", "mean sent", "mean received", "equal"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in comparisons:
        table.add_row(
            each.name,
            f"{each.sent:,}",
            f"{each.received:,}",
            _mean_text(each.sent_mean),
            _mean_text(each.received_mean),
            "[green]✓[/]" if each.equal else "[red]✗[/]",
        )
    return table


def _mean_text(mean: float | None) -> str:
    return "" if mean is None else f"{mean:,.6g}"
