"""
The bookshop's visitors: now, over HTTP; and of the past day, as points with times.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from math import pi, sin, sqrt
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import LoopingCall, deferLater
from twisted.web.client import Agent, HTTPConnectionPool, readBody

from txstathat.cli.demo.bookshop import BOOKS, random_order
from txstathat.cli.reactor import ICommandReactor
from txstathat.interfaces import IKick, IStatHat

__all__ = ["Visitors", "send_past_day"]

#: The most visitors that come in a second, which is in the evening.
RATE = 3
#: The average number of seconds that a visitor spends on a page.
SECONDS_ON_PAGE = 2.0
#: The share of visitors who buy a book.
PURCHASE_RATE = 0.05
_HOURS = 24


def activity(seconds: float) -> float:
    """
    The share of :data:`RATE` that comes at a time: 0.4 to 1, highest at 20:00 UTC.

    :param seconds: the time, in Unix seconds.
    """
    return 0.7 + 0.3 * sin((seconds / 3600 - 14) / 12 * pi)


class Visitors:
    """
    Visitors who come to the shop at random, read pages, and sometimes buy a book.

    :param url: the shop's URL.
    :param reactor: for delays and connections.
    :param rng: the source of randomness.
    :ivar inside: the number of visitors in the shop.
    """

    def __init__(self, url: str, reactor: ICommandReactor, rng: Random) -> None:
        self.inside = 0
        self._url = url
        self._chance = rng
        self._pool = HTTPConnectionPool(reactor)
        self._agent = Agent(reactor, pool=self._pool)
        self._reactor = reactor
        self._visits: set[Deferred[Any]] = set()
        self._pauses: set[Deferred[None]] = set()
        self._closed = False
        self._loop = LoopingCall(self._admit)
        self._loop.clock = reactor

    def start(self) -> None:
        """
        Begin to let visitors in.
        """
        self._visits.add(self._loop.start(1 / RATE))

    async def stop(self) -> None:
        """
        Let no more visitors in, and wait until all have left.
        """
        self._closed = True
        self._loop.stop()
        for pause in [*self._pauses]:
            pause.cancel()
        await gatherResults([*self._visits], consumeErrors=True)
        await self._pool.closeCachedConnections()

    def _admit(self) -> None:
        if self._chance.random() > activity(self._reactor.seconds()):
            return
        visit = Deferred.fromCoroutine(self._visit())
        if not visit.called:
            self._visits.add(visit)
            visit.addCallback(lambda _: self._visits.discard(visit))

    async def _visit(self) -> None:
        self.inside += 1
        await self._request(b"GET", "")
        while not self._closed and self._chance.random() < 0.6:
            await self._read_page()
            await self._request(b"GET", str(self._chance.randrange(len(BOOKS))))
        if self._chance.random() < PURCHASE_RATE:
            await self._request(b"POST", "till")
        elif self._chance.random() < 0.02:
            await self._request(b"GET", "lost")
        self.inside -= 1

    async def _read_page(self) -> None:
        seconds = self._chance.expovariate(1 / SECONDS_ON_PAGE)
        pause: Deferred[None] = deferLater(self._reactor, seconds)
        self._pauses.add(pause)
        # stop() cancels the pause.
        with suppress(CancelledError):
            await pause
        self._pauses.discard(pause)

    async def _request(self, method: bytes, path: str) -> None:
        answer = await self._agent.request(method, f"{self._url}/{path}".encode())
        await readBody(answer)


async def send_past_day(
    stats: IStatHat, orders: IKick, now: datetime, rng: Random
) -> None:
    """
    Send the stats of the last 24 hours, as points with times.

    :param stats: the client that sends them.
    :param orders: the Metrica of the sales.
    :param now: the end of the 24 hours.
    :param rng: the source of randomness.
    :returns: when the Metrica has stored the last sale.
    """
    first = int(now.timestamp()) // 60 * 60 - _HOURS * 3600
    for hour in range(first, first + _HOURS * 3600, 3600):
        kicks: list[Deferred[Any]] = []
        for minute in range(hour, hour + 3600, 60):
            mean = RATE * 60 * activity(minute)
            visitors = max(1, round(rng.gauss(mean, sqrt(mean))))
            stats.count("page views", round(visitors * 2.5), t=minute)
            stats.count("requests 2xx", round(visitors * 2.5), t=minute)
            stats.value(
                "visitors inside",
                round(visitors / 60 * SECONDS_ON_PAGE * 1.5),
                t=minute,
            )
            stats.value("response ms", round(rng.gauss(9, 0.5), 1), t=minute)
            for _ in range(round(visitors * PURCHASE_RATE + rng.random() - 0.5)):
                genre, price, payment = random_order(rng)
                stats.tick("sales", t=minute)
                stats.value("basket EUR", price, t=minute)
                at = datetime.fromtimestamp(minute, UTC)
                kicks.append(orders.kick(price, at, genre=genre, payment=payment))
        for kick in kicks:
            await kick
