"""
The stores for tests: one host class for each kind.

Servers start once for a whole test run, on private ports and in temporary folders, and
stop at its end.
"""

from __future__ import annotations

import atexit
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from tests.support import require_program
from txstathat.stores import IStore, open_store

#: A Sunday; what the tests' clocks start at.
NOW = 1_400_000_000.0


class MemoryHost:
    """Stores in memory: a new one each time."""

    #: Whether the clock of the test is also the time of the store.
    clocked = True
    #: Whether data is there after reopening the store.
    lasting = False

    def __init__(self, case: TestCase) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.case = case

    def url(self) -> str:
        """The URL of a store of this test."""
        return "memory:"

    def open(self, **options: Any) -> Deferred[IStore]:
        """Open a store, and close it at the end of the test."""

        def opened(store: IStore) -> IStore:
            self.case.addCleanup(store.close)
            return store

        return open_store(
            self.url(), reactor=reactor, clock=self.clock, **options
        ).addCallback(opened)


class SqliteHost(MemoryHost):
    """Stores in one SQLite file."""

    lasting = True

    def __init__(self, case: TestCase) -> None:
        super().__init__(case)
        self.path = case.mktemp()

    def url(self) -> str:
        """The URL of the file."""
        return f"sqlite:{self.path}"


class RedisServer:
    """
    A Redis server for tests, on loopback, in a temporary folder.

    :param options: further options of its command line.
    :param host: the address on which it listens.
    :param port: the port; by default a free one.
    """

    #: The program and its package.
    program = ("redis-server", "redis-server")

    def __init__(
        self, *options: str, host: str = "127.0.0.1", port: int | None = None
    ) -> None:
        self._program = require_program(*self.program)
        self._folder = tempfile.mkdtemp(prefix="txstathat-redis-")
        self.host = host
        self.port = port or free_port()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.remove)
        self.start()

    def start(self) -> None:
        """Start the server, or start it again, and wait until it answers."""
        with Path(self._folder, "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._program,
                    *("--port", str(self.port), "--bind", self.host),
                    *("--dir", self._folder, "--save", ""),
                    *("--repl-diskless-sync-delay", "0"),
                    *self._options,
                ],
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: self.command("PING").startswith(b"+PONG"))

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """Kill the server, like a power cut."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def remove(self) -> None:
        """Kill the server and delete its folder."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def command(self, *words: str) -> bytes:
        """Send a command over a new connection. Returns the raw reply."""
        try:
            with socket.create_connection((self.host, self.port), 5) as connection:
                connection.sendall(" ".join(words).encode() + b"\r\n")
                return connection.recv(65536)
        except ConnectionError:
            return b""


class ValkeyServer(RedisServer):
    """A Valkey server for tests."""

    program = ("valkey-server", "valkey-server")


class RedisSentinel:
    """
    A sentinel that watches one server, under the name ``main``, and decides alone.

    :param primary: the server.
    :param lines: further lines of its configuration.
    :param port: its port; by default a free one.
    """

    def __init__(
        self, primary: RedisServer, *lines: str, port: int | None = None
    ) -> None:
        program = require_program("redis-server", "redis-server")
        self._folder = tempfile.mkdtemp(prefix="txstathat-sentinel-")
        atexit.register(self.remove)
        self.port = port or free_port()
        settings = Path(self._folder, "sentinel.conf")
        # The last line about a setting counts.
        settings.write_text(
            "\n".join(
                [
                    f"port {self.port}",
                    "bind 127.0.0.1",
                    f"dir {self._folder}",
                    f"sentinel monitor main {primary.host} {primary.port} 1",
                    "sentinel down-after-milliseconds main 500",
                    "sentinel failover-timeout main 3000",
                    *lines,
                    "",
                ]
            )
        )
        with Path(self._folder, "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, str(settings), "--sentinel"], stdout=log, stderr=log
            )

    def remove(self) -> None:
        """Kill the sentinel and delete its folder."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


class RedisCluster:
    """A cluster of three Redis servers on loopback."""

    def __init__(self) -> None:
        self.servers = []
        ports = []
        for _ in range(3):
            ports.append(free_port())
            self.servers.append(
                RedisServer(
                    *("--cluster-enabled", "yes", "--cluster-port", str(ports[-1])),
                    *("--cluster-node-timeout", "5000"),
                )
            )
        first = self.servers[0]
        slots = [(0, 5460), (5461, 10922), (10923, 16383)]
        for server, port, (low, high) in zip(self.servers, ports, slots, strict=True):
            server.command("CLUSTER", "ADDSLOTSRANGE", str(low), str(high))
            if server is not first:
                first.command(
                    *("CLUSTER", "MEET", "127.0.0.1", str(server.port), str(port))
                )
        for server in self.servers:
            wait_until(lambda at=server: self._complete(at))

    def _complete(self, server: RedisServer) -> bool:
        info = server.command("CLUSTER", "INFO")
        return b"cluster_state:ok" in info and b"cluster_known_nodes:3" in info


_shared: dict[type[Any], Any] = {}


def shared(kind: type[Any]) -> Any:
    """The shared server of a kind; each test has a prefix of its own."""
    if kind not in _shared:
        _shared[kind] = kind()
    return _shared[kind]


class RedisHost(MemoryHost):
    """Stores on one Redis server, separate for each test."""

    clocked = False
    lasting = True

    def __init__(self, case: TestCase) -> None:
        super().__init__(case)
        self.prefix = uuid4().hex
        self.port = shared(RedisServer).port

    def url(self) -> str:
        """The URL of the server."""
        return f"redis://127.0.0.1:{self.port}/0?prefix={self.prefix}"


class ValkeyHost(RedisHost):
    """Stores on one Valkey server, separate for each test."""

    def __init__(self, case: TestCase) -> None:
        MemoryHost.__init__(self, case)
        self.prefix = uuid4().hex
        self.port = shared(ValkeyServer).port


class ClusterHost(RedisHost):
    """Stores on a Redis Cluster of three nodes."""

    def __init__(self, case: TestCase) -> None:
        MemoryHost.__init__(self, case)
        self.prefix = uuid4().hex
        self.port = shared(RedisCluster).servers[1].port

    def url(self) -> str:
        """The URL of one of its nodes."""
        return f"redis+cluster://127.0.0.1:{self.port}/0?prefix={self.prefix}"


#: The sockets whose names reserve ports.
_reservations: list[socket.socket] = []


def free_port() -> int:
    """A free port of this machine, which no other test process uses meanwhile."""
    # Below the ports that systems give to outgoing connections. The name of a socket
    # reserves it: other test processes skip it until this one ends.
    for port in random.SystemRandom().sample(range(12_000, 32_000), 1_000):
        reservation = socket.socket(socket.AF_UNIX)
        try:
            reservation.bind(f"\0txstathat-test-port-{port}")
            for host in ("127.0.0.1", "0.0.0.0"):
                with socket.socket() as probe:
                    probe.bind((host, port))
        except OSError:
            reservation.close()
        else:
            _reservations.append(reservation)
            return port
    raise AssertionError("1,000 ports were tried, and none is free")


def wait_until(done: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait for something outside this process, for a bounded time."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise AssertionError(f"waited for {seconds} seconds")
        time.sleep(0.02)


class Turns:
    """
    A store with results about records that arrive when the test fires them.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        self.waiting: list[Deferred[None]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def _turn(self, work: Any) -> Any:
        turn: Deferred[None] = Deferred()
        self.waiting.append(turn)
        return turn.addCallback(lambda _: work())

    def records(self, kind: str) -> Any:
        """Like the same method of a store."""
        return self._turn(lambda: self._store.records(kind))

    def record(self, kind: str, id: str) -> Any:
        """Like the same method of a store."""
        return self._turn(lambda: self._store.record(kind, id))

    def put_record(self, *args: Any, **more: Any) -> Any:
        """Like the same method of a store."""
        return self._turn(lambda: self._store.put_record(*args, **more))
