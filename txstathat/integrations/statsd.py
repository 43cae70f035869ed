"""
statsd: what programs in any language send over UDP, as counts and values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from twisted.internet.interfaces import IReactorTime

from txstathat.datagrams import INTERVAL, StatsDProtocol
from txstathat.instruments.losses import Losses
from txstathat.interfaces import IStatHat
from txstathat.points.model import Parts
from txstathat.points.statsd import MAX_NAMES, StatsDReader

__all__ = ["StatsDReceiver"]


class StatsDReceiver(StatsDProtocol):
    """
    Receives statsd's datagrams, and sends them on as counts and values::

        reactor.listenUDP(8125, StatsDReceiver(stats), interface="127.0.0.1")

    Each interval it sends one count for each counter, and one value for each
    measurement. UDP carries no key: whoever can reach the port can count.

    :param stats: where to send them. A
        :class:`~txstathat.delivery.service.StatHatService` sends many in one request.
    :param prefix: the beginning of all names.
    :param tags: the DogStatsD tags that become a part of the name, in this order, such
        as ``['env']``: ``requests env:prod``. Other tags are dropped.
    :param buckets: limits in milliseconds, in rising order, such as ``(10, 100)``. Each
        timer is also counted in one of ``name up to 10 ms``, ``name up to 100 ms`` and
        ``name over 100 ms``.
    :param max_names: how many names are known at once; lines with further ones are
        refused.
    :param interval: the seconds between two times of sending.
    :param reactor: schedules them; by default the global reactor.
    :raises ValueError: if a parameter is not valid.
    :ivar losses: the points that were lost.
    """

    def __init__(
        self,
        stats: IStatHat,
        *,
        prefix: str = "",
        tags: Sequence[str] = (),
        buckets: Iterable[float] = (),
        max_names: int = MAX_NAMES,
        interval: float = INTERVAL,
        reactor: IReactorTime | None = None,
    ) -> None:
        reader = StatsDReader(
            prefix=prefix, tags=tags, buckets=buckets, max_names=max_names
        )
        super().__init__(reader, interval, reactor)
        self.losses = Losses("StatsDReceiver")
        self._stats = stats

    def send(self, points: list[Parts]) -> None:
        """
        Send points on.
        """
        send, stats = self.losses.send, self._stats
        for kind, name, amount, _ in points:
            send(stats.count if kind == "count" else stats.value, name, amount)

    def account(self) -> dict[str, int]:
        """
        Return what became of the datagrams and of their lines; ``'points lost'`` are
        those that ``stats`` did not accept.
        """
        return {**super().account(), "points lost": self.losses.total}
