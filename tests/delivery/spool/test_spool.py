"""
The spool: files, locks, adoption, damage, and disks that fail.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from tests.fixtures import ROOT
from tests.fixtures.delivery import (
    AWAY,
    FULL,
    OK,
    MemoryServer,
    balanced,
    make_service,
    run,
)
from tests.fixtures.spool_cases import CLIENT, STEM, FolderTestCase, batch
from tests.fixtures.support import logged
from txstathat.delivery.batch import PAGE_SIZE, SealedBatch
from txstathat.delivery.spool.locks import FileLock
from txstathat.delivery.spool.owner import SpoolOwner
from txstathat.delivery.spool.recovery import MAX_DAMAGED_FILES
from txstathat.delivery.spool.results import Adopted
from txstathat.delivery.spool.salvage import read_intact_batches


class FolderTests(FolderTestCase):
    """
    One process's files.
    """

    def test_round_trip(self) -> None:
        """Batches are read in order, once, and removed when they are finished."""
        folder = self.folder()
        batches = [batch(n, points=n) for n in range(1, 6)]
        folder.write([], batches, 1000)
        loaded = folder.load(3) + folder.load(3)
        self.assertEqual([b.id for b in loaded], [b.id for b in batches])
        self.assertEqual([b.payload for b in loaded], [b.payload for b in batches])
        self.assertEqual(
            [list(b.calls) for b in loaded], [[2] * n for n in range(1, 6)]
        )
        self.assertEqual(folder.load(3), [])
        folder.write(loaded[:4], [], 1000)
        folder.close()
        again = self.folder()
        self.assertEqual(self.adopt(again), Adopted(1, 10, 0))
        self.assertEqual([b.id for b in again.load(9)], [batches[4].id])

    def test_modes(self) -> None:
        """Nobody else can read what is counted."""
        before = os.umask(0)
        try:
            folder = self.folder()
            folder.write([], [batch(1)], 1000)
        finally:
            os.umask(before)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o700)
        names = os.listdir(self.path)
        self.assertEqual(len(names), 4)
        for name in names:
            mode = os.stat(os.path.join(self.path, name)).st_mode
            self.assertEqual(stat.S_IMODE(mode), 0o600, name)

    def test_no_key(self) -> None:
        """There is no key in any file."""
        clock = Clock()
        server = MemoryServer(clock)
        server.mood = lambda: AWAY
        service = make_service(clock, server, spool=self.path)
        service.startService()
        service.count("a stat's name")
        run(clock, 6)
        content = b"".join(
            Path(self.path, name).read_bytes() for name in os.listdir(self.path)
        )
        self.assertIn(b"stat=a+stat%27s+name", content)
        self.assertNotIn(b"canary", content)
        service.stopService()
        run(clock, 8)

    def test_empty(self) -> None:
        """A process that has nothing left leaves no file."""
        folder = self.folder()
        folder.write([], [batch(1)], 1000)
        folder.write(folder.load(9), [], 1000)
        folder.close()
        self.assertEqual(os.listdir(self.path), [])

    def test_bound(self) -> None:
        """Without room the oldest batches are dropped and counted; files stay in bounds."""
        folder = self.folder(max_bytes=1_000_000)
        written = 0
        for n in range(1, 200):
            folder.write([], [batch(n, 500)], 1000)
            written += 1000
            total = sum(
                os.path.getsize(os.path.join(self.path, f)) for f in self.files()
            )
            self.assertLessEqual(total, 1_000_000 + 300_000)
        self.assertLessEqual(folder.bytes, 1_000_000)
        lost = folder.take_dropped()
        self.assertEqual({each.reason for each in lost}, {"full"})
        self.assertEqual([each.number for each in lost], list(range(1, len(lost) + 1)))
        self.assertEqual(folder.unread, 199 - len(lost))
        loaded_in_all = []
        while loaded := folder.load(9):
            loaded_in_all += loaded
        self.assertEqual(loaded_in_all[-1].number, 199)
        self.assertEqual(
            sum(each.calls for each in lost) + sum(b.total for b in loaded_in_all),
            written,
        )

    def test_too_large_for_the_bound(self) -> None:
        """Batches that do not fit at all are dropped at once."""
        folder = self.folder(max_bytes=70_000)
        folder.write([], [batch(n, 500) for n in range(1, 10)], 1000)
        lost = folder.take_dropped()
        numbers = list(range(9 - folder.unread, 0, -1))
        self.assertEqual([each.number for each in lost], numbers)
        self.assertEqual(len(lost) + folder.unread, 9)

    def test_age(self) -> None:
        """Batches that are too old are dropped and counted."""
        folder = self.folder(max_age=100)
        folder.write([], [batch(1, created=1000), batch(2, created=1090)], 1090)
        folder.write([], [batch(3, created=1150)], 1150)
        self.assertEqual(
            [(x.number, x.reason) for x in folder.take_dropped()], [(1, "old")]
        )
        self.assertEqual([b.number for b in folder.load(9)], [2, 3])

    def test_at_most_once(self) -> None:
        """A batch that another process may have sent is dropped; the others are sent."""
        folder = self.folder(at_most_once=True)
        folder.write([], [batch(n) for n in range(1, 6)], 1000)
        loaded = folder.load(3)
        folder.close(loaded[2:])
        again = self.folder(at_most_once=True)
        self.assertEqual(self.adopt(again).calls, 10)
        ids = [b.id for b in again.load(9)]
        self.assertEqual(len(ids), 3)
        self.assertEqual(ids[0], loaded[2].id)
        lost = again.take_dropped()
        self.assertEqual([(x.calls, x.reason) for x in lost], [(2, "ambiguous")] * 2)

    def test_vanished(self) -> None:
        """A folder that cannot be created is an error each time, until it can."""
        Path(self.path).write_text("in the way")
        folder = self.folder()
        for _ in range(3):
            with self.assertRaises(OSError):
                folder.write([], [batch(1)], 1000)
        os.unlink(self.path)
        folder.write([], [batch(1)], 1000)
        self.assertEqual(len(folder.load(9)), 1)


HOLDER = """
import os, sys
from tests.fixtures.spool_cases import batch
from tests.fixtures.spool_cases import CLIENT
from txstathat.delivery.spool.folder import SpoolFolder
folder = SpoolFolder(
    sys.argv[1],
    fingerprint=CLIENT.fingerprint,
    max_bytes=1 << 26,
    max_age=1e9,
    at_most_once=False,
)
folder.write([], [batch(n) for n in range(1, 4)], 1000)
if sys.argv[2] == "fork":
    if os.fork() == 0:
        os.write(1, b"child\\n")
        sys.stdin.read()
        os._exit(0)
os.write(1, b"ready\\n")
sys.stdin.read()
"""


class SharingTests(FolderTestCase):
    """
    Several processes on one folder.
    """

    def holder(self, how: str = "") -> Any:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, self.path, how],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

        def end() -> None:
            process.kill()
            process.communicate()

        self.addCleanup(end)
        lines = [process.stdout.readline() for _ in range(2 if how else 1)]  # type: ignore[union-attr]
        self.assertIn("ready\n", lines)
        return process

    def test_the_living_keep_theirs(self) -> None:
        """A file of a living process is left alone; that of a dead process is adopted."""
        process = self.holder()
        folder = self.folder()
        self.assertEqual(self.adopt(folder), Adopted())
        process.kill()
        process.wait()
        self.assertEqual(self.adopt(folder), Adopted(3, 6, 0))
        loaded = folder.load(9)
        self.assertEqual(len(loaded), 3)
        folder.write(loaded, [], 1000)
        # Only the adopter's own file is left.
        self.assertEqual(len(self.files()), 1)
        self.assertEqual(len(self.files(".lock")), 1)

    def test_adopted_once(self) -> None:
        """Of several processes only one adopts a file."""
        process = self.holder()
        process.kill()
        process.wait()
        folders = [self.folder() for _ in range(4)]
        found = [self.adopt(folder).batches for folder in folders]
        self.assertEqual(found, [3, 0, 0, 0])

    def test_forked_child(self) -> None:
        """A child that outlives its parent does not hold the parent's lock."""
        process = self.holder("fork")
        process.kill()
        process.wait()
        self.assertEqual(self.adopt(self.folder()), Adopted(3, 6, 0))

    def test_oldest_first(self) -> None:
        """Batches of earlier processes are sent before new ones."""
        first = self.folder()
        first.write([], [batch(1)], 1000)
        first.close()
        second = self.folder()
        second.write([], [batch(7, 2)], 1000)
        self.adopt(second)
        self.assertEqual([b.payload.points for b in second.load(9)], [1, 2])

    def test_leftover_lock(self) -> None:
        """A lock without a file is removed."""
        os.mkdir(self.path, 0o700)
        name = SpoolOwner(CLIENT.fingerprint).new_stem() + ".lock"
        lock = FileLock.acquire(os.path.join(self.path, name))
        assert lock is not None
        folder = self.folder()
        self.adopt(folder)
        self.assertEqual(len(self.files(".lock")), 2)
        lock.release()
        self.adopt(folder)
        self.assertEqual(len(self.files(".lock")), 1)


class DamageTests(FolderTestCase):
    """
    Files that are not as they were written.
    """

    def written(self, sizes: list[int]) -> tuple[bytes, list[SealedBatch]]:
        folder = self.folder()
        batches = [batch(n, size) for n, size in enumerate(sizes, 1)]
        # Some are gone again, so that there are free pages with old content.
        gone = [batch(n, 300) for n in range(100, 104)]
        folder.write([], [gone[0], batches[0], *gone[1:], *batches[1:]], 1000)
        gone_ids = {b.id for b in gone}
        loaded = folder.load(99)
        folder.write([b for b in loaded if b.id in gone_ids], [], 1000)
        folder.close()
        (name,) = self.files()
        content = Path(self.path, name).read_bytes()
        shutil.rmtree(self.path)
        return content, batches

    def recover(self, content: bytes) -> tuple[set[str], Adopted]:
        os.mkdir(self.path, 0o700)
        Path(self.path, STEM + ".sqlite").write_bytes(content)
        folder = self.folder()
        found = self.adopt(folder)
        ids = set()
        while loaded := folder.load(99):
            ids |= {b.id for b in loaded}
        self.assertEqual(found.batches, len(ids) + len(folder.take_dropped()))
        # The folder can be used as ever.
        folder.write([], [batch(999)], 1000)
        self.assertEqual(len(folder.load(9)), 1)
        folder.close()
        shutil.rmtree(self.path)
        return ids, found

    def pages(self, content: bytes, batches: list[SealedBatch]) -> list[set[int]]:
        """
        For each batch the pages that any of its bytes are on, old copies included:
        SQLite moves rows from page to page.
        """
        pages = []
        for each in batches:
            body = each.payload.body
            parts = [body[i : i + 64] for i in range(0, max(1, len(body) - 64), 32)]
            where: set[int] = set()
            for part in (each.id.encode(), *parts):
                found = content.find(part)
                while found >= 0:
                    where.add(found // PAGE_SIZE)
                    found = content.find(part, found + 1)
            pages.append(where)
        return pages

    def test_damage(self) -> None:
        """The program starts, and only batches on a damaged page are lost."""
        content, batches = self.written([1, 1, 400, 1, 300, 1, 1, 700, 1, 50, 50, 50])
        pages = self.pages(content, batches)
        random_ = random.Random(7)
        cases = 10_000 if FULL else 250
        lost_in_all = 0
        for case in range(cases):
            damaged = bytearray(content)
            if case % 4:
                places = [random_.randrange(len(content)) for _ in range(case % 3 + 1)]
                for place in places:
                    damaged[place] ^= 1 << random_.randrange(8)
                hurt = {place // PAGE_SIZE for place in places}
            else:
                length = random_.randrange(1, len(content))
                del damaged[length:]
                hurt = set(range(length // PAGE_SIZE, len(content) // PAGE_SIZE + 1))
            ids, found = self.recover(bytes(damaged))
            lost = 0
            for each, where in zip(batches, pages, strict=True):
                if each.id not in ids:
                    lost += 1
                    self.assertTrue(where & hurt, (case, each.number, where, hurt))
            # Nothing that was finished comes back, unless the list of free pages is hurt.
            ghosts = ids - {each.id for each in batches}
            self.assertTrue(not ghosts or found.damaged, case)
            self.assertTrue(not lost or found.damaged, (case, lost, found))
            lost_in_all += lost
        self.assertGreater(lost_in_all, 0)

    def test_set_aside(self) -> None:
        """A damaged file is renamed and reported, and does no further harm."""
        content, batches = self.written([1, 300, 1])
        place = content.find(batches[1].payload.body[2000:2064])
        damaged = content[:place] + b"\xff" + content[place + 1 :]
        os.mkdir(self.path, 0o700)
        Path(self.path, STEM + ".sqlite").write_bytes(damaged)
        clock = Clock()
        clock.advance(1_000_000)
        server = MemoryServer(clock)
        with logged() as log:
            service = make_service(clock, server, spool=self.path, max_age=1e9)
            service.startService()
            run(clock, 2)
        self.assertEqual(service.health.damaged, 1)
        self.assertEqual(service.health.recovered, 4)
        self.assertEqual(service.health.delivered, 4)
        self.assertTrue(balanced(service.health))
        self.assertIn("set aside", "".join(log.at_level("warn")))
        aside = Path(self.path, STEM + ".damaged")
        self.assertEqual(aside.read_bytes(), damaged)
        service.stopService()
        run(clock, 8)
        self.assertEqual(os.listdir(self.path), [aside.name])

    def test_nonsense(self) -> None:
        """A file that is no database is set aside; only a few such files are stored."""
        os.mkdir(self.path, 0o700)
        for n in range(MAX_DAMAGED_FILES + 5):
            salt = f"{n:02}"
            name = f"{salt}-{CLIENT.fingerprint(salt.encode())}.sqlite"
            Path(self.path, name).write_bytes(os.urandom(10_000))
        folder = self.folder()
        for _ in range(3):
            self.adopt(folder)
        self.assertEqual(len(self.files(".damaged")), MAX_DAMAGED_FILES)
        self.assertEqual(len(self.files()), 1)

    def test_salvage_reads_any_bytes(self) -> None:
        """Reading pages never raises, whatever is in them."""
        random_ = random.Random(3)
        for _ in range(200):
            page = bytearray(random_.randbytes(PAGE_SIZE))
            page[0] = 13
            read_intact_batches(bytes(PAGE_SIZE) + bytes(page))

    def test_damaged_in_use(self) -> None:
        """A file that is damaged while it is in use is replaced by a new one."""
        clock = Clock()
        clock.advance(1_000_000)
        server = MemoryServer(clock)
        server.mood = lambda: AWAY
        service = make_service(clock, server, spool=self.path, max_batch=50)
        service.startService()
        for i in range(10_000):
            service.count(f"stat {i}")
        run(clock, 6)
        (name,) = self.files()
        db = sqlite3.connect(os.path.join(self.path, name))
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        with open(os.path.join(self.path, name), "r+b") as file:
            file.seek(0, os.SEEK_END)
            size = file.tell()
            for page in range(1, size // PAGE_SIZE, 2):
                file.seek(page * PAGE_SIZE)
                file.write(b"\xff" * 100)
        server.mood = lambda: OK
        run(clock, 600, 5)
        service.count("after")
        run(clock, 20)
        self.assertEqual(server.sums["after"], 1)
        self.assertTrue(balanced(service.health), service.health)
        stopped = service.stopService()
        run(clock, 8)
        self.successResultOf(stopped)


class ServiceTests(FolderTestCase):
    """
    The service with a spool.
    """

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.server = MemoryServer(self.clock)

    def service(self, **settings: Any) -> Any:
        return make_service(self.clock, self.server, spool=self.path, **settings)

    def test_nothing_before_start(self) -> None:
        """No file is made before the start, so that the program may become a daemon."""
        service = self.service()
        service.count("a")
        self.assertFalse(os.path.exists(self.path))
        service.stopService()

    def test_restart(self) -> None:
        """The next process delivers what one could not."""
        self.server.mood = lambda: AWAY
        first = self.service()
        first.startService()
        first.count("a", 3)
        first.value("v", 0.5)
        stopped = first.stopService()
        run(self.clock, 6)
        self.successResultOf(stopped)
        self.assertEqual((first.health.pending, first.health.dropped), (2, {}))
        self.assertGreater(len(self.files()), 0)
        self.server.mood = lambda: OK
        second = self.service()
        second.startService()
        run(self.clock, 1)
        self.assertEqual(self.server.sums, {"a": 3, "v": 0.5})
        self.assertEqual((second.health.recovered, second.health.delivered), (2, 2))
        self.assertEqual(self.server.fake.points[0].t, 1_000_000)
        second.stopService()
        self.assertEqual(os.listdir(self.path), [])

    def test_on_disk_before_it_is_sent(self) -> None:
        """A batch is in the spool when its first request is made."""
        seen: list[int] = []

        def mood() -> str:
            (name,) = self.files()
            db = sqlite3.connect(os.path.join(self.path, name))
            seen.append(db.execute("SELECT count(*) FROM batches").fetchone()[0])
            db.close()
            return OK

        self.server.mood = mood
        service = self.service()
        service.startService()
        service.count("a")
        run(self.clock, 6)
        self.assertEqual(seen, [1])
        self.assertEqual(service.health.spooled, 0)
        service.stopService()

    def test_memory_while_the_disk_fails(self) -> None:
        """While the disk fails, batches stay in memory and are sent; later ones are written."""
        Path(self.path).write_text("in the way")
        self.server.mood = lambda: AWAY
        service = self.service()
        with logged() as log:
            service.startService()
            service.count("a")
            run(self.clock, 10)
            self.assertIn("FileExistsError", service.health.spool_error)
            self.server.mood = lambda: OK
            run(self.clock, 60)
            self.assertEqual(self.server.sums, {"a": 1})
            self.server.mood = lambda: AWAY
            service.count("b")
            run(self.clock, 20)
            os.unlink(self.path)
            run(self.clock, 5)
        self.assertIsNone(service.health.spool_error)
        self.assertGreater(service.health.spooled, 0)
        warnings = "\n".join(log.at_level("warn"))
        self.assertIn("the spool cannot be written", warnings)
        self.assertIn("the spool can be written again", warnings)
        service.stopService()
        run(self.clock, 8)

    def test_halves_stay_where_their_whole_was(self) -> None:
        """A batch of an earlier process is split in that process's file, at once."""
        self.server.mood = lambda: AWAY
        first = self.service()
        first.startService()
        for i in range(8):
            first.count(f"s{i}")
        first.stopService()
        run(self.clock, 8)
        answers = [(413, b"", {}), AWAY]
        self.server.mood = lambda: answers.pop(0) if len(answers) > 1 else answers[0]
        second = self.service()
        second.startService()
        run(self.clock, 1)
        folder = second._loop.backlog._folder
        self.assertEqual(sorted(s.rows for s in folder.spools), [0, 2])
        answers[:] = [OK]
        run(self.clock, 60)
        self.assertEqual(len(self.server.sums), 8)
        second.stopService()
        run(self.clock, 2)

    def test_little_stays_in_memory(self) -> None:
        """During an outage the batches are on disk, not in memory."""
        self.server.mood = lambda: AWAY
        service = self.service(max_batch=10)
        service.startService()
        for i in range(5000):
            service.count(f"s{i}")
        run(self.clock, 10)
        backlog = service._loop.backlog
        self.assertEqual(backlog._memory_points, 0)
        self.assertLessEqual(len(backlog._ready) + len(backlog._retries), 100)
        self.server.mood = lambda: OK
        run(self.clock, 100)
        self.assertEqual(len(self.server.sums), 5000)
        service.stopService()
        run(self.clock, 2)
