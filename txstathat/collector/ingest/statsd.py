"""
The points of statsd's datagrams, which carry no key: they count under the limits of a
key with a given name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from txstathat.collector.errors import Refusal
from txstathat.collector.ingest.parse import PostedBatch
from txstathat.collector.limits import MAX_BATCH
from txstathat.collector.metrics import CollectorMetrics
from txstathat.datagrams import INTERVAL, StatsDProtocol
from txstathat.errors import StoreError
from txstathat.points.model import Parts
from txstathat.points.statsd import StatsDReader

__all__ = ["KEY", "REFUSED_SECONDS", "NamedKeys", "StatsDIngest"]

#: The name of the EZ key under whose limits points count by default.
KEY = "first EZ key"
#: For how many seconds the points of a stat are dropped after the store has refused
#: some, before it is asked again.
REFUSED_SECONDS = 60.0


class NamedKeys(Protocol):
    """
    Finds keys; :class:`~txstathat.collector.auth.keys.Keys` does.
    """

    def find_id(self, kind: str, name: str) -> str | None:
        """Return what identifies the key; ``None`` if there is none."""


class StatsDIngest(StatsDProtocol):
    """
    Receives statsd's datagrams, and stores their points.

    A request is stored as a whole or not at all; here one stat that cannot be stored
    does not cost the points of the others.

    :param add: stores a batch, such as
        :meth:`Archive.write <txstathat.collector.archive.archive.Archive.write>`.
    :param keys: finds the key.
    :param key: the name of the EZ key under whose limits the points count. Without such
        a key they are dropped.
    :param metrics: counts the batches.
    :param reactor: schedules the times of storing; by default the global reactor.
    :ivar lost: the number of points that were not stored, by reason.
    """

    _log = Logger()

    def __init__(
        self,
        add: Callable[[PostedBatch], Awaitable[bool]],
        keys: NamedKeys,
        key: str = KEY,
        metrics: CollectorMetrics | None = None,
        *,
        interval: float = INTERVAL,
        reactor: IReactorTime | None = None,
    ) -> None:
        super().__init__(StatsDReader(), interval, reactor)
        self.lost: Counter[str] = Counter()
        self._add = add
        self._keys = keys
        self._key = key
        self._metrics = metrics or CollectorMetrics()
        self._metrics.statsd = self.account
        # The stats of which points were refused lately.
        self._refused: set[str] = set()
        self._forget_at = 0.0
        self._storing: set[Deferred[None]] = set()

    def account(self) -> dict[str, int]:
        """
        Return what became of the datagrams, of their lines, and of the points.
        """
        lost = {f"points lost: {reason}": n for reason, n in self.lost.items()}
        return {**super().account(), **lost}

    def send(self, points: list[Parts]) -> None:
        """
        Begin to store points.
        """
        try:
            id = self._keys.find_id("ez", self._key)
        except (Refusal, StoreError):
            id = None
        if id is None:
            self._lose("key", len(points), f"there is no EZ key named {self._key!r}")
            return
        if self._clock.seconds() >= self._forget_at:
            self._refused.clear()
            self._forget_at = self._clock.seconds() + REFUSED_SECONDS
        if self._refused:
            wanted = [point for point in points if point[1] not in self._refused]
            self.lost["refused"] += len(points) - len(wanted)
            points = wanted
        for start in range(0, len(points), MAX_BATCH):
            storing = Deferred.fromCoroutine(
                self._store(id, points[start : start + MAX_BATCH])
            )
            if not storing.called:
                self._storing.add(storing)
                storing.addBoth(self._stored, storing)

    def _stored(self, result: None, storing: Deferred[None]) -> None:
        self._storing.discard(storing)

    async def close(self) -> None:
        """
        Wait until all points are stored or lost.
        """
        await DeferredList(list(self._storing))

    async def _store(self, id: str, points: Sequence[Parts]) -> None:
        began = self._metrics.now()
        try:
            await self._add(PostedBatch("statsd", id, points, True, None, b""))
        except Refusal as error:
            if error.http_status == 503:
                self._lose("not stored", len(points), str(error))
            else:
                await self._store_halves(id, points, error)
        except StoreError as error:
            self._lose("not stored", len(points), str(error))
        except Exception:
            self.lost["not stored"] += len(points)
            self._log.failure("cannot store points of statsd")
        else:
            self._metrics.stored(len(points), True, began)

    async def _store_halves(
        self, id: str, points: Sequence[Parts], error: Refusal
    ) -> None:
        """
        Store what can be stored of some points that were refused together.
        """
        names = sorted({point[1] for point in points})
        if len(names) == 1:
            self._refused.update(names)
            self._lose("refused", len(points), str(error))
            return
        first = set(names[: len(names) // 2])
        await self._store(id, [point for point in points if point[1] in first])
        await self._store(id, [point for point in points if point[1] not in first])

    def _lose(self, reason: str, points: int, message: str) -> None:
        """
        Count lost points, and log the first ones for each reason.
        """
        if not self.lost[reason]:
            self._log.warn(
                "points of statsd are not stored: {reason}; further ones are counted "
                "in /metrics only",
                reason=message,
            )
        self.lost[reason] += points
