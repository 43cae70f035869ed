"""
What is particular to Redis.
"""

from __future__ import annotations

import shutil
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis.cluster
import trustme
from redis import Redis
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from twisted.internet import reactor
from twisted.internet.defer import gatherResults, inlineCallbacks
from twisted.internet.task import Clock, deferLater
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
from txstathat.errors import (
    StoreError,
    StoreInterrupted,
    StoreTooNew,
    StoreUnavailable,
)
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
from txstathat.stores.redis import needs_redis
from txstathat.stores.redis.backend import RedisBackend
from txstathat.stores.redis.cells import pack_cell, read_addition
from txstathat.stores.redis.cluster.pipelines import CLIENT_ERRORS, Command, Pipelines
from txstathat.stores.redis.connections import MAX_AGE, Connections
from txstathat.stores.redis.dump import CHUNK, RedisDump
from txstathat.stores.redis.keys import KeyNames, shard_of, unit_tag
from txstathat.stores.redis.merging import MAX_CELLS, Batch, groups
from txstathat.stores.redis.server.store import ServerStore
from txstathat.stores.sums import event, merge


class UrlTests(SynchronousTestCase):
    """URLs, and what is missing for them."""

    def test_prefix(self) -> None:
        """A prefix with braces, or other special characters, is refused."""
        for prefix in ["", "{x}", "a b", "*"]:
            url = f"redis://:secret@localhost/0?prefix={prefix}"
            error = self.assertRaises(ValueError, RedisBackend, url)
            self.assertNotIn("secret", str(error))

    def test_port_of_sentinels(self) -> None:
        """Sentinels are asked at their usual port, unless the URL has another one."""
        connections = Connections("redis+sentinel://127.0.0.1,127.0.0.1:1/none/0")
        connections.open()
        self.addCleanup(connections.close)
        with self.assertRaises(RedisConnectionError) as raised:
            connections.client.ping()
        self.assertRegex(str(raised.exception), "127.0.0.1:26379: .*; 127.0.0.1:1: ")

    def test_what_is_missing(self) -> None:
        """Only where redis itself is missing, the error says to install it."""
        for name, kind in (
            ("redis", StoreError),
            ("OpenSSL", ModuleNotFoundError),
            ("zlib", ModuleNotFoundError),
        ):
            with self.assertRaises(kind), needs_redis():
                raise ModuleNotFoundError(name=name)


class CellTests(SynchronousTestCase):
    """How Redis stores the sums of a cell."""

    def test_round_trip(self) -> None:
        """What is written is read: small and large, whole and not, with an expiry."""
        amounts = [1, -(2**31), 2**31, 0.5, 2**53 - 1, 2**53, -(2**63) + 1, 1e300]
        additions = [event(amount) for amount in amounts]
        additions += [merge(one, event(0.1)) for one in additions]
        for addition in additions:
            for expiry in (None, 1_800_000_000_000):
                cell = pack_cell(addition, expiry)
                self.assertEqual(read_addition(cell), (addition, expiry))

    def test_time(self) -> None:
        """Cells expire by the clock of the server, in milliseconds."""
        client = Redis(port=shared(RedisServer).port)
        self.addCleanup(client.close)
        store = ServerStore(KeyNames("p"), client)
        for _ in range(50):
            before, now, after = client.time(), store.now(), client.time()
            self.assertLessEqual(before[0] * 1000 + before[1] // 1000, now)
            self.assertLessEqual(now, after[0] * 1000 + after[1] // 1000)


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


class PipelineTests(SynchronousTestCase):
    """Commands that are sent to the nodes of a cluster."""

    def test_a_slot_without_a_node(self) -> None:
        """A command that no node takes fails, after the others were sent."""
        port = shared(RedisCluster).servers[0].port
        client: Any = redis.cluster.RedisCluster(host="127.0.0.1", port=port)
        self.addCleanup(client.close)
        lost, other = uuid4().hex, uuid4().hex
        del client.nodes_manager.slots_cache[key_slot(lost.encode())]
        commands = [Command.of("SET", each, "1") for each in (lost, other)]
        with self.assertRaises(CLIENT_ERRORS):
            Pipelines(client).run(commands)
        self.assertEqual(client.get(other), b"1")


class SeedTests(TestCase):
    """URLs of clusters with several nodes."""

    @inlineCallbacks
    def test_one_is_down(self) -> Any:
        """A store opens while a node that its URL names is down."""
        port = shared(RedisCluster).servers[0].port
        for hosts in (
            f"127.0.0.1:{free_port()},127.0.0.1:{port}",
            f"127.0.0.1:{port},localhost:{free_port()}",
        ):
            url = f"redis+cluster://{hosts}/0?prefix={uuid4().hex}"
            store = yield open_store(url)
            self.assertEqual((yield store.add([batch("b", {"k": 1})])), [ADDED])
            yield store.close()

    def test_refused(self) -> None:
        """An address that is not valid is refused, and the message has no password."""
        for hosts in ("a:port,b", "a,,b", "u:secret@a,b:1:2"):
            error = self.assertRaises(
                ValueError, RedisBackend, f"redis+cluster://{hosts}/0"
            )
            self.assertIn("redis+cluster://HOST:6379,HOST:6379/0", str(error))
            self.assertNotIn("secret", str(error))


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
        """Hashes of time buckets expire by themselves, after the last of their cells."""
        here = RedisHost(self)
        store = yield here.open()
        metrica = Metrica("m", [("a", StoredChoiceAxis())], store)
        yield metrica.kick(a=1)
        yield store.close()  # which folds the journal
        with closing(Redis(port=here.port)) as client:
            found = {
                name.decode().rpartition("}:")[2].partition(":")[0]: client.ttl(name)
                for name in client.scan_iter(match=f'{here.prefix}:{{?"m",?\\[null]*')
            }
        day = 86_400
        expected = {
            "": -1,
            "*": -1,
            "day": 185 * day,
            "hour": 14 * day,
            "minute": day,
        }
        self.assertEqual(set(found), set(expected))
        for ending, seconds in expected.items():
            # A little longer, so that most writes need not prolong it.
            longest = seconds if seconds < 0 else 1.03 * seconds
            self.assertTrue(seconds - 5 <= found[ending] <= longest, ending)

    def test_a_hash_lasts_as_long_as_its_cells(self) -> None:
        """
        A hash outlives the last of its cells, whatever was written to it before.
        """
        here = RedisHost(self)
        backend = RedisBackend(here.url())
        backend.open()
        self.addCleanup(backend.close)
        begin = KeyNames(here.prefix).key(unit_tag("m", "k"), "")
        longest = 0
        with closing(Redis(port=here.port)) as client:
            for n, seconds in enumerate((100, 300, 300, 50, 301, 300, 400)):
                bucket = TimeBucket("minute", f"2026-11-29T14:{n % 3:02}", seconds)
                cells = {"m": {"k": Addition(1, 1, 1, 1)}}
                amounts = Amounts({"m": "d"}, [Increment([bucket], cells)])
                backend.add([WriteBatch(f"b{n}", "", lambda it=amounts: it)])
                self.assertFalse(backend.fold())
                longest = max(longest, seconds)
                left = client.pttl(f"{begin}minute:2026-11-29T14") / 1000
                self.assertTrue(longest - 5 < left < 1.03 * longest, (n, left))

    @inlineCallbacks
    def test_a_large_write_may_take_longer(self) -> Any:
        """
        A server that is busy for a second fails a small write, but not one of many
        cells that is added to them at once, which takes it longer anyway.
        """
        here = RedisHost(self)
        store = yield open_store(f"{here.url()}&socket_timeout=0.3")
        self.addCleanup(store.close)
        buckets = [TimeBucket("year", str(n), None) for n in range(2000)]
        huge = Addition(2**62, 1, 2**62, 2**62)
        cells = {"m": {str(n): huge for n in range(60)}}
        large = Amounts({"m": "d"}, [Increment(buckets, cells)])
        with closing(Redis(port=here.port)) as client:
            client.client_pause(1000, all=False)
            with self.assertRaises(StoreUnavailable):
                yield store.add([batch("small", {"k": 1})])
            client.client_pause(1000, all=False)
            (result,) = yield store.add([WriteBatch("large", "", lambda: large)])
        self.assertEqual(result, ADDED)


class GroupTests(SynchronousTestCase):
    """Which batches are merged into one write."""

    def groups(self, *names: range) -> list[int]:
        """
        Group batches, each of which changes ten cells of each of its names. Returns the
        number of batches in each group.
        """
        buckets = [TimeBucket("year", str(n), None) for n in range(10)]
        batches = []
        for number, some in enumerate(names):
            cells = {f"m{n}": {"k": Addition(1, 1, 1, 1)} for n in some}
            amounts = Amounts(dict.fromkeys(cells, "d"), [Increment(buckets, cells)])
            write = WriteBatch(str(number), "", lambda it=amounts: it)
            batches.append(Batch(write, amounts))
        return [len(group.batches) for group in groups(batches)]

    def test_by_cells(self) -> None:
        """As many as change few cells together: those in common count once."""
        few = MAX_CELLS // 10
        self.assertEqual(self.groups(*[range(few)] * 30), [30])
        self.assertEqual(
            self.groups(range(few), range(1, few + 1), range(1, 2)), [1, 2]
        )
        parts = [range(n, n + few // 4) for n in range(0, 2 * few, few // 4)]
        self.assertEqual(self.groups(*parts), [4, 4])

    def test_large(self) -> None:
        """A batch with too many cells is written alone."""
        few = MAX_CELLS // 10
        self.assertEqual(self.groups(range(few + 1), range(1)), [1, 1])


class CountTests(SynchronousTestCase):
    """How many definitions there are, while others write."""

    def test_created_meanwhile(self) -> None:
        """What is created during a count, and is not to be counted, is not missing."""

        class Meanwhile(RedisBackend):
            """Others create definitions before those that do not count are looked up."""

            def definitions(self, names: Sequence[str] | None) -> dict[str, str]:
                self.add([batch("later", {"k": 1}, name="later")])
                return super().definitions(names)

        port = shared(RedisServer).port
        backend = Meanwhile(f"redis://127.0.0.1:{port}/0?prefix={uuid4().hex}")
        backend.open()
        self.addCleanup(backend.close)
        backend.add([batch("first", {"k": 1}, name="first")])
        self.assertEqual(backend.count_definitions(["later"]), 1)


class DropTests(TestCase):
    """Conditional drops, while others write."""

    @inlineCallbacks
    def test_changed_at_the_same_moment(self) -> Any:
        """
        A write at the moment of a conditional drop prevents it, or comes after it: its
        count is never lost, also on a cluster.
        """
        for host in (RedisHost, ClusterHost):
            here = host(self)
            first, second = yield gatherResults([here.open(), here.open()])
            for n in range(30):
                yield first.add([batch(f"a{n}", {"k": 1})])
                (seen,) = yield first.read([key("k")])
                dropped, _ = yield gatherResults(
                    [
                        first.drop("m", (key("k"), seen)),
                        second.add([batch(f"b{n}", {"k": 1})]),
                    ]
                )
                (cell,) = yield first.read([key("k")])
                self.assertEqual(cell.sum, 1 if dropped else seen.sum + 1)
                self.assertEqual((yield first.definitions()), {"m": "d"})
            self.assertTrue((yield first.drop("m")))
            self.assertEqual((yield first.read([key("k")])), [None])


class SlotTests(TestCase):
    """Slots that move between the nodes of a cluster."""

    def test_half_moved(self) -> Any:
        """
        While a part of a stat's keys is on another node, a kick waits; then it is added
        once.
        """
        return self.half_moved(lambda keys: keys.key(unit_tag("m", "[]"), ""))

    def test_definitions_half_moved(self) -> Any:
        """The same for the keys with its definition."""
        return self.half_moved(lambda keys: keys.names(shard_of("m")))

    @inlineCallbacks
    def half_moved(self, key_of: Callable[[KeyNames], str]) -> Any:
        """Kick while only this key of a slot has been moved."""
        here, cluster = ClusterHost(self), shared(RedisCluster)
        store = yield open_store(here.url())
        self.addCleanup(store.close)
        metrica = Metrica("m", [], store)
        yield metrica.kick()
        first = key_of(KeyNames(here.prefix))
        slot = key_slot(first.encode())
        source = cluster.server_of(first)
        to = next(one for one in cluster.servers if one is not source)
        old, new = (Redis(port=one.port, decode_responses=True) for one in (source, to))
        self.addCleanup(old.close)
        self.addCleanup(new.close)
        ids = [client.execute_command("CLUSTER MYID") for client in (old, new)]
        new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[0])
        old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[1])

        def move(key: str) -> None:
            old.execute_command("MIGRATE", "127.0.0.1", to.port, key, 0, 5000)

        move(first)
        kicked = metrica.kick()
        yield deferLater(reactor, 1.0)
        self.assertNoResult(kicked)
        for left in old.execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
            move(left)
        for server in (to, source, *cluster.servers):
            server.command("CLUSTER", "SETSLOT", str(slot), "NODE", ids[1])
        yield kicked
        self.assertEqual((yield metrica.total()), 2)
        self.assertEqual((metrica.lost, metrica.written), (0, 2))


class DumpTests(TestCase):
    """Reading the whole store."""

    @inlineCallbacks
    def test_expired(self) -> Any:
        """What has expired is not exported, even before it is deleted."""
        here = RedisHost(self)
        store = yield here.open()
        short = batch("a", {"k": 1}, label="2014-01-01", ttl=0.05)
        yield store.add([short, batch("b", {"k": 1}, label="2014-01-02")])
        while (yield store.read([key("k", label="2014-01-01")]))[0] is not None:
            yield deferLater(reactor, 0.01, lambda: None)
        with closing(RedisDump(here.url(), time.time)) as dump:
            dump.open()
            labels = [cell.label for cell in dump.cells()]
        self.assertEqual(labels, ["2014-01-02"])

    @inlineCallbacks
    def test_memory(self) -> Any:
        """The memory of an export follows a few stats, not the store."""
        buckets = [TimeBucket("day", f"2014-01-{n:02}", None) for n in range(1, 29)]
        here = RedisHost(self)
        store = yield here.open()
        cells = {f"stat {n}": {"k": Addition(1, 1, 1, 1)} for n in range(16 * CHUNK)}
        amounts = Amounts(dict.fromkeys(cells, "d"), [Increment(buckets, cells)])
        yield store.add([WriteBatch("b", "", partial(_same, amounts))])
        with closing(RedisDump(here.url(), time.time)) as dump:
            dump.open()
            tracemalloc.start()
            self.addCleanup(tracemalloc.stop)
            found = sum(1 for _ in dump.cells())
            _, peak = tracemalloc.get_traced_memory()
        self.assertEqual(found, len(cells) * len(buckets))
        # All cells would take 10 MiB.
        self.assertLess(peak, 2**20)


def _same(amounts: Amounts) -> Amounts:
    return amounts


class PartTests(TestCase):
    """Batches with parts in several slots of a cluster."""

    #: The units of the batches, which are on all nodes.
    units = [str(n) for n in range(40)]

    def amounts(self, definition: str = "d", huge: int = 1) -> Amounts:
        """Additions in many slots, with a given amount in the last one."""
        cells = {unit: Addition(1, 1, 1, 1) for unit in self.units}
        cells[self.units[-1]] = Addition(huge, 1, huge, huge)
        buckets = [TimeBucket("year", "2014", None)]
        return Amounts({"m": definition}, [Increment(buckets, {"m": cells})])

    def batch(self, id: str, **options: Any) -> WriteBatch:
        """A batch of these amounts."""
        return WriteBatch(id, "digest", lambda: self.amounts(**options))

    @inlineCallbacks
    def sums(self, store: Any) -> Any:
        """The sum of each unit; None without one."""
        cells = yield store.read([key(unit) for unit in self.units])
        return [cell and cell.sum for cell in cells]

    @inlineCallbacks
    def test_whole_or_not_at_all(self) -> Any:
        """If a part cannot be added, no part is added."""
        store = yield ClusterHost(self).open()
        yield store.add([self.batch("a")])
        answers = yield store.add([self.batch("b", huge=2**63 - 1)])
        self.assertEqual(answers, [WriteResult(WriteOutcome.OVERFLOW, "m")])
        answers = yield store.add([self.batch("b", definition="other")])
        self.assertEqual(answers, [WriteResult(WriteOutcome.MISMATCH, "m")])
        self.assertEqual(set((yield self.sums(store))), {1})
        self.assertEqual((yield store.add([self.batch("b")])), [ADDED])

    @inlineCallbacks
    def test_resumed(self) -> Any:
        """A batch that was interrupted between two parts is completed, each part once."""
        here = ClusterHost(self)
        store = yield here.open()
        keys = KeyNames(here.prefix)
        cluster = shared(RedisCluster)
        # A node that has some of the units, and neither the id nor the definition.
        needed = {
            cluster.server_of(keys.batch("a")),
            cluster.server_of(keys.names(shard_of("m"))),
        }
        full = next(one for one in cluster.servers if one not in needed)
        full.command("CONFIG", "SET", "maxmemory", "1")
        try:
            yield self.assertFailure(store.add([self.batch("a")]), StoreInterrupted)
        finally:
            full.command("CONFIG", "SET", "maxmemory", "0")
        self.assertEqual(set((yield self.sums(store))), {1, None})
        self.assertEqual((yield store.add([self.batch("a")])), [ADDED])
        answers = yield store.add([self.batch("a")])
        self.assertEqual(answers, [WriteResult(WriteOutcome.REPEATED)])
        self.assertEqual(set((yield self.sums(store))), {1})

    @inlineCallbacks
    def test_merged(self) -> Any:
        """
        Batches that are written together are added each once, whichever of them were
        added before.
        """
        for host in (RedisHost, ClusterHost):
            store = yield host(self).open()
            yield store.add([batch("a", {"k": 1, "j": 10}, digest="one")])
            answers = yield store.add(
                [
                    batch("b", {"k": 100}),
                    batch("a", {"k": 1, "j": 10}, digest="one"),
                    batch("c", {"j": 1000, "i": 0.5}),
                    batch("a", {"k": 5}, digest="two"),
                ]
            )
            outcomes = [answer.outcome for answer in answers]
            self.assertEqual(
                outcomes,
                [
                    WriteOutcome.ADDED,
                    WriteOutcome.REPEATED,
                    WriteOutcome.ADDED,
                    WriteOutcome.CONFLICT,
                ],
            )
            cells = yield store.read([key("k"), key("j"), key("i")])
            self.assertEqual([cell.sum for cell in cells], [101, 1010, 0.5])

    @inlineCallbacks
    def test_many_ids(self) -> Any:
        """
        Each of many batches of a stat is added once, in whatever groups they are
        written.
        """
        for host in (RedisHost, ClusterHost):
            store = yield host(self).open()
            batches = [batch(str(number), {"k": 1}) for number in range(1500)]
            for first in range(0, 1000, 50):
                answers = yield store.add(batches[first : first + 50])
                self.assertEqual(answers, [ADDED] * 50)
            # Every third one, among them old and new ones.
            answers = yield store.add(batches[::3][::-1])
            repeated = WriteResult(WriteOutcome.REPEATED)
            self.assertEqual(answers.count(repeated), 334)
            self.assertEqual(answers.count(ADDED), 166)
            self.assertEqual((yield store.read([key("k")]))[0].sum, 1166)

    @inlineCallbacks
    def test_one_of_many_refused(self) -> Any:
        """A batch that cannot be added does not keep others from being added with it."""
        for host in (RedisHost, ClusterHost):
            store = yield host(self).open()
            yield store.add([batch("a", {"k": 2**62})])
            answers = yield store.add(
                [
                    batch("b", {"k": 1}),
                    batch("c", {"k": 2**62 - 1, "j": 1}),
                    batch("d", {"k": 1}, definition="other"),
                    batch("e", {"k": 1}, name="n"),
                ]
            )
            outcomes = [answer.outcome for answer in answers]
            self.assertEqual(
                outcomes,
                [
                    WriteOutcome.ADDED,
                    WriteOutcome.OVERFLOW,
                    WriteOutcome.MISMATCH,
                    WriteOutcome.ADDED,
                ],
            )
            cells = yield store.read([key("k"), key("j"), key("k", name="n")])
            self.assertEqual(
                [cell and cell.sum for cell in cells], [2**62 + 1, None, 1]
            )
