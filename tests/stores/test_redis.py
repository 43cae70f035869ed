"""
What is particular to Redis.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import trustme
from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.fixtures.store_contract import ADDED, batch, key
from tests.fixtures.stores import (
    ClusterHost,
    RedisCluster,
    RedisHost,
    RedisServer,
    free_port,
    shared,
)
from txstathat.errors import StoreError, StoreTooNew, StoreUnavailable
from txstathat.metrica import Metrica, StoredChoiceAxis
from txstathat.stores import (
    Addition,
    Amounts,
    Increment,
    TimeBucket,
    WriteBatch,
    WriteOutcome,
    WriteResult,
    open_store,
)
from txstathat.stores.redis.backend import RedisBackend
from txstathat.stores.redis.connections import MAX_AGE, Connections


class UrlTests(SynchronousTestCase):
    """Invalid URLs."""

    def test_prefix(self) -> None:
        """A prefix with braces, or other special characters, is refused."""
        for prefix in ["", "{x}", "a b", "*"]:
            url = f"redis://:secret@localhost/0?prefix={prefix}"
            error = self.assertRaises(ValueError, RedisBackend, url)
            self.assertNotIn("secret", str(error))


class AgeTests(SynchronousTestCase):
    """Connections that are used for a while."""

    def test_opened_anew(self) -> None:
        """Those that are idle, and those of readers, are not older than the limit."""
        server = RedisServer()
        self.addCleanup(server.remove)
        clock = Clock()
        connections = Connections(f"redis://127.0.0.1:{server.port}/0", clock.seconds)
        self.addCleanup(connections.close)
        connections.open()

        def ids() -> tuple[int, int]:
            connections.refresh()
            reader = connections.reader().client_id()
            return connections.client.client_id(), reader

        first = ids()
        clock.advance(MAX_AGE - 0.1)
        self.assertEqual(ids(), first)
        for _ in range(2):
            clock.advance(0.1)
            second = ids()
            self.assertEqual(len({*first, *second}), 4)
            clock.advance(MAX_AGE - 0.1)
            self.assertEqual(ids(), second)
            first = second


class ServerTests(TestCase):
    """Servers with special settings."""

    @inlineCallbacks
    def test_password(self) -> Any:
        """The URL contains the password; the error for a wrong one does not show it."""
        server = RedisServer()
        self.addCleanup(server.remove)
        server.command("CONFIG", "SET", "requirepass", "correct")
        store = yield open_store(f"redis://:correct@127.0.0.1:{server.port}/3")
        yield store.add([batch("b", {"k": 1})])
        yield store.close()
        error = yield self.assertFailure(
            open_store(f"redis://:mistaken@127.0.0.1:{server.port}/3"), StoreError
        )
        self.assertNotIsInstance(error, StoreUnavailable)
        self.assertIn("refused the password", str(error))
        self.assertNotIn("mistaken", repr(error))

    @inlineCallbacks
    def test_tls(self) -> Any:
        """``rediss://`` is TLS, and the server's certificate is verified."""
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        authority.cert_pem.write_to_path(str(folder / "ca"))
        certificate.private_key_pem.write_to_path(str(folder / "key"))
        certificate.cert_chain_pems[0].write_to_path(str(folder / "cert"))
        server = RedisServer()
        self.addCleanup(server.remove)
        tls = free_port()
        for setting, value in {
            "tls-cert-file": folder / "cert",
            "tls-key-file": folder / "key",
            "tls-ca-cert-file": folder / "ca",
            "tls-auth-clients": "no",
            "tls-port": tls,
        }.items():
            server.command("CONFIG", "SET", setting, str(value))
        url = f"rediss://127.0.0.1:{tls}/0"
        store = yield open_store(f"{url}?ssl_ca_certs={folder / 'ca'}")
        self.assertEqual((yield store.add([batch("b", {"k": 1})])), [ADDED])
        yield store.close()
        error = yield self.assertFailure(open_store(url), StoreUnavailable)
        self.assertIn("certificate", str(error).lower())

    @inlineCallbacks
    def test_newer(self) -> Any:
        """A store of a newer version is refused."""
        here = RedisHost(self)
        store = yield here.open()
        yield store.close()
        server = shared(RedisServer)
        server.command("SET", f"{here.prefix}:{{names}}:version", "99")
        error = yield self.assertFailure(here.open(), StoreTooNew)
        self.assertIn("version 99", str(error))

    @inlineCallbacks
    def test_cluster_by_a_plain_url(self) -> Any:
        """The URL of a single server is refused for a node of a cluster."""
        port = shared(RedisCluster).servers[0].port
        error = yield self.assertFailure(
            open_store(f"redis://127.0.0.1:{port}/0"), StoreError
        )
        self.assertIn("redis+cluster://", str(error))

    @inlineCallbacks
    def test_expiry_is_the_servers(self) -> Any:
        """Time buckets expire by themselves, except those without a time to live."""
        here = RedisHost(self)
        store = yield here.open()
        metrica = Metrica("m", [("a", StoredChoiceAxis())], store)
        yield metrica.kick(a=1)
        found = yield store._runner.read(self.lifetimes, store._backend)
        day = 86_400
        expected = {
            "all": -1,
            "year": -1,
            "month": 3 * 365 * day,
            "day": 185 * day,
            "hour": 14 * day,
            "minute": day,
        }
        self.assertEqual(set(found), set(expected))
        for scale, seconds in expected.items():
            self.assertAlmostEqual(found[scale], seconds, delta=5)

    def lifetimes(self, backend: RedisBackend) -> dict[str, int]:
        """The remaining seconds of the time bucket of each scale."""
        client = backend._client
        pattern = backend._keys.prefix + ':*\\["m","*'
        return {
            bytes(name).decode().split('"')[3]: int(client.ttl(name))
            for name in client.scan_iter(match=pattern)
        }


class DropTests(TestCase):
    """Conditional drops, while others write."""

    @inlineCallbacks
    def test_changed_in_the_last_moment(self) -> Any:
        """A write between the check and the drop prevents the drop."""
        store: Any = yield RedisHost(self).open()
        yield store.add([batch("a", {"k": 1})])
        (seen,) = yield store.read([key("k")])
        backend = store._backend
        is_unchanged = backend._is_unchanged

        def late(unchanged: Any) -> bool:
            held: bool = is_unchanged(unchanged)
            backend.add([batch("b", {"k": 2})])
            return held

        backend._is_unchanged = late
        self.assertFalse((yield store.drop("m", (key("k"), seen))))
        (cell,) = yield store.read([key("k")])
        self.assertEqual(cell.sum, 3)
        self.assertIn("m", (yield store.definitions()))


class PartTests(TestCase):
    """Batches with parts in several slots of a cluster."""

    def amounts(self, definition: str = "d", huge: int = 1) -> Amounts:
        """Additions in many slots, with a given amount in the last one."""
        one = {"k": Addition(1, 1, 1, 1)}
        last = {"k": Addition(huge, 1, huge, huge)}
        return Amounts(
            {"m": definition},
            [
                Increment(
                    [TimeBucket("year", str(year), None)],
                    {"m": last if year == 2030 else one},
                )
                for year in range(2000, 2031)
            ],
        )

    def batch(self, id: str, **options: Any) -> WriteBatch:
        """A batch of these amounts."""
        return WriteBatch(id, "digest", lambda: self.amounts(**options))

    @inlineCallbacks
    def test_whole_or_not_at_all(self) -> Any:
        """If a part cannot be added, no part is added."""
        store = yield ClusterHost(self).open()
        yield store.add([self.batch("a")])
        answers = yield store.add([self.batch("b", huge=2**63 - 1)])
        self.assertEqual(answers, [WriteResult(WriteOutcome.OVERFLOW, "m")])
        answers = yield store.add([self.batch("b", definition="other")])
        self.assertEqual(answers, [WriteResult(WriteOutcome.MISMATCH, "m")])
        cells = yield store.read([key("k", label=str(y)) for y in range(2000, 2031)])
        self.assertEqual({cell.sum for cell in cells}, {1})
        self.assertEqual((yield store.add([self.batch("b")])), [ADDED])

    @inlineCallbacks
    def test_resumed(self) -> Any:
        """A batch that was interrupted between two parts is completed, each part once."""
        store = yield ClusterHost(self).open()
        backend = store._backend
        whole = backend._add_script
        calls = []

        def breaks(keys: Any, args: Any) -> Any:
            calls.append(args[1])
            if calls.count("apply") == 10:
                raise ConnectionResetError("cut")
            return whole(keys=keys, args=args)

        backend._add_script = breaks
        yield self.assertFailure(store.add([self.batch("a")]), ConnectionResetError)
        backend._add_script = whole
        wanted = [key("k", label=str(year)) for year in range(2000, 2031)]
        partly = yield store.read(wanted)
        self.assertIn(None, partly)
        self.assertGreater(len(set(partly)), 1)
        self.assertEqual((yield store.add([self.batch("a")])), [ADDED])
        answers = yield store.add([self.batch("a")])
        self.assertEqual(answers[0].outcome, WriteOutcome.REPEATED)
        cells = yield store.read(wanted)
        self.assertEqual({cell.sum for cell in cells}, {1})
