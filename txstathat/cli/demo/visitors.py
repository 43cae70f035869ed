"""
Who comes to the bookshop: now, over HTTP; and since yesterday, as past points.
"""

from __future__ import annotations

from datetime import UTC, datetime
from math import pi, sin, sqrt
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall
from twisted.web.client import Agent, HTTPConnectionPool, readBody

from txstathat.cli.demo.bookshop import BOOKS, order
from txstathat.interfaces import IKick, IStatHat

__all__ = ["Visitors", "day_before"]

#: How many visitors come in a second, on average.
RATE = 5

_HOURS = 24


class Visitors:
    """
    Visitors of the shop, who come and go by chance.

    :param url: where the shop is.
    :ivar inside: how many are in the shop.
    :ivar requests: how many requests were answered.
    """

    def __init__(self, url: str, reactor: Any, chance: Random) -> None:
        self.inside = 0
        self.requests = 0
        self._url = url
        self._chance = chance
        self._pool = HTTPConnectionPool(reactor)
        self._agent = Agent(reactor, pool=self._pool)
        self._open: set[Deferred[Any]] = set()
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
        self._loop.stop()
        await gatherResults([*self._open], consumeErrors=True)
        await self._pool.closeCachedConnections()

    def _come(self) -> None:
        visit = Deferred.fromCoroutine(self._visit())
        if not visit.called:
            self._open.add(visit)
            visit.addCallback(lambda _: self._open.discard(visit))

    async def _visit(self) -> None:
        self.inside += 1
        await self._ask(b"GET", "")
        while self._chance.random() < 0.6:
            await self._ask(b"GET", str(self._chance.randrange(len(BOOKS))))
        if self._chance.random() < 0.3:
            await self._ask(b"POST", "till")
        elif self._chance.random() < 0.05:
            await self._ask(b"GET", "lost")
        self.inside -= 1

    async def _ask(self, method: bytes, path: str) -> None:
        answer = await self._agent.request(method, f"{self._url}/{path}".encode())
        await readBody(answer)
        self.requests += 1


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
            hours = minute / 3600 % 24
            busy = 40 + 30 * sin((hours - 14) / 12 * pi)
            visitors = max(1, round(chance.gauss(busy, sqrt(busy))))
            stats.count("page views", round(visitors * 2.5), t=minute)
            stats.count("requests 2xx", round(visitors * 2.7), t=minute)
            stats.value("visitors inside", visitors // 20, t=minute)
            stats.value("response ms", chance.gauss(8 + visitors / 20, 1), t=minute)
            for _ in range(round(visitors / 40 + chance.random())):
                genre, price, payment = order(chance)
                stats.tick("sales", t=minute)
                stats.value("basket EUR", price, t=minute)
                at = datetime.fromtimestamp(minute, UTC)
                kicks.append(orders.kick(price, at, genre=genre, payment=payment))
        await gatherResults(kicks, consumeErrors=True)
