"""
The HTTP server of the collector, with a limit on its connections.
"""

from __future__ import annotations

import os
import resource
from collections import OrderedDict
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import Site

from txstathat.collector.metrics import CollectorMetrics
from txstathat.collector.web.bodies import BodyBudget
from txstathat.collector.web.channel import CollectorChannel
from txstathat.collector.web.request import CappedRequest
from txstathat.collector.web.resources import address_of
from txstathat.printable import printable

__all__ = [
    "CLOSE_SECONDS",
    "MAX_CONNECTIONS",
    "CollectorSite",
]

#: For how many seconds the collector still answers requests when it stops.
CLOSE_SECONDS = 3.0
#: The largest number of open connections, or fewer if the process cannot open that many
#: files. One more closes the one that has made no progress for the longest time.
MAX_CONNECTIONS = 4096

# The number of files that are left for other purposes.
_OTHER_FILES = 128
# The limit on connections is never smaller, however few files the process can open.
_FEWEST_CONNECTIONS = 32


class CollectorSite(Site):
    """
    The server factory of a collector.

    :param root: the root resource, such as an
        :class:`~txstathat.collector.ingest.resource.IngestResource`.
    :param reactor: schedules the time limits; by default the global reactor.
    :param max_connections: the largest number of open connections.
    :param access_log: whether requests are logged, without the secrets in them.
    :param metrics: counts connections.
    :param proxies: how many reverse proxies in front are trusted to name the client in
        ``X-Forwarded-For``.
    :param stathat_statuses: whether refused points have HTTP status 200, and their
        status only in the JSON, as StatHat answered.
    :param public_url: the URL at which browsers reach the root, without a slash at its
        end; empty if it is what they send as the host.
    :ivar base_path: its path, such as ``'/stats'``; empty at the root of its host.
    :ivar max_connections: the same, or less if the process cannot open that many files.
    :ivar bodies: the memory for the bodies of requests.
    """

    protocol = CollectorChannel  # type: ignore[assignment]
    displayTracebacks = False
    _log = Logger()

    def __init__(
        self,
        root: Resource,
        reactor: IReactorTime | None = None,
        *,
        max_connections: int = MAX_CONNECTIONS,
        access_log: bool = False,
        metrics: CollectorMetrics | None = None,
        proxies: int = 0,
        stathat_statuses: bool = False,
        public_url: str = "",
    ) -> None:
        # The channel has its own time limits.
        super().__init__(
            root, requestFactory=CappedRequest, timeout=None, reactor=reactor
        )
        self.max_connections = min(max_connections, _free_descriptors())
        self._access_log = access_log
        self.proxies = proxies
        self.stathat_statuses = stathat_statuses
        self.public_url = public_url
        self.base_path = urlsplit(public_url).path
        self._metrics = metrics or CollectorMetrics()
        self.bodies = BodyBudget(metrics=self._metrics)
        # The open connections, in the order of their last progress: a complete request,
        # a complete answer, or an emptied buffer.
        self._channels: OrderedDict[CollectorChannel, None] = OrderedDict()
        self._all_closed: Deferred[None] | None = None

    def takes_body(self, uri: bytes) -> bool:
        """
        Return whether the resource at a path accepts a body. A resource that does not
        has the attribute ``takes_body = False``.

        :param uri: the path, with or without a query.
        """
        return bool(getattr(self._resource_at(uri), "takes_body", True))

    def shows_key(self, uri: bytes, head: bytes) -> bool:
        """
        Return whether a valid key is in the beginning of a body. A resource that can
        say so has the method ``shows_key(head)``.

        :param uri: the path, with or without a query.
        :param head: the beginning of the body.
        """
        shows_key = getattr(self._resource_at(uri), "shows_key", None)
        return shows_key is not None and shows_key(head)

    def _resource_at(self, uri: bytes) -> Any:
        first = unquote_to_bytes(uri.partition(b"?")[0].lstrip(b"/").partition(b"/")[0])
        return self.resource.children.get(first, self.resource)

    def acceptableProtocols(self) -> list[bytes]:
        """
        Return the protocols for TLS clients. Twisted would offer HTTP/2 too, where it
        can, but without the limits of this channel.
        """
        return [b"http/1.1"]

    @property
    def closing(self) -> bool:
        """
        Whether :meth:`close` was called.
        """
        return self._all_closed is not None

    def close(self) -> Deferred[None]:
        """
        Close all connections: idle ones at once, others after their current request,
        and all of them after :data:`CLOSE_SECONDS`.

        :returns: fires with ``None`` when all are closed.
        """
        closed = self._all_closed = Deferred()
        for channel in list(self._channels):
            channel.close_soon()
        if not self._channels:
            closed.callback(None)
            return closed
        late = self.reactor.callLater(CLOSE_SECONDS, self._abort_all)
        return closed.addCallback(lambda _: late.cancel() if late.active() else None)

    def _abort_all(self) -> None:
        for channel in list(self._channels):
            channel.transport.abortConnection()  # type: ignore[union-attr]

    def opened(self, channel: CollectorChannel) -> None:
        """
        Add a new connection, and close another one if there are too many.
        """
        self._metrics.connections += 1
        if len(self._channels) >= self.max_connections:
            self._metrics.cut += 1
            slowest, _ = self._channels.popitem(last=False)
            slowest.transport.abortConnection()  # type: ignore[union-attr]
        self._channels[channel] = None

    def active(self, channel: CollectorChannel) -> None:
        """
        Note that a connection has made progress.
        """
        if channel in self._channels:
            self._channels.move_to_end(channel)

    def closed(self, channel: CollectorChannel) -> None:
        """
        Remove a connection that is closed.
        """
        self._metrics.connections -= 1
        self._channels.pop(channel, None)
        closed = self._all_closed
        if closed is not None and not closed.called and not self._channels:
            closed.callback(None)

    def log(self, request: Any) -> None:
        """
        Log a request, if there is an access log. Of the path, only the part that cannot
        hold a secret is logged.
        """
        if self._access_log:
            self._log.info(
                "{address} {method} {path} {status} {bytes}",
                address=address_of(request),
                method=printable(request.method.decode("ascii", "replace")),
                path=self._loggable(request.path),
                status=request.code,
                bytes=request.sentLength,
            )

    def _loggable(self, path: bytes) -> str:
        # A path can have a token in it: /x/TOKEN/data/..., or any other by mistake.
        first = path.split(b"/")[1:2]
        known = first and first[0] in self.resource.listNames()
        return f"/{first[0].decode('ascii')}" if known else "/…"


def _free_descriptors() -> int:
    """
    Return how many more files the process can open, less some for other purposes.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    try:
        used = len(os.listdir("/dev/fd"))
    except OSError:  # a system without it
        used = 0
    return max(_FEWEST_CONNECTIONS, limit - used - _OTHER_FILES)
