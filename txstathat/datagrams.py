"""
The protocol that receives statsd's datagrams, whoever takes the points.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import LoopingCall

from txstathat.points.model import Parts
from txstathat.points.statsd import StatsDReader

__all__ = [
    "INTERVAL",
    "MAX_DATAGRAM",
    "MAX_UNREAD",
    "READ_BUFFER",
    "SEND_AT",
    "StatsDProtocol",
]

#: The interval, in seconds, at which points are sent on.
INTERVAL = 1.0
#: The largest datagram that is received whole, in bytes, which is Twisted's default.
MAX_DATAGRAM = 8_192
#: How many datagrams are read together. No more are in memory unread.
MAX_UNREAD = 500
#: How many values are sent on before the interval has passed.
SEND_AT = 5_000
#: How many bytes the kernel is asked to hold until they are received.
READ_BUFFER = 4_194_304


class StatsDProtocol(DatagramProtocol):
    """
    Receives lines of statsd, and sends the points on at regular times.

    Senders of datagrams learn nothing of what becomes of them: :meth:`account` does.

    :param reader: reads the lines.
    :param interval: the seconds between two times.
    :param reactor: schedules them; by default the global reactor.
    :ivar datagrams: how many datagrams were received.
    """

    # The port would log each start and stop.
    noisy = False

    def __init__(
        self,
        reader: StatsDReader,
        interval: float = INTERVAL,
        reactor: IReactorTime | None = None,
    ) -> None:
        if not interval > 0:
            raise ValueError(f"interval={interval!r}: must be above 0 seconds")
        self.reader = reader
        self.datagrams = 0
        self._interval = interval
        self._reactor = reactor
        self._unread: list[bytes] = []
        self._loop: LoopingCall | None = None
        self._clock: IReactorTime
        self._receive: Callable[[int], bytes] | None = None

    def send(self, points: list[Parts]) -> None:
        """
        Send points on.

        :param points: at least one point, each without a time.
        """
        raise NotImplementedError

    def startProtocol(self) -> None:
        """
        Begin: a port does this when it listens.
        """
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = cast(IReactorTime, reactor)
        self._clock = self._reactor
        port: Any = self.transport
        handle = getattr(port, "getHandle", lambda: None)()
        if handle is not None:
            # The kernel gives what it allows, and drops what does not fit.
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, READ_BUFFER)
            if hasattr(port, "maxThroughput"):
                # The port reads one datagram each time, and the protocol those after
                # it: that takes half of the time.
                port.maxThroughput = 1
                self._receive = handle.recv
        self._loop = LoopingCall(self.flush)
        self._loop.clock = self._clock
        self._loop.start(self._interval, now=False)

    def stopProtocol(self) -> None:
        """
        Send on what was received: a port does this when it stops listening.
        """
        self._receive = None
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.stop()
            self.flush()

    def datagramReceived(self, datagram: bytes, address: Any) -> None:
        """
        Receive a datagram.

        :param datagram: one line or more.
        :param address: is not used: anybody can write any address there.
        """
        self._unread.append(datagram)
        if self._receive is not None:
            self._receive_more()
        if len(self._unread) >= MAX_UNREAD:
            self._read()
            if self.reader.pending >= SEND_AT:
                self.flush()

    def _receive_more(self) -> None:
        """
        Receive what has arrived, but no more than can be read together.
        """
        receive, unread = self._receive, self._unread
        assert receive is not None
        try:
            for _ in range(MAX_UNREAD - len(unread)):
                unread.append(receive(MAX_DATAGRAM))
        except OSError:
            pass  # nothing more has arrived

    def flush(self) -> None:
        """
        Send on what was received.
        """
        self._read()
        points = self.reader.take(self._clock.seconds())
        if points:
            self.send(points)

    def _read(self) -> None:
        unread, self._unread = self._unread, []
        self.datagrams += len(unread)
        self.reader.read(unread, self._clock.seconds())

    def kernel_drops(self) -> int:
        """
        Return how many datagrams the kernel has dropped since the port listens, because
        they came faster than they were received. On systems other than Linux, and
        without a port, it is 0.
        """
        try:
            port: Any = self.transport
            handle = port.getHandle()
            inode = str(os.fstat(handle.fileno()).st_ino)
            name = "udp6" if handle.family == socket.AF_INET6 else "udp"
            with open(f"/proc/net/{name}", encoding="ascii") as file:
                rows = [line.split() for line in file]
        except (AttributeError, OSError):
            return 0
        # The row's tenth field is the inode of the socket, the last one the drops.
        return next((int(row[-1]) for row in rows if row[9:10] == [inode]), 0)

    def account(self) -> dict[str, int]:
        """
        Return what became of the datagrams and of their lines, as numbers by the words
        for each: ``'datagrams'`` received, lines ``'accepted'``, ``'refused: set'`` and
        so on, and ``'dropped by the kernel'``.
        """
        refused = {f"refused: {why}": n for why, n in self.reader.refused.items()}
        return {
            "datagrams": self.datagrams,
            "accepted": self.reader.accepted,
            **refused,
            "dropped by the kernel": self.kernel_drops(),
        }
