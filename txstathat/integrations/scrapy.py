"""
Scrapy: what its stats collector counts, sent while a spider runs.

Needs Scrapy: ``pip install 'txStatHat[scrapy]'``.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Literal, cast

from scrapy import Spider, signals
from scrapy.crawler import Crawler
from scrapy.exceptions import NotConfigured
from scrapy.utils.defer import maybe_deferred_to_future
from scrapy.utils.misc import load_object
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from txstathat.instruments.labels import StatName
from txstathat.instruments.losses import Losses
from txstathat.integrations.owned import OwnedStats
from txstathat.interfaces import IStatHat

__all__ = ["MAX_STATS", "VALUES", "StatHatExtension"]

#: How many stats of a crawl are sent.
MAX_STATS = 1000
#: The stats that Scrapy sets instead of increasing them, as patterns: they are values.
VALUES = ("*_max", "*_min", "*_per_minute", "elapsed_time_seconds", "memusage/*")

# Scrapy's own: it shows none of Twisted's warnings.
_log = logging.getLogger(__name__)


class StatHatExtension:
    """
    An extension that sends the stats of a crawl::

        EXTENSIONS = {"txstathat.integrations.scrapy.StatHatExtension": 500}

    While the spider runs it sends, every interval, by how much each stat rose; when the
    spider closes, the rest, and a count of ``finish_reason/REASON``. Stats that
    :data:`VALUES` matches are sent as values instead. What is no number is not sent.

    Settings:

    - ``STATHAT_STATS``: what to send to: a function without parameters, or the path to
      import it by, that makes an :class:`~txstathat.interfaces.IStatHat`. A service is
      started and stopped with the spider; what has a ``close`` method is closed. By
      default it is ``txstathat.stathat_from_env``.
    - ``STATHAT_INTERVAL``: how often to send, in seconds; 60 by default.
    - ``STATHAT_NAME``: the name of a stat, by default ``{spider} {stat}``.
    - ``STATHAT_VALUES``: patterns of the stats that are values, instead of
      :data:`VALUES`.
    - ``STATHAT_CLOSE_TIMEOUT``: how long the spider's end may wait for the last points,
      in seconds; 10 by default.

    It works with every reactor, the asyncio reactor that Scrapy installs by default
    among them, but not without one (``TWISTED_REACTOR_ENABLED = False``).

    :param crawler: the crawler of the spider.
    :param make_stats: called when the spider opens; makes what to send to.
    :param interval: as ``STATHAT_INTERVAL``.
    :param name: as ``STATHAT_NAME``.
    :param values: as ``STATHAT_VALUES``.
    :param close_timeout: as ``STATHAT_CLOSE_TIMEOUT``.
    :param reactor: what to wait with; the global reactor by default.
    :raises ValueError: if an interval is not above 0, or the name is not valid.
    :ivar losses: the points that were lost.
    """

    def __init__(
        self,
        crawler: Crawler,
        make_stats: Callable[[], IStatHat],
        *,
        interval: float = 60,
        name: str = "{spider} {stat}",
        values: Iterable[str] = VALUES,
        close_timeout: float = 10,
        reactor: IReactorTime | None = None,
    ) -> None:
        if not (interval > 0 and close_timeout > 0):
            raise ValueError(
                "STATHAT_INTERVAL and STATHAT_CLOSE_TIMEOUT must be above 0 seconds, "
                f"not {interval!r} and {close_timeout!r}"
            )
        self.losses = Losses("Scrapy")
        self._crawler = crawler
        self._make_stats = make_stats
        self._interval = interval
        self._name = StatName(name, ("spider", "stat"))
        self._values = tuple(values)
        self._close_timeout = close_timeout
        self._reactor = reactor
        self._stats: OwnedStats | None = None
        self._loop: LoopingCall | None = None
        self._sent: dict[str, float] = {}

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> StatHatExtension:
        """
        Make the extension of a crawler's settings; Scrapy calls this.

        :raises NotConfigured: if there is no reactor.
        """
        if "twisted.internet.reactor" not in sys.modules:
            raise NotConfigured("StatHatExtension needs a reactor")
        settings = crawler.settings
        extension = cls(
            crawler,
            load_object(settings.get("STATHAT_STATS", "txstathat.stathat_from_env")),
            interval=settings.getfloat("STATHAT_INTERVAL", 60),
            name=settings.get("STATHAT_NAME", "{spider} {stat}"),
            values=settings.getlist("STATHAT_VALUES", list(VALUES)),
            close_timeout=settings.getfloat("STATHAT_CLOSE_TIMEOUT", 10),
        )
        crawler.signals.connect(extension.spider_opened, signals.spider_opened)
        crawler.signals.connect(extension.spider_closed, signals.spider_closed)
        return extension

    def spider_opened(self, spider: Spider) -> None:
        """
        Begin to send.
        """
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = cast(IReactorTime, reactor)
        self._stats = OwnedStats(self._make_stats(), self.losses)
        self._stats.start()
        self._loop = LoopingCall(self._send_changes, spider)
        self._loop.clock = self._reactor
        self._loop.start(self._interval, now=False)

    async def spider_closed(self, spider: Spider, reason: str) -> None:
        """
        Send the rest, and wait until it is sent, for a limited time.
        """
        if self._stats is None or self._loop is None:
            # It did not begin, which Scrapy has logged.
            return
        if self._loop.running:
            self._loop.stop()
        self._send_changes(spider)
        self._send("count", spider, f"finish_reason/{reason}", 1)
        assert self._reactor is not None
        ended = self._stats.end(self._close_timeout, self._reactor)
        try:
            await maybe_deferred_to_future(ended)
        except Exception as error:
            _log.warning(
                "The last stats of the spider may be lost: %s", type(error).__name__
            )
        if self.losses.total:
            _log.warning(
                "%d points of the spider were lost, the last to %s",
                self.losses.total,
                self.losses.last,
            )

    def _send_changes(self, spider: Spider) -> None:
        try:
            # Taken apart first: handing a point on may lead to other stats.
            for method, key, amount in list(self._changes()):
                self._send(method, spider, key, amount)
        except Exception:
            # Of a stats collector. A LoopingCall would end for good.
            self.losses.note(Failure())

    def _changes(self) -> Iterator[tuple[Literal["count", "value"], str, float]]:
        assert self._crawler.stats is not None
        for key, amount in self._crawler.stats.get_stats().items():
            if type(amount) not in (int, float):
                continue
            if key not in self._sent and len(self._sent) >= MAX_STATS:
                continue
            rise = amount - self._sent.get(key, 0)
            self._sent[key] = amount
            if any(fnmatchcase(key, pattern) for pattern in self._values):
                yield "value", key, amount
            elif rise > 0:
                yield "count", key, rise

    def _send(
        self, method: Literal["count", "value"], spider: Spider, key: str, amount: float
    ) -> None:
        assert self._stats is not None
        name = self._name.of(spider=spider.name, stat=key)
        self._stats.send(method, name, amount)
