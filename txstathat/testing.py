"""
Fakes for the test suites of programs that count.

Neither needs a network or a running reactor, so that
:meth:`~twisted.trial.unittest.SynchronousTestCase.successResultOf` works at once.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import time
from typing import Any

from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from twisted.web.resource import Resource
from twisted.web.server import Request
from zope.interface import implementer

from txstathat.client.bound import Stat
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.stats import Total
from txstathat.collector.auth.throttle import KeyThrottle
from txstathat.collector.ingest.parse import PostedBatch
from txstathat.collector.ingest.resource import IngestResource
from txstathat.interfaces import IStatHat
from txstathat.points.model import (
    Amount,
    Count,
    Point,
    Time,
    Value,
    as_point,
    as_point_list,
    expand_point,
)
from txstathat.stores import open_store

__all__ = ["FakeStatHat", "MemoryStatHat", "ReceivedRequest"]


@implementer(IStatHat)
class MemoryStatHat:
    """
    Remembers what was counted and measured.

    Points are checked as the real client checks them.

    :param ignore_errors: whether bad points are swallowed, as for
        :class:`~txstathat.client.txStatHat`.
    :ivar points: every point, in order; one of ``PREFIX~A,B`` is two.
    """

    def __init__(self, ignore_errors: bool = True) -> None:
        self._ignore_errors = ignore_errors
        self.points: list[Point] = []

    def __repr__(self) -> str:
        return f"<MemoryStatHat with {len(self.points)} points>"

    @property
    def counts(self) -> dict[str, Amount]:
        """
        The sum of each counter.
        """
        counts: dict[str, Amount] = {}
        for point in self.points:
            if isinstance(point, Count):
                counts[point.stat] = _add(counts.get(point.stat, 0), point.count)
        return counts

    @property
    def values(self) -> dict[str, list[Amount]]:
        """
        What was measured of each value, in order.
        """
        values: dict[str, list[Amount]] = {}
        for point in self.points:
            if isinstance(point, Value):
                values.setdefault(point.stat, []).append(point.value)
        return values

    def count(
        self,
        stat: str,
        count: Amount = 1,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        See :meth:`~txstathat.interfaces.IStatHat.count`; the Deferred has fired.
        """
        return self._remember([Count(stat, count, t)], ignore_errors)

    def value(
        self,
        stat: str,
        value: Amount,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        See :meth:`~txstathat.interfaces.IStatHat.value`; the Deferred has fired.
        """
        return self._remember([Value(stat, value, t)], ignore_errors)

    def tick(
        self,
        stat: str,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        See :meth:`~txstathat.interfaces.IStatHat.tick`; the Deferred has fired.
        """
        return self._remember([Count(stat, 1, t)], ignore_errors)

    def post(
        self, points: Iterable[Point], *, ignore_errors: bool | None = None
    ) -> Deferred[bool]:
        """
        See :meth:`txstathat.client.txStatHat.post`; the Deferred has fired.
        """
        return self._remember(points, ignore_errors)

    def stat(self, stat: str) -> Stat:
        """
        See :meth:`txstathat.client.txStatHat.stat`.
        """
        return Stat(self, stat)

    def close(self) -> Deferred[None]:
        """
        Do nothing.

        :returns: a new Deferred that has fired with ``None``.
        """
        return succeed(None)

    def _remember(
        self, points: Iterable[Point], ignore_errors: bool | None
    ) -> Deferred[bool]:
        try:
            listed = as_point_list(points)
            self.points += [each for point in listed for each in expand_point(point)]
        except Exception:
            swallow = self._ignore_errors if ignore_errors is None else ignore_errors
            return succeed(False) if swallow else fail()
        return succeed(True)


def _add(one: Amount, other: Amount) -> Amount:
    try:
        return one + other  # type: ignore[operator]
    except TypeError:
        # A Decimal and a float.
        return float(one) + float(other)


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """
    A request that a :class:`FakeStatHat` received.

    :ivar method: such as ``'POST'``.
    :ivar path: such as ``'/ez'``.
    :ivar headers: the headers.
    :ivar body: the body, in which the key is.
    """

    method: str
    path: str
    headers: Headers
    body: bytes = field(repr=False)


class FakeStatHat:
    """
    A StatHat in memory: the collector's own front door behind an agent.

    ``txStatHat('key', agent=fake.agent)`` talks to it through the real transport.

    :param allow: says of an API (``'ez'`` or ``'classic'``) and a key whether its
        points are taken; by default all are.
    :ivar agent: what to pass to a client as ``agent``.
    :ivar resource: what to serve, for a program that is tested over a real socket:
        ``reactor.listenTCP(0, Site(fake.resource))``.
    :ivar points: the points that were accepted, in order.
    :ivar requests: every request that arrived, in order.
    """

    def __init__(
        self, allow: Callable[[str, str], bool] = lambda api, key: True
    ) -> None:
        clock = Clock()
        clock.advance(time())
        store = _now(open_store("memory:", clock=clock))
        weakref.finalize(self, store.close)
        self._archive = Archive(store)
        throttle = KeyThrottle(clock, max_wrong=float("inf"))
        self.resource = IngestResource(self._keep, _AnyStat(allow), throttle)
        self._real = RequestTraversalAgent(self.resource)
        self._troubles: deque[IAgent] = deque()
        self.points: list[Point] = []
        self.requests: list[ReceivedRequest] = []
        self.agent: IAgent = _FakeAgent(self)

    def __repr__(self) -> str:
        return (
            f"<FakeStatHat with {len(self.points)} points "
            f"of {len(self.requests)} requests>"
        )

    @property
    def totals(self) -> dict[str, Total]:
        """
        What was accepted, summed by stat.
        """
        totals: dict[str, Total] = _now(Deferred.fromCoroutine(self._archive.totals()))
        return totals

    def answer(
        self,
        status: int,
        body: bytes | str = b"",
        *,
        headers: dict[str, str] | None = None,
        times: int = 1,
    ) -> None:
        """
        Answer the next requests so; their points are not taken.

        :param status: the HTTP status.
        :param body: the whole body.
        :param headers: the headers of the answer.
        :param times: how many requests; what was scripted before comes first.
        """
        content = body.encode("utf-8") if isinstance(body, str) else body
        canned = RequestTraversalAgent(_Canned(status, content, headers or {}))
        self._script(canned, times)

    def fail(self, exception: Exception, *, times: int = 1) -> None:
        """
        Let the next requests fail, as a network does.

        :param exception: what they fail with, such as
            :class:`twisted.internet.error.ConnectionRefusedError`.
        :param times: how many requests.
        """
        self._script(_Broken(lambda: fail(exception)), times)

    def hang(self, *, times: int = 1) -> None:
        """
        Never answer the next requests. Pass the client a
        :class:`~twisted.internet.task.Clock` as ``reactor`` to run into its time limit.

        :param times: how many requests.
        """
        self._script(_Broken(Deferred), times)

    def _keep(self, batch: PostedBatch) -> Deferred[bool]:
        def kept(new: bool) -> bool:
            if new:
                self.points += map(as_point, batch.points)
            return new

        return self._archive.add(batch).addCallback(kept)

    def _script(self, agent: IAgent, times: int) -> None:
        self._troubles.extend([agent] * times)

    def _next(self) -> IAgent:
        return self._troubles.popleft() if self._troubles else self._real


class _AnyStat:
    """
    Says of any text that it is the key of the stat of that name.
    """

    def __init__(self, allow: Callable[[str, str], bool]) -> None:
        self.allow = allow

    def stat(self, key: str) -> str:
        return key

    async def refresh(self) -> None:
        pass


def _now(fired: Deferred[Any]) -> Any:
    """
    What a Deferred has fired with: a store in memory waits for nothing.
    """
    results: list[Any] = []
    fired.addCallback(results.append)
    (result,) = results
    return result


@implementer(IAgent)
class _FakeAgent:
    def __init__(self, fake: FakeStatHat) -> None:
        self._fake = fake

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        body = _Consumer()
        if bodyProducer is not None:
            bodyProducer.startProducing(body)
        path = "/" + uri.decode("ascii").split("?")[0].split("/", 3)[-1]
        self._fake.requests.append(
            ReceivedRequest(
                method.decode("ascii"),
                path,
                (headers or Headers()).copy(),
                body.content,
            )
        )
        replied: Deferred[IResponse] = self._fake._next().request(
            method, uri, headers, bodyProducer
        )
        return replied


class _Consumer:
    """
    Takes a body that is written at once, as the client's are.
    """

    content = b""

    def write(self, data: bytes) -> None:
        self.content += data


@implementer(IAgent)
class _Broken:
    def __init__(self, end: Callable[[], Deferred[IResponse]]) -> None:
        self._end = end

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        return self._end()


class _Canned(Resource):
    isLeaf = True

    def __init__(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        super().__init__()
        self._status = status
        self._content = content
        self._headers = headers

    def render(self, request: Request) -> bytes:
        request.setResponseCode(self._status)
        for name, value in self._headers.items():
            request.setHeader(name, value)
        return self._content
