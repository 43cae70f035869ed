"""
Who comes to the bookshop: now, over HTTP; and since yesterday, as past points.
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

from txstathat.cli.demo.bookshop import BOOKS, order
from txstathat.interfaces import IKick, IStatHat

__all__ = ["Visitors", "day_before"]

#: How many visitors come in a second, at most: in the evening.
RATE = 3
#: For how many seconds one looks at a page, on average.
LINGER = 2.0
#: How often one buys.
BUYS = 0.05
_HOURS = 24


def busy(seconds: float) -> float:
    """
    How busy it is at a time: from 0.4 to 1, at 20 o'clock (UTC).
    """
    return 0.7 + 0.3 * sin((seconds / 3600 - 14) / 12 * pi)


class Visitors:
    """
    Visitors of the shop, who come and go by chance.

    :param url: where the shop is.
    :ivar inside: how many are in the shop.
    """

    def __init__(self, url: str, reactor: Any, chance: Random) -> None:
        self.inside = 0
        self._url = url
        self._chance = chance
        self._pool = HTTPConnectionPool(reactor)
        self._agent = Agent(reactor, pool=self._pool)
        self._reactor = reactor
        self._open: set[Deferred[Any]] = set()
        self._looking: set[Deferred[None]] = set()
        self._closed = False
        self._loop = LoopingCall(self._come)
        self._loop.clock = reactor

    def start(self) -> None:
        """
        Open the door.
        """
        self._open.add(self._loop.start(1 / RATE))

    async def stop(self) -> None:
        """
        Let nobody in any more, and wait until all have left.
        """
        self._closed = True
        self._loop.stop()
        for pause in [*self._looking]:
            pause.cancel()
        await gatherResults([*self._open], consumeErrors=True)
        await self._pool.closeCachedConnections()

    def _come(self) -> None:
        if self._chance.random() > busy(self._reactor.seconds()):
            return
        visit = Deferred.fromCoroutine(self._visit())
        if not visit.called:
            self._open.add(visit)
            visit.addCallback(lambda _: self._open.discard(visit))

    async def _visit(self) -> None:
        self.inside += 1
        await self._ask(b"GET", "")
        while not self._closed and self._chance.random() < 0.6:
            await self._look()
            await self._ask(b"GET", str(self._chance.randrange(len(BOOKS))))
        if self._chance.random() < BUYS:
            await self._ask(b"POST", "till")
        elif self._chance.random() < 0.02:
            await self._ask(b"GET", "lost")
        self.inside -= 1

    async def _look(self) -> None:
        seconds = self._chance.expovariate(1 / LINGER)
        pause: Deferred[None] = deferLater(self._reactor, seconds)
        self._looking.add(pause)
        # The shop closes.
        with suppress(CancelledError):
            await pause
        self._looking.discard(pause)

    async def _ask(self, method: bytes, path: str) -> None:
        answer = await self._agent.request(method, f"{self._url}/{path}".encode())
        await readBody(answer)


async def day_before(
    stats: IStatHat, orders: IKick, now: datetime, chance: Random
) -> None:
    """
    Tell of the last 24 hours, as a program does that was not connected: each point
    with its time. In the evening (UTC) more people read.

    :returns: when the last sale is registered.
    """
    first = int(now.timestamp()) // 60 * 60 - _HOURS * 3600
    for hour in range(first, first + _HOURS * 3600, 3600):
        kicks: list[Deferred[Any]] = []
        for minute in range(hour, hour + 3600, 60):
            mean = RATE * 60 * busy(minute)
            visitors = max(1, round(chance.gauss(mean, sqrt(mean))))
            stats.count("page views", round(visitors * 2.5), t=minute)
            stats.count("requests 2xx", round(visitors * 2.5), t=minute)
            stats.value(
                "visitors inside", round(visitors / 60 * LINGER * 1.5), t=minute
            )
            stats.value("response ms", round(chance.gauss(9, 0.5), 1), t=minute)
            for _ in range(round(visitors * BUYS + chance.random() - 0.5)):
                genre, price, payment = order(chance)
                stats.tick("sales", t=minute)
                stats.value("basket EUR", price, t=minute)
                at = datetime.fromtimestamp(minute, UTC)
                kicks.append(orders.kick(price, at, genre=genre, payment=payment))
        for kick in kicks:
            await kick
