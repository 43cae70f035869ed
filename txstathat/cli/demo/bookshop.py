"""
The sample program: a bookshop's website that sends stats like any Twisted program.
"""

from __future__ import annotations

from random import Random

from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from txstathat.cli.reactor import ICommandReactor
from txstathat.instruments import timed
from txstathat.interfaces import IKick, IStatHat
from txstathat.web import CoroutineResource

__all__ = [
    "BOOKS",
    "PAYMENTS",
    "Bookshop",
    "PaymentRefused",
    "CheckoutPage",
    "random_order",
]

_log = Logger("bookshop")

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
#: The ways to pay, and how often each is used.
PAYMENTS = ("card", "invoice", "voucher")
_WEIGHTS = (7, 2, 1)


def random_order(rng: Random) -> tuple[str, float, str]:
    """
    A random order.

    :param rng: the source of randomness.
    :returns: the genre, the price in EUR, and the payment.
    """
    genre, price = rng.choice(BOOKS)
    return genre, price, rng.choices(PAYMENTS, _WEIGHTS)[0]


class PaymentRefused(Exception):
    """The bank refused a payment."""


class ShopPage(CoroutineResource):
    """
    A page that takes a moment to make, as if it queried a database.

    :param shop: the shop.
    :param seconds: the average delay.
    """

    isLeaf = True

    def __init__(self, shop: Bookshop, seconds: float) -> None:
        super().__init__()
        self.shop = shop
        self._seconds = seconds

    async def respond(self, request: Request) -> bytes:
        """
        Wait a moment, and return the page.
        """
        shop = self.shop
        request.setHeader("Content-Type", "text/plain; charset=utf-8")
        await deferLater(shop.reactor, shop.rng.expovariate(1 / self._seconds))
        shop.stats.tick("page views")
        return await self.body()

    async def body(self) -> bytes:
        """
        The page's text.
        """
        return b"Books!\n"


class FrontPage(ShopPage):
    """The front page."""


class BookPage(ShopPage):
    """A book."""


class CheckoutPage(ShopPage):
    """The page that sells a book, and counts the sale."""

    async def body(self) -> bytes:
        """
        Sell a book.
        """
        shop = self.shop
        genre, price, payment = random_order(shop.rng)
        await shop.pay()
        shop.stats.tick("sales")
        shop.stats.value("basket EUR", price)
        await shop.orders.kick(price, genre=genre, payment=payment)
        return b"Thank you!\n"


class Bookshop(Resource):
    """
    The shop's website.

    :param stats: the client that it sends stats with.
    :param orders: the Metrica of its sales, with the axes genre and payment.
    :param reactor: for delays.
    :param rng: the source of randomness.
    """

    def __init__(
        self, stats: IStatHat, orders: IKick, reactor: ICommandReactor, rng: Random
    ) -> None:
        super().__init__()
        self.stats = stats
        self.orders = orders
        self.reactor = reactor
        self.rng = rng
        self.pay = timed(stats, "payment ms", buckets=(20, 50))(self._charge)
        self.putChild(b"", FrontPage(self, 0.005))
        self.putChild(b"till", CheckoutPage(self, 0.002))

    def getChild(self, path: bytes, request: Request) -> IResource:
        """
        The page of a book, by its number; else a child, or Twisted's 404.
        """
        if path.isdigit() and int(path) < len(BOOKS):
            return BookPage(self, 0.01)
        found: IResource = super().getChild(path, request)
        return found

    async def _charge(self) -> None:
        await deferLater(self.reactor, self.rng.expovariate(1 / 0.025))
        if self.rng.random() < 0.06:
            raise PaymentRefused("the bank refused the payment")
        _log.info("sold a book")
