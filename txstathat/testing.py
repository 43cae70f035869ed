"""
Fakes for the test suites of programs that count.

They need no network and no running reactor, so
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
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from twisted.web.resource import Resource
from twisted.web.server import Request
from zope.interface import implementer

from txstathat.client.bound import Stat
from txstathat.client.wrappable import Wrappable
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.stats import Total
from txstathat.collector.auth.throttle import KeyThrottle
from txstathat.collector.ingest.parse import PostedBatch
from txstathat.collector.ingest.resource import IngestResource
from txstathat.http.result import fired
from txstathat.interfaces import HTTPAgent, IStatHatProvider
from txstathat.points.amounts import Amount, Time
from txstathat.points.model import (
    Count,
    Point,
    Value,
    as_point,
    as_point_list,
    expand_point,
)
from txstathat.points.names import shown
from txstathat.stores import open_store

__all__ = ["FakeStatHat", "MemoryStatHat", "ReceivedRequest"]


@implementer(IStatHatProvider)
class MemoryStatHat(Wrappable):
    """
    Records what a program counts and measures.

    It checks points like the real client. By default it is strict: a bad point makes
    the Deferred fail, and if the program does not handle that, trial fails the test.

    :param ignore_errors: whether bad points are swallowed, as by a
        :class:`~txstathat.client.txStatHat`.
    :ivar points: all points, in order; a name ``PREFIX~A,B`` makes two points.
    """

    def __init__(self, ignore_errors: bool = False) -> None:
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
        The measurements of each value, in order.
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
        return self._record([Count(stat, count, t)], ignore_errors)

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
        return self._record([Value(stat, value, t)], ignore_errors)

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
        return self._record([Count(stat, 1, t)], ignore_errors)

    def post(
        self, points: Iterable[Point], *, ignore_errors: bool | None = None
    ) -> Deferred[bool]:
        """
        See :meth:`txstathat.client.txStatHat.post`; the Deferred has fired.
        """
        return self._record(points, ignore_errors)

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

    def _record(
        self, points: Iterable[Point], ignore_errors: bool | None
    ) -> Deferred[bool]:
        try:
            listed = as_point_list(points)
            self.points += [each for point in listed for each in expand_point(point)]
        except Exception:
            swallow = self._ignore_errors if ignore_errors is None else ignore_errors
            return fired(False) if swallow else fired(Failure())
        return fired(True)


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


@implementer(IAgent)
class FakeStatHat:
    """
    A StatHat in memory: the collector's own code behind an agent.

    ``txStatHat('key', agent=fake)`` talks to it through the real client.

    :param allow: called with the API (``'ez'`` or ``'classic'``) and the key of a
        request; returns whether the key is valid. By default all keys are.
    :ivar resource: a resource to serve, for tests over real sockets:
        ``reactor.listenTCP(0, Site(fake.resource))``.
    :ivar points: the points that were accepted, in order.
    :ivar requests: all requests to the agent, in order.
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
        self.resource = IngestResource(self._accept, _AnyStat(allow), throttle)
        self._real = RequestTraversalAgent(self.resource)
        self._troubles: deque[_Trouble] = deque()
        self.points: list[Point] = []
        self.requests: list[ReceivedRequest] = []

    def __repr__(self) -> str:
        return (
            f"<FakeStatHat with {len(self.points)} points "
            f"of {len(self.requests)} requests>"
        )

    @property
    def agent(self) -> HTTPAgent:
        """
        The agent to pass to a client: this object.
        """
        return self

    @property
    def totals(self) -> dict[str, int | float]:
        """
        The sum of the accepted points of each stat: of a counter what it counted, of a
        value the sum of its measurements.
        """
        return {name: total.sum for name, total in self.summaries.items()}

    @property
    def summaries(self) -> dict[str, Total]:
        """
        Of each stat the kind, the number of accepted points and their sum.
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
        Give the next requests this answer; their points are not accepted.

        :param status: the HTTP status.
        :param body: the whole body.
        :param headers: the headers of the answer.
        :param times: how many requests. Troubles happen in the order of their script.
        """
        content = body.encode("utf-8") if isinstance(body, str) else body
        canned = RequestTraversalAgent(_Canned(status, content, headers or {}))
        self._script(f"answer({status})", canned, times)

    def fail(self, exception: Exception | type[Exception], *, times: int = 1) -> None:
        """
        Let the next requests fail, like a network does.

        :param exception: the exception, or its class, such as
            :class:`twisted.internet.error.ConnectionRefusedError`.
        :param times: how many requests.
        :raises TypeError: if it is neither.
        """
        is_class = isinstance(exception, type) and issubclass(exception, Exception)
        if not (is_class or isinstance(exception, Exception)):
            raise TypeError(
                "pass an exception or its class, such as ConnectionRefusedError, "
                f"not {shown(exception)}"
            )

        def broken() -> Deferred[IResponse]:
            return fail(exception() if isinstance(exception, type) else exception)

        name = getattr(exception, "__name__", type(exception).__name__)
        self._script(f"fail({name})", _Broken(broken), times)

    def hang(self, *, times: int = 1) -> None:
        """
        Never answer the next requests. Pass the client a
        :class:`~twisted.internet.task.Clock` as ``reactor`` to run into its time limit.

        :param times: how many requests.
        """
        self._script("hang()", _Broken(Deferred), times)

    def verify(self) -> None:
        """
        Check that all scripted troubles have happened: call it at the end of a test.

        :raises AssertionError: if one has not; it names them.
        """
        left = [trouble.name for trouble in self._troubles]
        if left:
            raise AssertionError(
                f"scripted but not used, since too few requests came: {', '.join(left)}"
            )

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """
        See :meth:`twisted.web.iweb.IAgent.request`.
        """
        body = _Consumer()
        if bodyProducer is not None:
            bodyProducer.startProducing(body)
        path = "/" + uri.decode("ascii").split("?")[0].split("/", 3)[-1]
        copied = (headers or Headers()).copy()
        self.requests.append(
            ReceivedRequest(method.decode("ascii"), path, copied, body.content)
        )
        agent = self._troubles.popleft().agent if self._troubles else self._real
        replied: Deferred[IResponse] = agent.request(method, uri, headers, bodyProducer)
        return replied

    def _accept(self, batch: PostedBatch) -> Deferred[bool]:
        def accepted(new: bool) -> bool:
            if new:
                self.points += map(as_point, batch.points)
            return new

        return self._archive.add(batch).addCallback(accepted)

    def _script(self, name: str, agent: HTTPAgent, times: int) -> None:
        self._troubles.extend([_Trouble(name, agent)] * times)


@dataclass(frozen=True, slots=True)
class _Trouble:
    """
    What happens to one request.

    :ivar name: the call that scripted it.
    :ivar agent: handles the request.
    """

    name: str
    agent: HTTPAgent


class _AnyStat:
    """
    A checker of keys for which each text is the key of the stat with that name.
    """

    def __init__(self, allow: Callable[[str, str], bool]) -> None:
        self.allow = allow

    def stat(self, key: str) -> str:
        return key

    async def refresh(self) -> None:
        pass


def _now(fired: Deferred[Any]) -> Any:
    """
    The result of a Deferred that has fired: a store in memory never waits.
    """
    results: list[Any] = []
    fired.addCallback(results.append)
    (result,) = results
    return result


class _Consumer:
    """
    Receives a body that is written at once, like those of the client.
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
