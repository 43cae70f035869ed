"""
What happens to a Redis store when another server becomes the primary, with real servers
and sentinels on loopback.

The small forms run by default, the full ones with ``TXSTATHAT_DRILLS=full``; they print
their figures.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

import trustme
from redis import Redis, RedisError
from twisted.internet import reactor
from twisted.internet.defer import DeferredList, inlineCallbacks
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.fixtures.delivery import FULL
from tests.fixtures.store_contract import ADDED, batch, key
from tests.fixtures.stores import RedisSentinel, RedisServer, free_port, wait_until
from tests.fixtures.support import logged
from txstathat.errors import StoreError, StoreUnavailable
from txstathat.metrica import Metrica
from txstathat.stores import IStore, open_store
from txstathat.stores.redis.backend import RedisBackend
from txstathat.stores.redis.connections import MAX_AGE
from txstathat.stores.redis.keys import KeyNames, shard_of

skip = (
    "TXSTATHAT_DRILLS is none" if os.environ.get("TXSTATHAT_DRILLS") == "none" else None
)

#: The name that leads to the primary.
NAME = "redis.example"


class Name:
    """
    The name of a host, for all look-ups in this process.

    :ivar address: its address.
    """

    def __init__(self, case: SynchronousTestCase, address: str) -> None:
        self.address = address
        self._look_up = socket.getaddrinfo
        case.patch(socket, "getaddrinfo", self._resolve)

    def _resolve(self, host: Any, *args: Any, **options: Any) -> Any:
        return self._look_up(self.address if host == NAME else host, *args, **options)


class Load:
    """
    A kick every few milliseconds, for some time.

    :param store: the store to which they go.
    """

    def __init__(self, store: IStore) -> None:
        self.metrica = Metrica("m", [], store)
        self.kicks: list[Any] = []
        self.longest = 0.0

    @inlineCallbacks
    def run(self, seconds: float) -> Any:
        """Kick, without waiting for the results."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            began = time.monotonic()

            def done(result: Any, began: float = began) -> Any:
                self.longest = max(self.longest, time.monotonic() - began)
                return result

            self.kicks.append(self.metrica.kick().addBoth(done))
            yield deferLater(reactor, 0.005)

    @inlineCallbacks
    def check(self, case: TestCase, what: str) -> Any:
        """Check that every kick was acknowledged, and counted once."""
        results = yield DeferredList(self.kicks, consumeErrors=True)
        case.assertEqual([one for one in results if not one[0]], [])
        case.assertEqual((yield self.metrica.total()), len(self.kicks))
        if FULL:
            print(f"{what}: {len(self.kicks)} kicks, the slowest {self.longest:.1f} s")


class NameTests(TestCase):
    """A name that leads to another server after a failover."""

    @inlineCallbacks
    def test_old_primary_becomes_a_replica(self) -> Any:
        """
        When the old primary lives on as a replica, the kicks go to the new one: none is
        lost or counted twice. A store that was idle meanwhile writes at the first try.
        """
        first = RedisServer()
        self.addCleanup(first.remove)
        second = RedisServer(
            *("--replica-announce-ip", "127.0.0.2"),
            *("--replicaof", first.host, str(first.port)),
            host="127.0.0.2",
            port=first.port,
        )
        self.addCleanup(second.remove)
        wait_until(lambda: b"master_link_status:up" in second.command("INFO"))
        servers = [first, second]
        name = Name(self, first.host)
        load = Load((yield self.open(first.port)))
        idle = yield self.open(first.port)
        yield idle.add([batch("before", {"k": 1}, name="idle")])
        yield idle.read([key("k", name="idle")])
        for round in range(10 if FULL else 2):
            yield load.run(0.5)
            old, new = servers[round % 2], servers[1 - round % 2]
            old.command("FAILOVER")
            wait_until(lambda at=new: b"role:master" in at.command("INFO"))
            yield load.run(0.3)
            name.address = new.host
            answers = yield idle.add([batch(f"b{round}", {"k": 1}, name="idle")])
            self.assertEqual(answers, [ADDED])
            (cell,) = yield idle.read([key("k", name="idle")])
            self.assertEqual(cell.sum, round + 2)
            yield load.run(0.5)
            wait_until(lambda at=old: b"master_link_status:up" in at.command("INFO"))
        yield load.check(self, "old primary becomes a replica")

    def open(self, port: int) -> Any:
        """Open a store by the name, and close it at the end of the test."""

        def opened(store: IStore) -> IStore:
            self.addCleanup(store.close)
            return store

        return open_store(f"redis://{NAME}:{port}/0").addCallback(opened)


class BackendTests(SynchronousTestCase):
    """The connections of one thread."""

    def setUp(self) -> None:
        self.now = 0.0
        self.servers = [RedisServer()]
        self.addCleanup(self.servers[0].remove)
        port = self.servers[0].port
        self.servers.append(RedisServer(host="127.0.0.2", port=port))
        self.addCleanup(self.servers[1].remove)
        self.name = Name(self, "127.0.0.1")
        url = f"redis://{NAME}:{port}/0"
        self.backend = RedisBackend(url, monotonic=lambda: self.now)
        self.backend.open()
        self.addCleanup(self.backend.close)
        self.backend.add([batch("b", {"k": 1})])

    def seen(self) -> list[bool]:
        """Which reads lead to the first server: of a cell, and of the definitions."""
        return [
            self.backend.read([key("k")]) != [None],
            self.backend.definitions_after(None) != ({}, None),
        ]

    def test_readers_follow_the_name(self) -> None:
        """Reads follow a name that moved, within MAX_AGE, although nothing fails."""
        self.assertEqual(self.seen(), [True, True])
        self.name.address = "127.0.0.2"
        self.now += MAX_AGE - 1
        self.assertEqual(self.seen(), [True, True])
        self.now += 1
        self.assertEqual(self.seen(), [False, False])

    def test_readers_follow_writes(self) -> None:
        """When a write finds a replica, reads follow the name at once."""
        self.assertEqual(self.seen(), [True, True])
        first, second = self.servers
        first.command("REPLICAOF", "127.0.0.1", "1")
        self.assertEqual(self.seen(), [True, True])
        self.name.address = "127.0.0.2"
        self.assertEqual(self.backend.add([batch("c", {"j": 1})]), [ADDED])
        self.assertEqual(self.backend.read([key("k")]), [None])
        names = KeyNames("txstathat").names(shard_of("m"))
        self.assertIn(b"1", second.command("EXISTS", names))

    def test_answers_of_a_server_that_is_not_ready(self) -> None:
        """A replica without its primary, also for reads, is StoreUnavailable."""
        first = self.servers[0]
        first.command("CONFIG", "SET", "replica-serve-stale-data", "no")
        first.command("REPLICAOF", "127.0.0.1", "1")
        for call in (
            lambda: self.backend.add([batch("c", {"k": 1})]),
            lambda: self.backend.read([key("k")]),
            lambda: self.backend.records("key"),
            lambda: self.backend.put_record("key", "a", "b", None),
        ):
            error = self.assertRaises(StoreUnavailable, call)
            self.assertIn("MASTER", str(error))
        first.command("REPLICAOF", "NO", "ONE")
        self.assertEqual(self.backend.add([batch("c", {"k": 1})]), [ADDED])

    def test_eviction(self) -> None:
        """An eviction policy that deletes counts is logged once, when opening."""
        for policy, memory, warned in (
            ("noeviction", "100mb", 0),
            ("allkeys-lru", "0", 0),
            ("allkeys-lru", "100mb", 1),
            ("volatile-ttl", "100mb", 1),
        ):
            self.servers[0].command("CONFIG", "SET", "maxmemory", memory)
            self.servers[0].command("CONFIG", "SET", "maxmemory-policy", policy)
            url = f"redis://{NAME}:{self.servers[0].port}/0"
            with logged() as log:
                backend = RedisBackend(url)
                backend.open()
                backend.close()
            warnings = [one for one in log.at_level("warn") if policy in one]
            self.assertEqual(len(warnings), warned, policy)


class SentinelTests(TestCase):
    """A service behind a sentinel."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        authority.cert_pem.write_to_path(str(self.folder / "ca"))
        certificate.private_key_pem.write_to_path(str(self.folder / "key"))
        certificate.cert_chain_pems[0].write_to_path(str(self.folder / "cert"))
        self.servers = [RedisServer()]
        self.addCleanup(self.servers[0].remove)
        replica = ("--replicaof", "127.0.0.1", str(self.servers[0].port))
        self.servers.append(RedisServer(*replica))
        self.addCleanup(self.servers[1].remove)
        # Else the sentinel would see the replica only when it looks again, after 10 s.
        second = self.servers[1]
        wait_until(lambda: b"master_link_status:up" in second.command("INFO"))
        for server in reversed(self.servers):
            for setting in ("masterauth", "requirepass"):
                server.command("CONFIG", "SET", setting, "server-secret")
        self.client = Redis("127.0.0.1", self.servers[0].port, password="server-secret")
        self.addCleanup(self.client.close)

    def start_sentinel(self) -> str:
        """
        Start a sentinel with TLS and a password; return the URL of a store behind it.
        """
        tls = free_port()
        sentinel = RedisSentinel(
            self.servers[0],
            "port 0",
            f"tls-port {tls}",
            f"tls-cert-file {self.folder / 'cert'}",
            f"tls-key-file {self.folder / 'key'}",
            f"tls-ca-cert-file {self.folder / 'ca'}",
            "tls-auth-clients no",
            "requirepass sentinel-secret",
            "sentinel auth-pass main server-secret",
        )
        self.addCleanup(sentinel.remove)
        self.sentinel = Redis(
            host="127.0.0.1",
            port=tls,
            password="sentinel-secret",
            ssl=True,
            ssl_ca_certs=str(self.folder / "ca"),
        )
        self.addCleanup(self.sentinel.close)
        wait_until(lambda: _known_replicas(self.sentinel) == 1)
        return (
            # The first sentinel of the list is down.
            f"redis+sentinel://:server-secret@127.0.0.1:{free_port()},127.0.0.1:{tls}"
            f"/main/2?sentinel_password=sentinel-secret&sentinel_ssl=true"
            f"&sentinel_ssl_ca_certs={self.folder / 'ca'}"
        )

    @inlineCallbacks
    def test_primary_killed(self) -> Any:
        """
        When the primary is killed, the kicks wait for the next one: none that a replica
        had is lost, none is counted twice.
        """
        url = self.start_sentinel()
        store = yield open_store(url)
        self.addCleanup(store.close)
        load = Load(store)
        yield load.run(0.5)
        yield load.metrica.total()
        # What the replica does not have yet is lost with any primary.
        self.client.set("mark", "1")
        self.assertEqual(self.client.wait(1, 5000), 1)
        self.servers[0].kill()
        yield load.run(5 if FULL else 3)
        yield load.check(self, "primary killed")
        self.assertEqual(
            self.sentinel.sentinel_get_master_addr_by_name("main"),
            (b"127.0.0.1", self.servers[1].port),
        )
        client = Redis(
            "127.0.0.1", self.servers[1].port, password="server-secret", db=2
        )
        self.addCleanup(client.close)
        self.assertEqual(client.get("txstathat:{names}:version"), b"3")

    @inlineCallbacks
    def test_refused(self) -> Any:
        """An unknown service and a wrong password are errors that show no secret."""
        url = self.start_sentinel()
        for other, words in (
            (url.replace("/main/", "/other/"), "No such master"),
            (
                url.replace("=sentinel-secret", "=wrong-secret"),
                "invalid username-password",
            ),
            (url.replace("sentinel_ssl_ca_certs", "sentinel_client_name"), "CERTIF"),
            (url.replace("sentinel_ssl=true", "sentinel_ssl=false"), "Connection"),
            (url.replace(":server-secret", ":wrong-secret"), "refused the password"),
        ):
            error = yield self.assertFailure(open_store(other), StoreError)
            self.assertIn(words, str(error))
            self.assertNotIn("secret", repr(error))


class SentinelUrlTests(SynchronousTestCase):
    """URLs of services behind sentinels."""

    def test_refused(self) -> None:
        """An invalid URL is refused; the message shows its form, and no password."""
        for rest in (
            "",
            "host:26379",
            "/main/0",
            "host:26379/main/zero",
            "host:26379/main/0/1",
            "host:26379,/main",
            "host:port/main",
            "a:pw@b@c:1:2/main",
        ):
            error = self.assertRaises(
                ValueError, RedisBackend, f"redis+sentinel://{rest}"
            )
            self.assertIn(
                "redis+sentinel://HOST:26379,HOST:26379/SERVICE/DB", str(error)
            )
            self.assertNotIn("pw", str(error))
        url = "redis+sentinel://:pw@host/main?sentinel_nonsense=pw"
        error = self.assertRaises(ValueError, RedisBackend(url).open)
        self.assertIn("sentinel_", str(error))
        self.assertNotIn("pw", str(error))


def _known_replicas(sentinel: Any) -> int:
    try:
        found = sentinel.sentinel_master("main")
    except RedisError:
        return -1  # it is still starting
    return int(found["num-slaves"])
