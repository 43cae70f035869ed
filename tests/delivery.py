"""
What the tests of delivery share: a server in memory that can be scripted in bulk.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs

from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from twisted.web.resource import Resource
from twisted.web.server import Request
from zope.interface import implementer

from txstathat import DeliveryHealth, StatHatService, txStatHat
from txstathat.testing import FakeStatHat

#: Whether the drills run in their full form, and why they do not run at all.
FULL = os.environ.get("TXSTATHAT_DRILLS") == "full"
NO_DRILLS = (
    "TXSTATHAT_DRILLS is none" if os.environ.get("TXSTATHAT_DRILLS") == "none" else None
)


def slack(seconds: float) -> float:
    """
    How long something may take in real time that takes so long on a quiet machine.

    The full drills run on a quiet machine; the suite may run beside other work.
    """
    return seconds if FULL else 20 * seconds


#: A folder in memory, where there is one: some tests write a lot.
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None

#: What a server may do with a request: take it, be away, lose the request or the reply.
OK, AWAY, LOSE_REQUEST, LOSE_REPLY, HANG = "ok", "away", "request", "reply", "hang"


class _Answer(Resource):
    isLeaf = True

    def __init__(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        super().__init__()
        self._status, self._body, self._headers = status, body, headers

    def render(self, request: Request) -> bytes:
        request.setResponseCode(self._status)
        for name, value in self._headers.items():
            request.setHeader(name, value)
        return self._body


@implementer(IAgent)
class MemoryServer:
    """
    A StatHat in memory that consults its mood at each request.

    :ivar mood: returns one of the words above, or a status, body and headers to answer.
    :ivar times: when requests came.
    :ivar ids: their ``Idempotency-Key``.
    :ivar stats: the names of the stats in each of them.
    """

    def __init__(self, clock: Clock, honours_ids: bool = True) -> None:
        self.fake = FakeStatHat()
        self.mood: Callable[[], Any] = lambda: OK
        self.times: list[float] = []
        self.ids: list[str] = []
        self.bodies: list[bytes] = []
        self.stats: list[list[str]] = []
        self._clock = clock
        self._honours_ids = honours_ids

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        assert headers is not None
        self.times.append(self._clock.seconds())
        self.ids.append((headers.getRawHeaders("Idempotency-Key") or [""])[0])
        if not self._honours_ids:
            headers = headers.copy()
            headers.removeHeader("Idempotency-Key")
        content = _Content()
        assert bodyProducer is not None
        bodyProducer.startProducing(content)
        self.stats.append(_stats(content.data))
        mood = self.mood()
        lost = ResponseNeverReceived([Failure(ConnectionError("lost"))])
        if mood == AWAY:
            return fail(ConnectionRefusedError())
        if mood == LOSE_REQUEST:
            return fail(lost)
        if mood == HANG:
            return Deferred()
        if mood in (OK, LOSE_REPLY):
            replied = self.fake.agent.request(method, uri, headers, bodyProducer)
            self.bodies.append(self.fake.requests[-1].body)
            if mood == LOSE_REPLY:
                return replied.addCallback(lambda _: fail(lost))
            return replied
        return RequestTraversalAgent(_Answer(*mood)).request(
            method, uri, headers, bodyProducer
        )

    def forget_points(self) -> None:
        """
        Keep only sums: the server's memory is not what is measured.
        """
        self.fake.points = _Forgetful()

    @property
    def sums(self) -> dict[str, Any]:
        """
        What was accepted, summed by stat.
        """
        return {name: total.sum for name, total in self.fake.summaries.items()}


class _Content:
    """
    Takes a body that is written at once.
    """

    data = b""

    def write(self, data: bytes) -> None:
        self.data += data


def _stats(body: bytes) -> list[str]:
    if body.startswith(b"{"):
        return [point["stat"] for point in json.loads(body)["data"]]
    fields = parse_qs(body.decode("ascii"), keep_blank_values=True)
    return fields.get("stat") or fields["key"]


class _Forgetful(list[Any]):
    """
    A list to which nothing is added.
    """

    def __iadd__(self, more: Any) -> Any:
        return self


def accounted(health: DeliveryHealth) -> int:
    """
    The right side of the ledger.
    """
    return (
        health.delivered
        + health.pending
        + health.rejected
        + sum(health.dropped.values())
    )


def balanced(health: DeliveryHealth) -> bool:
    """
    Whether every recorded call is somewhere.
    """
    return health.recorded + health.recovered == accounted(health)


def make_service(
    clock: Clock, server: Any, client: Any = None, seed: int = 1, **settings: Any
) -> StatHatService:
    """
    A service in virtual time.
    """
    client = client or txStatHat("canary-key", agent=server, reactor=clock)
    return StatHatService(client, clock=clock, random=random.Random(seed), **settings)


def run(clock: Clock, seconds: float, step: float = 0.5) -> None:
    """
    Let time pass.
    """
    clock.pump([step] * round(seconds / step))


def as_number(amount: Any) -> Any:
    """
    An amount as the server adds it up.
    """
    return float(amount) if isinstance(amount, Decimal) else amount


class DeliveryTestCase(SynchronousTestCase):
    """
    A clock at a time of its own, a server, and services that are stopped in the end.
    """

    start = 1_000_000.0

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(self.start)
        self.server = MemoryServer(self.clock)
        self.services: list[StatHatService] = []
        self.addCleanup(self.stop)

    def make(self, started: bool = True, **settings: Any) -> StatHatService:
        service = make_service(self.clock, self.server, **settings)
        self.services.append(service)
        if started:
            service.startService()
        return service

    def stop(self) -> None:
        """Stop all services, and see that they leave nothing behind."""
        stopped = [service.stopService() for service in self.services]
        run(self.clock, 8)
        for done in stopped:
            self.assertIsNone(self.successResultOf(done))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        for service in self.services:
            self.assertTrue(balanced(service.health), service.health)
