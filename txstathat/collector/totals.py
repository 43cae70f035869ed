"""
Where points are kept: in memory, as one total for each stat.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import Interface, implementer

from txstathat.collector.ingest import Batch, Refusal
from txstathat.points import kind_and_amount

__all__ = ["IKeeper", "MAX_BATCH_IDS", "MAX_STATS", "MemoryTotals", "Total"]

#: How many batch ids are remembered; the oldest are forgotten first.
MAX_BATCH_IDS = 100_000
#: How many stats there may be.
MAX_STATS = 100_000


class IKeeper(Interface):
    """
    Takes batches of points that were read.
    """

    def keep(batch: Batch) -> Deferred[None]:
        """
        Keep a batch, whole or not at all, and once under its id.

        :param batch: the batch.
        :returns: a Deferred, which fires with ``None`` when the points are kept as
            safely as this keeper keeps them (now or under the same id before), and
            fails with :class:`~txstathat.collector.ingest.Refusal` when they are not.
        """


@dataclass(frozen=True, slots=True)
class Total:
    """
    What was received for one stat.

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


@implementer(IKeeper)
class MemoryTotals:
    """
    Totals by stat, for as long as the process lives.
    """

    def __init__(self) -> None:
        self._totals: dict[tuple[str, str], Total] = {}
        self._digests: dict[tuple[str, str, str], bytes] = {}

    @property
    def totals(self) -> Mapping[str, Total]:
        """
        The totals by the stat's name, or its key with the Classic API.
        """
        return MappingProxyType(
            {stat: total for (_, stat), total in self._totals.items()}
        )

    def keep(self, batch: Batch) -> Deferred[None]:
        """
        See :meth:`IKeeper.keep`.
        """
        try:
            self._keep(batch)
        except Refusal:
            return fail()
        return succeed(None)

    def _keep(self, batch: Batch) -> bool:
        """
        Whether the batch is new; a refusal is raised before anything changes.
        """
        batch_id = (batch.api, batch.key, batch.batch_id or "")
        known = self._digests.get(batch_id) if batch.batch_id else None
        if known is not None:
            if known != batch.digest:
                raise Refusal(409, "another body was sent under this Idempotency-Key")
            return False
        changed: dict[tuple[str, str], Total] = {}
        for point in batch.points:
            kind, amount = kind_and_amount(point)
            stat = (batch.api, point.stat)
            total = changed.get(stat) or self._totals.get(stat) or Total(kind)
            if total.kind != kind:
                raise Refusal(400, f"{point.stat!r} is a {total.kind} stat")
            # No amount off the wire is a Decimal, which would not add to a float.
            changed[stat] = Total(kind, total.points + 1, total.sum + amount)  # type: ignore[arg-type,operator]
        if len(self._totals.keys() | changed.keys()) > MAX_STATS:
            raise Refusal(400, f"there are already {MAX_STATS} stats")
        self._totals.update(changed)
        if batch.batch_id:
            self._digests[batch_id] = batch.digest
            if len(self._digests) > MAX_BATCH_IDS:
                del self._digests[next(iter(self._digests))]
        return True
