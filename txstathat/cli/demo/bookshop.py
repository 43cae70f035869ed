"""
The sample program: a bookshop's site, which counts as any Twisted program may.
"""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from txstathat.cli.demo.page import AsyncPage
from txstathat.instruments import timed
from txstathat.interfaces import IKick, IStatHat

__all__ = ["BOOKS", "PAYMENTS", "Bookshop", "PaymentRefused", "Till", "order"]

#: The genre and the price of each book.
BOOKS = (
    ("novels", 14.5),
    ("novels", 22.0),
    ("crime", 11.9),
    ("crime", 9.5),
    ("poetry", 18.0),
    ("cooking", 32.5),
    ("travel", 24.9),
    ("children", 12.0),
)
#: How one pays.
PAYMENTS = ("card", "invoice", "voucher")
_WEIGHTS = (7, 2, 1)


def order(chance: Random) -> tuple[str, float, str]:
    """
    What somebody happens to buy.

    :returns: the genre, the price and the payment.
    """
    genre, price = chance.choice(BOOKS)
    return genre, price, chance.choices(PAYMENTS, _WEIGHTS)[0]


_log = Logger("bookshop")


class PaymentRefused(Exception):
    """Now and then a bank says no."""


class Page(AsyncPage):
    """
    A page that takes a moment to make, as if a database were asked.

    :param seconds: how long, on average.
    """

    isLeaf = True

    def __init__(self, shop: Bookshop, seconds: float) -> None:
        super().__init__()
        self.shop = shop
        self._seconds = seconds

    async def made(self, request: Request) -> bytes:
        """
        See :meth:`.AsyncPage.made`.
        """
        shop = self.shop
        request.setHeader("Content-Type", "text/plain; charset=utf-8")
        await deferLater(shop.reactor, shop.chance.expovariate(1 / self._seconds))
        shop.stats.tick("page views")
        return await self.body()

    async def body(self) -> bytes:
        """
        What is on the page.
        """
        return b"Books!\n"


class Shelves(Page):
    """The front page."""


class Book(Page):
    """A book."""


class Till(Page):
    """Where one buys: the line that counts a sale."""

    async def body(self) -> bytes:
        """
        Sell a book.
        """
        shop = self.shop
        genre, price, payment = order(shop.chance)
        await shop.pay()
        shop.stats.tick("sales")
        shop.stats.value("basket EUR", price)
        await shop.orders.kick(price, genre=genre, payment=payment)
        return b"Thank you!\n"


class Bookshop(Resource):
    """
    The site.

    :param stats: what it counts with.
    :param orders: what it registers sales with, by genre and payment.
    :param reactor: what it waits with.
    :param chance: what is up to chance.
    """

    def __init__(
        self, stats: IStatHat, orders: IKick, reactor: Any, chance: Random
    ) -> None:
        super().__init__()
        self.stats = stats
        self.orders = orders
        self.reactor = reactor
        self.chance = chance
        self.pay = timed(stats, "payment ms", buckets=(20, 50))(self._ask_the_bank)
        self.putChild(b"", Shelves(self, 0.005))
        self.putChild(b"till", Till(self, 0.002))

    def getChild(self, path: bytes, request: Request) -> IResource:
        """
        A book, by its number; anything else there is not.
        """
        if path.isdigit() and int(path) < len(BOOKS):
            return Book(self, 0.01)
        found: IResource = super().getChild(path, request)
        return found

    async def _ask_the_bank(self) -> None:
        await deferLater(self.reactor, self.chance.expovariate(1 / 0.025))
        if self.chance.random() < 0.06:
            raise PaymentRefused("the bank says no")
        _log.info("a book is sold")
