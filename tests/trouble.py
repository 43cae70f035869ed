"""
A server that misbehaves by a script.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from tests.support import reactor

#: One step of a script: it gets the connection and the function that goes on.
Step = Callable[["_Connection", Callable[[], None]], None]


def send(data: bytes) -> Step:
    """Write bytes."""

    def step(connection: _Connection, go_on: Callable[[], None]) -> None:
        connection.transport.write(data)
        go_on()

    return step


def reply(
    status: int = 200,
    body: bytes = b'{"status": 200, "msg": "ok"}',
    headers: bytes = b"",
) -> Step:
    """Write a whole reply."""
    return send(
        b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%b\r\n%b"
        % (status, len(body), headers, body)
    )


def drip(data: bytes, interval: float) -> Step:
    """Write one byte at a time."""

    def step(connection: _Connection, go_on: Callable[[], None]) -> None:
        def one(position: int) -> None:
            if position == len(data):
                go_on()
                return
            connection.transport.write(data[position : position + 1])
            connection.later(interval, lambda: one(position + 1))

        one(0)

    return step


def flood(data: bytes) -> Step:
    """Write the same bytes for as long as the other side takes them."""

    def step(connection: _Connection, go_on: Callable[[], None]) -> None:
        connection.flood(data)

    return step


def stall(connection: _Connection, go_on: Callable[[], None]) -> None:
    """Do nothing for ever."""


def close(connection: _Connection, go_on: Callable[[], None]) -> None:
    """Close the connection politely."""
    connection.transport.loseConnection()


def abort(connection: _Connection, go_on: Callable[[], None]) -> None:
    """Cut the connection."""
    connection.transport.abortConnection()


class _Connection(Protocol):
    transport: Any
    _timer: Any = None
    _flooding = b""

    def __init__(self, server: TroubleServer) -> None:
        self._server = server
        self._buffer = b""

    def connectionMade(self) -> None:
        self._server.open.add(self)
        if self._server.at_once:
            self._run(list(self._server.script))

    def dataReceived(self, data: bytes) -> None:
        self._server.received += data
        self._buffer += data
        head, blank, body = self._buffer.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        if blank and len(body) >= (int(length[1]) if length else 0):
            self._buffer = b""
            self._server.requests += 1
            if not self._server.at_once:
                self._run(list(self._server.script))

    def _run(self, script: list[Step]) -> None:
        if script:
            script[0](self, lambda: self._run(script[1:]))

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self._timer = reactor.callLater(seconds, call)

    def flood(self, data: bytes) -> None:
        self._flooding = data
        self.transport.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self._paused = False
        while not self._paused:
            self.transport.write(self._flooding)

    def pauseProducing(self) -> None:
        self._paused = True

    def stopProducing(self) -> None:
        self._paused = True

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._server.open.discard(self)
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


class TroubleServer:
    """
    A server on loopback that answers every request by a script.

    :ivar script: the steps that follow a request (a connection, with ``at_once``).
    :ivar received: every byte that arrived, decrypted.
    :ivar requests: how many whole requests arrived.
    :ivar open: the connections that are open.
    :ivar port: the TCP port.
    :ivar url: its URL, with the host ``localhost``.
    """

    def __init__(self, tls: Any = None, interface: str = "127.0.0.1") -> None:
        self.script: list[Step] = [reply()]
        self.at_once = False
        self.received = b""
        self.requests = 0
        self.open: set[_Connection] = set()
        factory = Factory.forProtocol(lambda: _Connection(self))
        listen = {"interface": interface}
        if tls is None:
            self._port = reactor.listenTCP(0, factory, **listen)
        else:
            self._port = reactor.listenSSL(0, factory, tls, **listen)
        scheme = "http" if tls is None else "https"
        self.port = self._port.getHost().port
        self.url = f"{scheme}://localhost:{self.port}"

    async def stop(self) -> None:
        """
        Stop listening and cut what is open.
        """
        for connection in list(self.open):
            connection.transport.abortConnection()
        await self._port.stopListening()
