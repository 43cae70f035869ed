"""
The collector as a service, as a plugin of ``twist``, and the limits of its site.
"""

from __future__ import annotations

import os
import re
import resource
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from treq import get
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase
from twisted.web import http
from twisted.web.client import HTTPConnectionPool
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from tests.fixtures import ROOT
from tests.fixtures.archives import batch
from tests.fixtures.collector_services import LISTEN, ServiceCase
from tests.fixtures.delivery import slack
from tests.fixtures.python_programs import run_python
from tests.fixtures.stores import RedisServer, free_port, wait_until
from tests.fixtures.support import logged, reactor
from txstathat import Count, txStatHat
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.stats import Total
from txstathat.collector.errors import Refusal
from txstathat.collector.limits import MAX_BODY, MAX_FORM
from txstathat.collector.metrics import CollectorMetrics
from txstathat.collector.options import parse_retention, read_webhooks, write_keys
from txstathat.collector.service import (
    REDIS_SECONDS,
    CannotListen,
    CollectorService,
    limit_redis,
)
from txstathat.collector.tap import Options
from txstathat.collector.web.async_resource import AsyncResource
from txstathat.collector.web.channel import (
    ANSWER_SECONDS,
    BODY_SECONDS,
    HEADER_SECONDS,
    IDLE_SECONDS,
    SEND_BUFFER,
    STALL_SECONDS,
)
from txstathat.collector.web.request import PIECE
from txstathat.collector.web.site import CLOSE_SECONDS, CollectorSite
from txstathat.errors import StoreError, StoreUnavailable
from txstathat.stores import backup_store, open_store
from txstathat.testing import FakeStatHat

FORM = b"application/x-www-form-urlencoded"


class ServiceTests(ServiceCase):
    """
    ``CollectorService``.
    """

    @inlineCallbacks
    def test_embedded(self) -> Any:
        """Points that it accepted are there after a restart, and so are its keys."""
        yield self.start()
        self.assertEqual(list(self.keys), ["EZ key", "user key", "access token"])
        client = txStatHat(self.keys["EZ key"], ignore_errors=False, url=self.url)
        yield client.post([Count("a", 2), Count("b~c,d")])
        yield client.close()
        yield self.service.stopService()
        self.assertEqual(self.service.addresses, [])
        keys = dict(self.keys)
        yield self.start()
        self.assertEqual(self.keys, keys)
        self.assertEqual((yield self.totals())["a"], Total("count", 1, 2))
        response = yield get(
            f"{self.url}/x/{keys['access token']}/statlist", persistent=False
        )
        names = [each["name"] for each in (yield response.json())]
        self.assertEqual(names, ["a", "b c", "b d"])

    @inlineCallbacks
    def test_a_parent_starts_and_stops_it(self) -> Any:
        """Its parent starts and stops it, and its port is free afterwards."""
        parent = MultiService()
        service = CollectorService("memory:", LISTEN)
        service.setServiceParent(parent)
        parent.startService()
        yield service.ready()
        port = service.addresses[0].port
        yield parent.stopService()
        again = CollectorService("memory:", f"tcp:{port}:interface=127.0.0.1")
        again.startService()
        yield again.ready()
        yield again.stopService()

    @inlineCallbacks
    def test_cannot_start(self) -> Any:
        """The reason why it cannot start is in the failure, and nothing is left open."""
        yield self.start()
        taken = f"tcp:{self.service.addresses[0].port}:interface=127.0.0.1"
        other = self.mktemp()
        Path(other).write_text("no database" * 100)
        for store, listen, error, words in (
            ("memory:", taken, CannotListen, taken),
            ("memory:", "nonsense:1", CannotListen, "for a port write tcp:8080"),
            ("memory:", "8099", CannotListen, "tcp:8099:interface=127.0.0.1"),
            (
                "sqlite:/nowhere/at/all",
                LISTEN,
                StoreError,
                "/nowhere/at does not exist",
            ),
            (f"sqlite:{other}", LISTEN, StoreError, f"at {other}: file is not"),
            ("nonsense:", LISTEN, ValueError, "'nonsense'"),
        ):
            service = CollectorService(store, listen)
            ready = service.ready()
            service.startService()
            failure = yield self.assertFailure(ready, error)
            self.assertIn(words, str(failure))
            yield self.assertFailure(service.ready(), error)
            yield service.stopService()

    @inlineCallbacks
    def test_a_failed_start_is_logged(self) -> Any:
        """If nobody waits for it, the reason is in the log."""
        service = CollectorService("nonsense:", LISTEN)
        with logged() as log:
            service.startService()
            yield service.stopService()
        self.assertIn("cannot start: 'nonsense' is not a kind of store", log.text)

    @inlineCallbacks
    def test_access_log(self) -> Any:
        """Requests are logged without keys and tokens, wherever these are."""
        with logged() as log:
            yield self.start(access_log=True)
        self.assertNotIn("Starting factory", log.text)
        token, ez = self.keys["access token"], self.keys["EZ key"]
        with logged() as log:
            for path in (
                f"/x/{token}/statlist",
                f"/ez?ezkey={ez}&stat=secret%20stat&count=1",
                f"/{token}",
                f"/x/{token}",
            ):
                response = yield get(f"{self.url}{path}", persistent=False)
                yield response.content()
        for secret in (token, ez, "secret stat"):
            self.assertNotIn(secret, log.text)
        self.assertIn("127.0.0.1 GET /x 200 2", log.text)
        self.assertIn("127.0.0.1 GET /ez 200", log.text)
        self.assertIn("127.0.0.1 GET /… 404", log.text)

    @inlineCallbacks
    def test_no_secret_is_logged(self) -> Any:
        """No key is in the log, neither at the first start nor with a refusal."""
        with logged() as log:
            yield self.start()
            client = txStatHat("canary-key", url=self.url)
            yield client.count("a")
            yield client.close()
        for secret in ("canary-key", *self.keys.values()):
            self.assertNotIn(secret, log.text)

    @inlineCallbacks
    def test_stopping_closes_connections(self) -> Any:
        """An idle connection is closed, and does not delay the end."""
        yield self.start()
        pool = HTTPConnectionPool(reactor)
        self.addCleanup(pool.closeCachedConnections)
        response = yield get(f"{self.url}/healthz", pool=pool)
        yield response.content()
        self.assertEqual(self.parts.metrics.connections, 1)
        began = reactor.seconds()
        yield self.service.stopService()
        self.assertEqual(self.parts.metrics.connections, 0)
        self.assertLess(reactor.seconds() - began, slack(CLOSE_SECONDS))
        self.assertEqual(self.parts.metrics.cut, 0)

    @inlineCallbacks
    def test_clients_that_read_nothing(self) -> Any:
        """Clients that do not read large answers block no others, and no open files."""
        yield self.start(max_connections=20)
        port = self.service.addresses[0].port
        for _ in range(30):
            one = socket.socket()
            self.addCleanup(one.close)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.connect(("127.0.0.1", port))
            one.sendall(b"GET /assets/plotly.js HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(30):
            response = yield get(f"{self.url}/healthz", persistent=False)
            self.assertEqual(response.code, 200)
            yield response.content()
        files = [os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()]
        self.assertEqual([name for name in files if "plotly" in name], [])
        channels = list(self.service._site._channels)
        self.assertTrue(channels[0]._full)
        size = channels[0].transport.socket.getsockopt(
            socket.SOL_SOCKET, socket.SO_SNDBUF
        )
        self.assertLessEqual(size, 2 * SEND_BUFFER)


class BackupTests(ServiceCase):
    """
    Backups of a store that is in use.
    """

    @inlineCallbacks
    def test_while_it_is_written_to(self) -> Any:
        """The backup is a valid store, as of one moment, with whole batches only."""
        yield self.start()
        archive = self.parts.archive
        running = True

        async def write() -> None:
            while running:
                await archive.add(batch(*[Count(f"s{n}") for n in range(20)]))

        writing = [Deferred.fromCoroutine(write()) for _ in range(3)]
        yield archive.add(batch(Count("first")))
        copies = [self.mktemp() for _ in range(3)]
        for path in copies:
            size = yield backup_store(f"sqlite:{self.path}", path)
            self.assertEqual(size, os.path.getsize(path))
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        running = False
        yield gatherResults(writing)
        received = 0
        for path in copies:
            store = yield open_store(f"sqlite:{path}")
            totals = yield Deferred.fromCoroutine(Archive(store).totals())
            yield store.close()
            numbers = {totals[f"s{n}"].sum for n in range(20) if "s0" in totals}
            self.assertLessEqual(len(numbers), 1)
            self.assertGreaterEqual(min(numbers, default=0), received)
            received = min(numbers, default=0)
        self.assertEqual(list(Path(self.path).parent.glob("*.unfinished")), [])

    @inlineCallbacks
    def test_refused(self) -> Any:
        """An existing file is not overwritten, and only a store is copied."""
        yield self.start()
        there = self.mktemp()
        Path(there).write_text("precious")
        url = f"sqlite:{self.path}"
        other = self.mktemp()
        Path(other).write_bytes(b"not a database, but long enough to be one" * 50)
        for source, path, error in (
            (url, there, FileExistsError),
            ("redis://localhost", self.mktemp(), ValueError),
            ("sqlite:", self.mktemp(), ValueError),
            ("sqlite:/nowhere/at/all", self.mktemp(), StoreUnavailable),
            (url, "/nowhere/at/all", StoreUnavailable),
            (f"sqlite:{other}", self.mktemp(), StoreUnavailable),
        ):
            yield self.assertFailure(backup_store(source, path), error)
        self.assertEqual(Path(there).read_text(), "precious")


class PluginTests(SynchronousTestCase):
    """
    ``twist stathat``.
    """

    def test_twist(self) -> None:
        """The first keys go to a file that its owner can read; SIGTERM stops it cleanly."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        port = free_port()
        command = [
            *(sys.executable, "-m", "twisted", "--log-format", "text", "stathat"),
            *("--listen", f"tcp:{port}:interface=127.0.0.1"),
            *("--store", f"sqlite://{folder}/stats", "--keys-file", "keys"),
            *("--keep", "minute=2d", "--proxies", "1"),
        ]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        server = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environ,
            cwd=folder,
        )
        try:
            wait_until(lambda: (folder / "keys").exists() or server.poll() is not None)
            text = (folder / "keys").read_text()
            mode = stat.S_IMODE((folder / "keys").stat().st_mode)
            self.assertEqual(mode, 0o600)
            keys = dict(line.split(": ") for line in text.splitlines())
            self.assertEqual(list(keys), ["EZ key", "user key", "access token"])
            sent = run_python(
                [sys.executable, "-m", "txstathat", "count", "a", "3"],
                env={
                    **environ,
                    "TXSTATHAT_URL": f"http://127.0.0.1:{port}",
                    "TXSTATHAT_EZKEY": keys["EZ key"],
                },
            )
            self.assertEqual(sent.returncode, 0)
        finally:
            server.send_signal(signal.SIGTERM)
            out, _ = server.communicate(timeout=300)
        # Twisted ends with the signal itself, after all is stopped.
        self.assertIn(server.returncode, (0, -signal.SIGTERM), out)
        self.assertIn(b"Main loop terminated", out)
        self.assertIn(f"the first keys are in {folder}/keys".encode(), out)
        self.assertIn(f"listening on http://127.0.0.1:{port}".encode(), out)
        self.assertIn(b"sign in with an access token", out)
        for key in keys.values():
            self.assertNotIn(key.encode(), out)

    def test_cannot_start(self) -> None:
        """If it cannot start, the process logs why, and exits with status 1."""
        folder = self.mktemp()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            for listen, words in (
                ("bogus:1", "cannot listen on 'bogus:1'"),
                (f"tcp:{port}:interface=127.0.0.1", "Address already in use"),
            ):
                ended = subprocess.run(
                    [
                        *(sys.executable, "-m", "twisted", "--log-format", "text"),
                        *("stathat", "--listen", listen, "--store", "memory:"),
                        *("--keys-file", folder),
                    ],
                    env={**os.environ, "PYTHONPATH": str(ROOT)},
                    capture_output=True,
                    text=True,
                    timeout=300,
                )
                output = ended.stdout + ended.stderr
                self.assertEqual(ended.returncode, 1, output)
                self.assertIn("cannot start", output)
                self.assertIn(words, output)
                self.assertNotIn("Traceback", output)

    def test_options(self) -> None:
        """--help shows the defaults; the message for a wrong option says what is wrong."""
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        shown = run_python(
            [sys.executable, "-m", "twisted", "stathat", "--help"],
            env=environ,
            capture_output=True,
            text=True,
        ).stdout
        for words in (
            "[default: sqlite:txstathat.sqlite]",
            "[default: tcp:8080:interface=127.0.0.1]",
            "minute 26h, hour 35d, day 400d, month forever, year forever",
        ):
            self.assertIn(words, shown)
        for option, value, words in (
            ("--keep", "week=1d", "must be like minute=7d"),
            ("--keep", "minute=7d1h", "must be like minute=7d"),
            ("--proxies", "-1", "--proxies: '-1' must be a whole number"),
            ("--webhooks", "/nowhere/at/all", "--webhooks: /nowhere/at/all"),
        ):
            wrong = run_python(
                [sys.executable, "-m", "twisted", "stathat", option, value],
                env=environ,
                capture_output=True,
                text=True,
            )
            self.assertNotEqual(wrong.returncode, 0)
            self.assertIn(words, wrong.stdout + wrong.stderr)


class RedisUrlTests(ServiceCase):
    """
    The time limit of commands to Redis.
    """

    def test_time_limit(self) -> None:
        """Every Redis URL gets a short time limit, unless it has one."""
        limits = (
            f"socket_timeout={REDIS_SECONDS}&socket_connect_timeout={REDIS_SECONDS}"
        )
        for url in (
            "redis://localhost:6379/0",
            "rediss://:secret@localhost",
            "redis+cluster://localhost",
            "rediss+cluster://localhost",
            "unix:///run/redis.sock",
        ):
            self.assertEqual(limit_redis(url), f"{url}?{limits}")
            self.assertEqual(limit_redis(f"{url}?db=1"), f"{url}?db=1&{limits}")
            chosen = f"{url}?socket_timeout=5"
            self.assertEqual(limit_redis(chosen), chosen)
        for url in ("memory:", "sqlite:///x.sqlite", "nonsense"):
            self.assertEqual(limit_redis(url), url)

    @inlineCallbacks
    def test_unix_socket(self) -> Any:
        """A collector works on a Redis server that listens on a UNIX socket."""
        path = Path(tempfile.mkdtemp(prefix="txstathat-"), "socket")
        self.addCleanup(shutil.rmtree, path.parent)
        server = RedisServer("--unixsocket", str(path))
        self.addCleanup(server.remove)
        service = CollectorService(f"unix://{path}", LISTEN)
        self.addCleanup(self.stop, service)
        ready = service.ready()
        service.startService()
        self.parts = yield ready
        yield self.parts.archive.add(batch(Count("a", 2)))
        self.assertEqual((yield self.totals())["a"], Total("count", 1, 2))


class OptionsTests(SynchronousTestCase):
    """
    Options that ``twist stathat`` and ``txstathat serve`` share.
    """

    def test_retention(self) -> None:
        """A scale, and how long its detail is stored, or forever."""
        self.assertEqual(
            parse_retention(["minute=2d", "day=forever", "hour=36h"]),
            {"minute": 172_800.0, "day": None, "hour": 129_600.0},
        )
        for wrong in ("week=1d", "minute", "minute=", "minute=0d", "minute=-1d", "=1d"):
            self.assertRaises(ValueError, parse_retention, [wrong])

    def test_max_stats(self) -> None:
        """The largest number of stats is an option; it is a positive number."""
        for arguments, number in (([], 100_000), (["--max-stats", "5"], 5)):
            options = Options()
            options.parseOptions(arguments)
            self.assertEqual(options["max-stats"], number)
        for wrong in ("0", "-1", "x", "1.5"):
            error = self.assertRaises(
                UsageError, Options().parseOptions, ["--max-stats", wrong]
            )
            self.assertIn(f"--max-stats: {wrong!r}", str(error))

    def test_documented_unit(self) -> None:
        """The options of the systemd unit in the documentation are valid."""
        text = (ROOT / "docs" / "own-server.rst").read_text()
        (line,) = re.findall(r"ExecStart=((?:.*\\\n)*.*)", text)
        program, *arguments = shlex.split(line.replace("\\\n", ""))
        self.assertTrue(program.endswith("/twist"))
        options = Options()
        options.parseOptions(arguments[arguments.index("stathat") + 1 :])
        self.assertEqual(options["listen"], ["tcp:8080:interface=127.0.0.1"])
        folder = "/var/lib/txstathat"
        self.assertEqual(options["store"], f"sqlite://{folder}/stats.sqlite")
        # The path of the keys is relative to this.
        self.assertIn(f"WorkingDirectory={folder}\n", text)
        self.assertIn(f"{folder}/{options['keys-file']}``", text)

    def test_channels(self) -> None:
        """The options for channels are checked, and converted."""
        folder = self.mktemp()
        os.mkdir(folder)
        options = Options()
        options.parseOptions(
            [
                *("--secrets", folder, "--digest", "mail", "--digest-at", "fri 9:00"),
                *("--allow-private", "127.0.0.1", "--allow-private", "fd00::/8"),
            ]
        )
        self.assertEqual(options["allow-private"], ["127.0.0.1", "fd00::/8"])
        self.assertEqual((options["digest"], options["secrets"]), ("mail", folder))
        for arguments, words in (
            (["--secrets", "/nowhere"], "--secrets: '/nowhere' is not a directory"),
            (["--allow-private", "10.0.0.1/8"], "--allow-private: '10.0.0.1/8' must"),
            (["--digest-at", "8:00"], "--digest-at: '8:00' must be like"),
        ):
            error = self.assertRaises(UsageError, Options().parseOptions, arguments)
            self.assertIn(words, str(error))
        self.assertRaises(ValueError, CollectorService, "memory:", secrets="/nowhere")
        self.assertRaises(ValueError, CollectorService, "memory:", digest_at="x")

    def test_webhooks(self) -> None:
        """
        A file has a URL on each line; a message has nothing of a wrong one. A file that
        other users can read or change is refused.
        """
        path = self.mktemp()
        Path(path).write_text("https://a.example.com/x\n\n https://b.example.com\n")
        for mode in (0o604, 0o602):
            os.chmod(path, mode)
            with self.assertRaises(ValueError) as caught:
                read_webhooks(path)
            self.assertIn(f"Run: chmod o-rwx {path}", str(caught.exception))
        os.chmod(path, 0o640)
        self.assertEqual(
            read_webhooks(path), ["https://a.example.com/x", "https://b.example.com"]
        )
        self.assertEqual(read_webhooks(""), [])
        for content, words in (
            (
                b"https://a.example.com\nhttp://b.com/canary",
                "line 2: the URL must begin",
            ),
            (b"canary", "line 1: the URL must begin with https://"),
            (b"\xffcanary", "utf-8"),
        ):
            Path(path).write_bytes(content)
            with self.assertRaises(ValueError) as caught:
                read_webhooks(path)
            self.assertIn(words, str(caught.exception))
            self.assertNotIn("canary", str(caught.exception))
        error = self.assertRaises(ValueError, read_webhooks, "/nowhere/at/all")
        self.assertEqual(str(error), "/nowhere/at/all: No such file or directory")

    def test_key_file(self) -> None:
        """The file is replaced as a whole, and others can never read it."""
        path = self.mktemp()
        Path(path).write_text("before")
        os.chmod(path, 0o666)
        Path(f"{path}.new").write_text("left by a crash")
        write_keys(path, {"EZ key": "x"})
        self.assertEqual(Path(path).read_text(), "EZ key: x\n")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.assertRaises(OSError, write_keys, "/nowhere/at/all", {})


class _Slow(Resource):
    """
    A resource whose answers the test writes.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Any] = []

    def render(self, request: Any) -> int:
        self.requests.append(request)
        return NOT_DONE_YET


class _Large(Resource):
    """
    A resource with a given body.
    """

    isLeaf = True

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.body = body

    def render(self, request: Any) -> bytes:
        return self.body


class _Form(Resource):
    """
    A resource that records the fields of a request.
    """

    isLeaf = True

    def render(self, request: Any) -> bytes:
        self.fields = request.args
        return b""


class _Refusing(AsyncResource):
    """
    A resource that refuses all requests.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__()
        self.refusal = refusal

    async def respond(self, request: Any) -> bytes:
        raise self.refusal


class _Narrow(StringTransport):
    """
    A transport with a small buffer, which is full until the client empties it.
    """

    producer: Any

    def write(self, data: bytes) -> None:
        super().write(data)
        if len(self.value()) > PIECE:
            self.producer.pauseProducing()

    def empty(self) -> bytes:
        emptied: bytes = self.value()
        self.clear()
        self.producer.resumeProducing()
        return emptied


class SiteTests(SynchronousTestCase):
    """
    The limits of the site on time and on connections, with the test's own clock.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.fake = FakeStatHat()
        self.site = self.make(self.fake.resource)

    def make(self, root: Resource, **options: Any) -> CollectorSite:
        site = CollectorSite(root, self.clock, **options)
        site._updateLogDateTime = lambda: None
        return site

    def connect(self, site: CollectorSite | None = None, transport: Any = None) -> Any:
        """Make a connection; its answers are in ``transport.value()``."""
        channel: Any = (site or self.site).buildProtocol(None)
        channel.makeConnection(transport or StringTransport())
        return channel

    def drip(self, channel: Any, data: bytes, seconds: float) -> float:
        """Send a byte each second; after how many seconds the connection is closed."""
        for number in range(int(seconds)):
            if channel.transport.disconnecting:
                return number
            channel.dataReceived(data[number : number + 1] or b"x")
            self.clock.advance(1)
        return float("inf")

    def test_silence(self) -> None:
        """A client that sends nothing is disconnected."""
        channel = self.connect()
        self.clock.advance(HEADER_SECONDS - 0.1)
        self.assertFalse(channel.transport.disconnecting)
        self.clock.advance(0.1)
        self.assertTrue(channel.transport.disconnecting)
        self.clock.advance(STALL_SECONDS)
        self.assertTrue(channel.transport.disconnected)

    def test_dripped_headers(self) -> None:
        """Sending headers byte by byte does not extend their time limit."""
        head = b"POST /ez HTTP/1.1\r\nHost: a.very.long.name.indeed\r\n"
        self.assertEqual(self.drip(self.connect(), head, 60), HEADER_SECONDS)

    def test_dripped_body(self) -> None:
        """Nor does sending a body byte by byte, which has more time with a valid key."""
        head = b"POST /ez HTTP/1.1\r\nContent-Length: 9999\r\n\r\n"
        for start, seconds in ((b"", HEADER_SECONDS), (b"ezkey=k&", BODY_SECONDS)):
            channel = self.connect()
            channel.dataReceived(head + start)
            self.assertEqual(self.drip(channel, b"", 120), seconds)

    def test_kept_alive(self) -> None:
        """A connection can be idle between requests; each request has the full time."""
        form = b"ezkey=k&stat=a&count=1"
        request = b"POST /ez HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (
            len(form),
            form,
        )
        channel = self.connect()
        for _ in range(4):
            channel.dataReceived(request[:10])
            self.clock.advance(HEADER_SECONDS - 1)
            channel.dataReceived(request[10:-1])
            self.clock.advance(BODY_SECONDS - 1)
            channel.dataReceived(request[-1:])
            self.clock.advance(IDLE_SECONDS - 1)
        self.assertFalse(channel.transport.disconnecting)
        self.assertEqual(self.fake.summaries["a"].points, 4)
        self.clock.advance(1)
        self.assertTrue(channel.transport.disconnecting)
        channel.connectionLost(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_posts(self) -> None:
        """Points come from a form, whatever its content type, or from the query."""
        form, types = b"ezkey=k&stat=a+b&count=1", (b"", b"text/plain", FORM)
        for content_type in types:
            line = b"Content-Type: %b\r\n" % content_type if content_type else b""
            channel = self.connect()
            channel.dataReceived(
                b"POST /ez HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b"
                % (line, len(form), form)
            )
            self.assertIn(b'"status": 200', channel.transport.value())
        for method in (b"GET", b"POST"):
            channel = self.connect()
            channel.dataReceived(b"%b /ez?%b HTTP/1.1\r\n\r\n" % (method, form))
            self.assertIn(b'"status": 200', channel.transport.value())
        self.assertEqual(self.fake.summaries["a b"].points, 5)

    def test_other_forms(self) -> None:
        """A form that is posted to any other path is parsed for its resource."""
        page = _Form()
        channel = self.connect(self.make(page))
        channel.dataReceived(
            b"POST /x?a=1 HTTP/1.1\r\nContent-Type: %b\r\nContent-Length: 3\r\n\r\n"
            b"b=2" % FORM
        )
        self.assertEqual(page.fields, {b"a": [b"1"], b"b": [b"2"]})

    def test_forms_are_small(self) -> None:
        """Any body that is not JSON is limited to the size of a form."""
        form, json = b"application/x-www-form-urlencoded", b"application/json"
        for types, size, status in (
            ([], MAX_FORM, b"200"),
            ([], MAX_FORM + 1, b"413"),
            ([form], MAX_FORM + 1, b"413"),
            ([b"Multipart/form-data; boundary=x"], MAX_FORM + 1, b"413"),
            ([b"(x) " + form], MAX_FORM + 1, b"413"),
            ([b"text/plain"], MAX_FORM + 1, b"413"),
            ([json + b"; charset=utf-8"], MAX_BODY, b"200"),
            ([json], MAX_BODY + 1, b"413"),
            ([form, json], 1, b"400"),
            ([json, form], MAX_FORM + 1, b"400"),
            ([json, json], 0, b"400"),
        ):
            channel = self.connect(self.make(_Large(b"x")))
            lines = b"".join(b"Content-Type: %b\r\n" % each for each in types)
            channel.dataReceived(
                b"POST / HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (lines, size)
            )
            if status == b"200":
                channel.dataReceived(b"x" * size)
            answer = channel.transport.value()
            self.assertEqual(answer.split(b" ")[1], status, (types, size))
            if status != b"200":
                # A client that does not disconnect then is aborted.
                self.assertTrue(channel.transport.disconnecting)
                self.clock.advance(STALL_SECONDS)
                self.assertTrue(channel.transport.disconnected)

    def test_too_many_connections(self) -> None:
        """The connection without progress for the longest time is closed."""
        metrics = CollectorMetrics()
        site = self.make(self.fake.resource, max_connections=3, metrics=metrics)
        first, second, third = (self.connect(site) for _ in range(3))
        first.dataReceived(b"GET /healthz HTTP/1.1\r\n\r\n")
        fourth = self.connect(site)
        self.assertEqual(
            [each.transport.disconnected for each in (first, second, third, fourth)],
            [False, True, False, False],
        )
        self.assertEqual(metrics.cut, 1)

    def test_connections_that_wait_for_an_answer(self) -> None:
        """They are closed too, so delayed answers keep nobody out."""
        site = self.make(_Slow(), max_connections=2)
        held, other = self.connect(site), self.connect(site)
        for one in (held, other):
            one.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
        # An honest client connects and gets its answer while others connect.
        honest = self.connect(site)
        self.assertTrue(held.transport.disconnected)
        honest.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
        self.connect(site)
        self.assertTrue(other.transport.disconnected)
        self.assertFalse(honest.transport.disconnected)

    def ask_for(self, pieces: int) -> Any:
        """A connection to which an answer of so many pieces is being written."""
        site = self.make(_Large(b"x" * pieces * PIECE))
        channel = self.connect(site, _Narrow())
        channel.dataReceived(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return channel

    def test_large_answers(self) -> None:
        """The transport gets no more of a large answer than it asks for."""
        transport = self.ask_for(10).transport
        taken = b""
        while transport.value():
            self.assertLess(len(transport.value()), 2 * PIECE + 1000)
            taken += transport.empty()
        head, _, body = taken.partition(b"\r\n\r\n")
        self.assertEqual(body, b"x" * 10 * PIECE)
        self.assertIn(b"Content-Length: %d" % (10 * PIECE), head)

    def test_head(self) -> None:
        """The answer to HEAD has no body, however large it would be."""
        channel = self.connect(self.make(_Large(b"x" * 10 * PIECE)))
        channel.dataReceived(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertTrue(channel.transport.value().endswith(b"\r\n\r\n"))
        self.assertFalse(channel._handlingRequest)

    def test_a_client_that_disconnects(self) -> None:
        """The rest of its answer is dropped, whether the answer has begun or not."""
        channel = self.ask_for(10)
        (request,) = channel.requests
        channel.stopProducing()
        channel.connectionLost(ConnectionLost())
        request.write(b"more")
        self.assertEqual(len(channel.transport.value()) // PIECE, 1)
        slow = _Slow()
        channel = self.connect(self.make(slow))
        channel.dataReceived(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        channel.connectionLost(ConnectionLost())
        slow.requests[0].write(b"late")
        self.assertEqual(channel.transport.value(), b"")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_client_that_stops_reading(self) -> None:
        """It is disconnected; each piece that it reads gives it time for the next."""
        channel = self.ask_for(100)
        for _ in range(3):
            self.clock.advance(STALL_SECONDS - 1)
            channel.transport.empty()
        self.clock.advance(STALL_SECONDS - 1)
        self.assertFalse(channel.transport.disconnecting)
        self.clock.advance(1)
        self.assertTrue(channel.transport.disconnected)
        channel.connectionLost(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_client_that_reads_slowly(self) -> None:
        """It is disconnected when the time limit for the whole answer is over."""
        channel = self.ask_for(100)
        for _ in range(int(ANSWER_SECONDS / 20) - 1):
            self.clock.advance(20)
            channel.transport.empty()
        self.assertFalse(channel.transport.disconnecting)
        self.clock.advance(20)
        self.assertTrue(channel.transport.disconnected)

    def test_a_slow_client_is_not_idle(self) -> None:
        """The idle time begins when the client has read the last of the answer."""
        channel = self.ask_for(3)
        self.clock.advance(STALL_SECONDS - 1)
        channel.transport.empty()
        # The transport has all of the answer now, but the client does not.
        self.assertFalse(channel._handlingRequest)
        self.clock.advance(STALL_SECONDS - 1)
        channel.transport.empty()
        self.clock.advance(IDLE_SECONDS - 1)
        self.assertFalse(channel.transport.disconnecting)
        self.clock.advance(1)
        # An abort would lose what the kernel still holds.
        self.assertTrue(channel.transport.disconnecting)
        self.assertFalse(channel.transport.disconnected)
        self.clock.advance(STALL_SECONDS)
        self.assertTrue(channel.transport.disconnected)

    def test_refusals_that_close(self) -> None:
        """A refusal closes the connection only if it says so."""

        for refusal, closed in (
            (Refusal(403, "no"), False),
            (Refusal(429, "no"), False),
            (Refusal(429, "no", closes=True), True),
        ):
            channel = self.connect(self.make(_Refusing(refusal)))
            channel.dataReceived(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertEqual(b"Connection: close" in channel.transport.value(), closed)
            self.assertEqual(channel.transport.disconnecting, closed)

    def test_closing(self) -> None:
        """Idle connections are closed at once; others are answered, within a time limit."""
        slow = _Slow()
        site = self.make(slow)
        idle, asking, answered, hung = (self.connect(site) for _ in range(4))
        ask = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        asking.dataReceived(ask[:-2])
        for one in (answered, hung):
            one.dataReceived(ask)
        closed = site.close()
        self.assertTrue(idle.transport.disconnecting)
        idle.connectionLost(None)
        asking.dataReceived(ask[-2:] + ask)
        for request in (slow.requests[2], slow.requests[0]):
            request.write(b"x")
            request.finish()
        for one in (asking, answered):
            self.assertIn(b"\r\nConnection: close\r\n", one.transport.value())
            self.assertTrue(one.transport.disconnecting)
            self.assertFalse(one.transport.disconnected)
            one.connectionLost(None)
        # The second request on that connection was not processed.
        self.assertEqual(len(slow.requests), 3)
        self.clock.advance(CLOSE_SECONDS - 0.1)
        self.assertFalse(hung.transport.disconnecting)
        self.clock.advance(0.1)
        self.assertTrue(hung.transport.disconnected)
        self.assertNoResult(closed)
        hung.connectionLost(None)
        self.assertIsNone(self.successResultOf(closed))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIsNone(self.successResultOf(self.site.close()))

    def test_http_2_is_not_offered(self) -> None:
        """It is not offered even if Twisted supports it, since the limits are HTTP/1.1's."""
        self.patch(http, "H2_ENABLED", True)
        self.assertEqual(Site.acceptableProtocols(self.site)[0], b"h2")
        self.assertEqual(self.site.acceptableProtocols(), [b"http/1.1"])

    def test_files(self) -> None:
        """There are never more connections than the process can open files."""
        site = self.make(self.fake.resource, max_connections=10**9)
        self.assertLess(site.max_connections, 10**9)

    def test_open_files_are_counted(self) -> None:
        """Each file that the process has open leaves room for one connection less."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        limit = len(os.listdir("/dev/fd")) + 400
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        before = self.make(self.fake.resource, max_connections=10**9)
        for _ in range(50):
            self.addCleanup(os.close, os.open(os.devnull, os.O_RDONLY))
        after = self.make(self.fake.resource, max_connections=10**9)
        self.assertEqual(after.max_connections, before.max_connections - 50)
