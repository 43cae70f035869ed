"""
Disks and files that fail at a bad moment.
"""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from tests.fixtures.delivery import (
    AWAY,
    HANG,
    OK,
    DeliveryTestCase,
    SlowWorker,
    run,
)
from tests.fixtures.spool_cases import CLIENT, FolderTestCase, batch
from txstathat import Count
from txstathat.delivery.backlog import DISK_RETRY, Backlog
from txstathat.delivery.batch import PAGE_SIZE, SealedBatch
from txstathat.delivery.ledger import Ledger
from txstathat.delivery.open_batch import OpenBatch
from txstathat.delivery.process.worker import InlineWorker
from txstathat.delivery.spool.file import SpoolFile
from txstathat.delivery.spool.folder import SpoolFolder
from txstathat.delivery.spool.locks import FileLock
from txstathat.delivery.spool.results import Adopted


def damage(path: str) -> None:
    """Damage every third page in the second half of a spool file."""
    db = sqlite3.connect(path)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    with open(path, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        for page in range(size // PAGE_SIZE // 2, size // PAGE_SIZE, 3):
            file.seek(page * PAGE_SIZE)
            file.write(b"\xff" * 100)


class FailingFolder(SpoolFolder):
    """
    A folder on a disk that cannot be written at times.
    """

    fails = False

    def write(
        self, finished: Iterable[SealedBatch], new: Sequence[SealedBatch], now: float
    ) -> None:
        if self.fails:
            raise OSError("the disk fails")
        super().write(finished, new, now)


class BacklogTests(FolderTestCase):
    """
    A backlog whose disk fails for a while.
    """

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        seconds = self.clock.seconds
        self.disk = FailingFolder(
            self.path,
            fingerprint=CLIENT.fingerprint,
            max_bytes=1 << 26,
            max_age=1e9,
            at_most_once=False,
        )
        self.backlog = Backlog(
            Ledger(seconds, seconds, lambda: (0, 0, 0)),
            self.disk,
            max_pending=1000,
            max_age=1e9,
            read_ahead=64,
            steady=seconds,
            monotonic=seconds,
            wake=lambda: None,
        )
        self.backlog.start(InlineWorker())

    def heal(self) -> None:
        """Let the disk work again, and be tried again."""
        self.disk.fails = False
        self.clock.advance(DISK_RETRY)
        self.backlog.work()

    def test_finished_batches_are_removed_later(self) -> None:
        """A delivered batch that could not be removed is removed once the disk works."""
        self.backlog.add([batch(1), batch(2)])
        first = self.backlog.next()
        assert first is not None
        self.disk.fails = True
        self.backlog.settle(first, "delivered")
        for _ in range(3):
            self.clock.advance(DISK_RETRY)
            self.backlog.work()
        self.heal()
        self.successResultOf(self.backlog.stop())
        folder = self.folder()
        self.assertEqual(self.adopt(folder), Adopted(1, 2))
        (left,) = folder.load(9)
        self.assertNotEqual(left.id, first.id)

    def test_order(self) -> None:
        """Batches that the disk did not take at first keep their order."""
        self.disk.fails = True
        for number in (1, 2, 3):
            self.backlog.add([batch(number)])
        self.clock.advance(DISK_RETRY)
        self.backlog.work()
        self.backlog.add([batch(4), batch(5)])
        self.heal()
        order = []
        while (each := self.backlog.next()) is not None:
            order.append(each.number)
        self.assertEqual(order, [1, 2, 3, 4, 5])
        self.successResultOf(self.backlog.stop())


class SlowDiskTests(FolderTestCase):
    """
    A backlog whose disk takes ten seconds for each job.
    """

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        seconds = self.clock.seconds
        self.ledger = Ledger(seconds, seconds, lambda: (0, 0, 0))
        self.backlog = Backlog(
            self.ledger,
            self.folder(),
            max_pending=10,
            max_age=1e9,
            read_ahead=64,
            steady=seconds,
            monotonic=seconds,
            wake=lambda: None,
        )
        self.backlog.start(SlowWorker(self.clock, 10))
        run(self.clock, 10)
        # The job of the first batch runs from here on.
        self.backlog.add([batch(1)])

    def test_sent_from_memory(self) -> None:
        """What fills the memory is sent before it is on disk, and nothing is dropped."""
        for number in range(2, 6):
            self.backlog.add([batch(number)])
            self.assertEqual(self.backlog.due, math.inf)
            self.assertIsNone(self.backlog.next())
        sent = []
        for number in range(6, 40):
            self.backlog.add([batch(number)])
            self.assertEqual(self.backlog.due, -math.inf)
            while (each := self.backlog.next()) is not None:
                sent.append(each.number)
                self.backlog.settle(each, "delivered")
        self.assertEqual(sent, list(range(2, 36)))
        self.assertEqual(self.ledger.dropped, {})
        for _ in range(4):
            run(self.clock, 10)
            while (each := self.backlog.next()) is not None:
                sent.append(each.number)
                self.backlog.settle(each, "delivered")
        self.assertEqual(sorted(sent), list(range(1, 40)))

    def test_end(self) -> None:
        """What is in memory when the program no longer waits for the disk is counted."""
        for number in range(2, 6):
            self.backlog.add([batch(number)])
        stopped = self.backlog.stop()
        run(self.clock, 5)
        self.assertEqual(self.ledger.dropped, {})
        stopped.cancel()
        self.failureResultOf(stopped, CancelledError)
        # Each batch is two calls. The disk may still store the first one.
        self.assertEqual(self.ledger.dropped, {"shutdown": 8})
        self.assertEqual(self.backlog.calls, 2)
        run(self.clock, 10)
        self.assertEqual(self.backlog.calls, 2)

    def test_parts_are_written_first(self) -> None:
        """Parts of a batch that is on disk are not sent before they are there."""
        run(self.clock, 20)
        whole = self.backlog.next()
        assert whole is not None
        self.backlog.add([batch(2)])
        parts = [batch(1) for _ in range(6)]
        for part in parts:
            part.home = whole.place[0] if whole.place else None
        self.backlog.split(whole, parts, {})
        self.assertIsNone(self.backlog.next())
        run(self.clock, 30)
        order = []
        while (each := self.backlog.next()) is not None:
            order.append(each.number)
        self.assertEqual(order, [2, 1, 1, 1, 1, 1, 1])


class FileTests(FolderTestCase):
    """
    Single files.
    """

    def test_power_failure(self) -> None:
        """Each transaction is on the disk itself before it is taken as done."""
        os.mkdir(self.path, 0o700)
        spool = SpoolFile(os.path.join(self.path, "a.sqlite"))
        self.addCleanup(spool.close)
        (level,) = spool._db.execute("PRAGMA synchronous").fetchone()
        self.assertEqual(level, 2, "2 is FULL")

    def test_all_or_nothing(self) -> None:
        """A transaction that fails changes nothing, and the next one is made."""
        os.mkdir(self.path, 0o700)
        spool = SpoolFile(os.path.join(self.path, "a.sqlite"))
        self.addCleanup(spool.close)
        with self.assertRaises(OSError), spool.transaction():
            spool.add([batch(1)])
            raise OSError("the disk fails")
        self.assertEqual((spool.rows, spool.unread, spool.bytes), (0, 0, 0))
        with spool.transaction():
            spool.add([batch(2)])
        found = spool.read()
        assert found is not None
        self.assertEqual(found[0].number, 2)
        self.assertIsNone(spool.read())

    def test_a_lock_that_is_removed(self) -> None:
        """A lock whose file was removed, or replaced, while it was taken is not held."""
        os.mkdir(self.path, 0o700)
        path = os.path.join(self.path, "a.lock")

        def replace(fd: int) -> None:
            os.unlink(path)
            Path(path).touch()

        def remove(fd: int) -> None:
            os.unlink(path)

        for lock in (replace, remove):
            before = len(os.listdir("/proc/self/fd"))
            self.assertIsNone(FileLock.acquire(path, lock=lock))
            self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        held = FileLock.acquire(path)
        assert held is not None
        self.assertIsNone(FileLock.acquire(path))
        held.release()
        self.assertTrue(os.path.exists(path))

    def test_a_lock_of_a_parent(self) -> None:
        """A forked child, which does not have the lock, does not remove its file."""
        os.mkdir(self.path, 0o700)
        path = os.path.join(self.path, "a.lock")
        lock = FileLock.acquire(path)
        assert lock is not None
        lock.after_fork()
        lock.release(remove=True)
        self.assertTrue(os.path.exists(path))

    def test_damage_in_use_reads_nothing_twice(self) -> None:
        """After a file is damaged in use, no batch that was read is read again."""
        folder = self.folder()
        batches = [batch(number, 50) for number in range(1, 200)]
        folder.write([], batches, 1000)
        (name,) = self.files()
        loaded = folder.load(64)
        self.assertEqual(len(loaded), 64)
        path = os.path.join(self.path, name)
        damage(path)
        while folder.unread:
            loaded += folder.load(64)
        lost = folder.take_dropped()
        dropped = sum(each.batches for each in lost)
        self.assertGreater(dropped, 0)
        self.assertEqual(sum(each.calls for each in lost), 100 * dropped)
        self.assertGreater(len(loaded), 64)
        self.assertEqual(len({each.id for each in loaded}), len(loaded))
        self.assertEqual(len(loaded) + dropped, len(batches))


class DamagedInUseTests(DeliveryTestCase):
    """
    A service whose file is damaged while it is used.
    """

    def test_nothing_is_lost_in_silence(self) -> None:
        """Each call is delivered once, or counted as damaged, also after a restart."""
        place = os.path.join(self.mktemp(), "spool")
        os.makedirs(os.path.dirname(place))
        self.server.mood = lambda: AWAY
        first = self.make(spool=place, max_batch=50)
        for number in range(5000):
            first.count(f"stat {number}")
        run(self.clock, 20)
        (name,) = [name for name in os.listdir(place) if name.endswith(".sqlite")]
        damage(os.path.join(place, name))
        # Some are delivered, so that more is read.
        tries = len(self.server.ids)
        self.server.mood = lambda: OK if len(self.server.ids) < tries + 50 else AWAY
        run(self.clock, 300, 1)
        self.assertIn("damaged", first.health.dropped)
        first.stopService()
        run(self.clock, 8)
        self.server.mood = lambda: OK
        second = self.make(spool=place)
        run(self.clock, 100)
        self.assertEqual(second.health.pending, 0)
        self.assertEqual(set(self.server.sums.values()), {1})
        lost = first.health.dropped["damaged"]
        self.assertGreater(second.health.recovered, 0)
        self.assertEqual(len(self.server.sums) + lost, 5000)


class OpenBatchTests(DeliveryTestCase):
    """
    The times of counts.
    """

    def test_fractions_carry_the_start(self) -> None:
        """Counts of any type without a time are one point, at the batch's start."""
        opened = OpenBatch(lambda stat: None)
        for second in (100, 101, 104):
            opened.count("a", 0.5, None, second)
            opened.count("b", 1, None, second)
        opened.count("a", 0.25, 103, 104)
        self.assertEqual(
            opened.take(),
            [
                (Count("b", 3, 100), 3),
                (Count("a", 1.5, 100), 3),
                (Count("a", 0.25, 103), 1),
            ],
        )
        opened.count("a", 0.5, None, 105)
        self.assertEqual(opened.take(), [(Count("a", 0.5, 105), 1)])


class PaceTests(DeliveryTestCase):
    """
    How much a server in trouble gets.
    """

    def test_one_at_a_time(self) -> None:
        """During an outage at most one batch is in flight."""
        service = self.make(max_batch=1)
        self.server.mood = lambda: (503, b"", {})
        for number in range(40):
            service.count(f"s{number}")
        run(self.clock, 20)
        self.server.mood = lambda: HANG
        before = len(self.server.ids)
        # It waits for at most 16 seconds now, and a request may take 10.
        for _ in range(60):
            run(self.clock, 1)
            self.assertLessEqual(len(service._loop.sender.in_flight), 1)
        self.assertGreater(len(self.server.ids), before)
        self.server.mood = lambda: OK
        run(self.clock, 700)
        self.assertEqual(len(self.server.sums), 40)

    def test_the_slowest_pace_has_jitter(self) -> None:
        """With a wrong key, senders come back at different moments, after minutes."""
        self.server.mood = lambda: (403, b'{"status": 403, "msg": "no"}', {})
        delays = []
        for seed in range(20):
            service = self.make(seed=seed)
            before = len(self.server.times)
            service.count("a")
            service.flush()
            run(self.clock, 310, 1)
            first, second, *_ = self.server.times[before:]
            delays.append(second - first)
            self.successResultOf(service.stopService())
        self.assertTrue(all(239 <= delay <= 301 for delay in delays), delays)
        self.assertGreater(max(delays) - min(delays), 30)
        self.assertGreater(len({round(delay) for delay in delays}), 10)
