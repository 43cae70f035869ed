"""
Copies of a SQLite store, and the way back: ``txstathat.stores.sqlite``.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.fixtures.delivery import FULL
from tests.fixtures.store_contract import batch
from tests.fixtures.stores import NOW
from txstathat.errors import StoreError, StoreTooNew, StoreUnavailable
from txstathat.stores import backup_store, open_dump, open_store
from txstathat.stores.schemes import sqlite_path
from txstathat.stores.sqlite import SqliteBackend, new_file, restore_store
from txstathat.stores.sqlite.schema import APPLICATION

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
#: A program that adds to a store until it is killed.
WRITER = """
import sys
from txstathat.stores import Amounts, Increment, TimeBucket, WriteBatch
from txstathat.stores.sqlite import SqliteBackend
from txstathat.stores.sums import event
backend = SqliteBackend(sys.argv[1], lambda: 1_400_000_000.0)
backend.open()
for n in range(1_000_000):
    cells = {"m": {f"k{n % 50}": event(1), "all": event(1)}}
    buckets = [TimeBucket("year", str(n % 7), None)]
    amounts = Amounts({"m": "d"}, [Increment(buckets, cells)])
    backend.add([WriteBatch(f"w{n}", "", lambda: amounts)])
    print(n, flush=True)
"""


class StoreFiles:
    """Stores in files, for a test case."""

    mktemp: Any

    def make(self, **cells: int) -> str:
        """Create a store with some cells, and close it."""
        path = os.path.abspath(self.mktemp())
        backend = SqliteBackend(path, lambda: NOW)
        backend.open()
        backend.add([batch("b", cells)])
        backend.put_record("key", "a", "text", None)
        backend.close()
        return path

    def contents(self, path: str) -> list[Any]:
        """Everything in a store."""
        with open_dump(f"sqlite:{path}", lambda: NOW) as dump:
            return [dump.definitions(None), dump.records("key"), *dump.cells()]

    def rows(self, path: str) -> list[Any]:
        """All rows of all tables in a SQLite file."""
        with closing(sqlite3.connect(path)) as db:
            return list(db.iterdump())

    def crash(self, path: str) -> None:
        """Let a program write to a store, and kill it: this leaves its log behind."""
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, path],
            stdout=subprocess.PIPE,
            env=ENVIRONMENT,
        ) as writer:
            assert writer.stdout is not None
            for _ in range(40):
                writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)
        assert os.path.getsize(f"{path}-wal") > 0


class RestoreTests(StoreFiles, SynchronousTestCase):
    """The contents of a backup become those of the store."""

    def test_missing(self) -> None:
        """A store that is missing is created, for its owner only."""
        backup, path = self.make(k=1), os.path.abspath(self.mktemp())
        self.assertIsNone(restore_store(f"sqlite://{path}", backup))
        self.assertEqual(self.rows(path), self.rows(backup))
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)

    def test_stale_log(self) -> None:
        """The log of a store that is missing does not get into the backup."""
        backup, path = self.make(k=1), self.make(k=2)
        self.crash(path)
        os.unlink(path)
        self.assertIsNotNone(restore_store(f"sqlite://{path}", backup))
        self.assertEqual(self.rows(path), self.rows(backup))

    def test_larger_and_smaller(self) -> None:
        """The contents are exactly those of the backup, whichever of them is larger."""
        small, large = self.make(k=1), self.make(**{f"k{n}": n for n in range(3000)})
        for backup, other in ((small, large), (large, small)):
            path = self.mktemp()
            shutil.copy(other, path)
            self.assertIsNone(restore_store(f"sqlite:{path}", backup))
            self.assertEqual(self.rows(path), self.rows(backup))
            self.assertEqual(os.path.getsize(path), os.path.getsize(backup))

    def test_page_size(self) -> None:
        """A backup may have another page size than the store, and the log of the store."""
        path, backup = self.make(k=1), self.make(k=2)
        self.crash(path)
        with closing(sqlite3.connect(backup)) as db:
            db.execute("PRAGMA journal_mode = DELETE")
            db.execute("PRAGMA page_size = 8192")
            db.execute("VACUUM")
        self.assertIsNone(restore_store(f"sqlite:{path}", backup))
        self.assertEqual(self.rows(path), self.rows(backup))

    def test_refused(self) -> None:
        """What is not a whole backup is refused with words; the store is as before."""
        path, whole = self.make(k=1), self.make(**{f"k{n}": n for n in range(999)})
        before = self.contents(path)
        torn, foreign, newer, text, holed = (self.mktemp() for _ in range(5))
        data = Path(whole).read_bytes()
        Path(holed).write_bytes(data[:-8192] + bytes(4096) + data[-4096:])
        Path(torn).write_bytes(Path(whole).read_bytes()[:20_000])
        Path(text).write_text("no store\n" * 1000)
        with closing(sqlite3.connect(foreign)) as db:
            db.execute("CREATE TABLE t (x)")
        shutil.copy(whole, newer)
        with closing(sqlite3.connect(newer)) as db:
            db.execute("PRAGMA user_version = 99")
        for file, kind, words in (
            (torn, StoreError, "is damaged"),
            (holed, StoreError, "is damaged"),
            (text, StoreError, "is not a backup, or its beginning is damaged"),
            (foreign, StoreError, "not a store of txStatHat"),
            (newer, StoreTooNew, "version 99"),
            ("/nowhere/at.all", StoreUnavailable, "no such file"),
            (path, ValueError, "is the store itself"),
        ):
            error = self.assertRaises(kind, restore_store, f"sqlite:{path}", file)
            self.assertIn(words, str(error))
            self.assertIn(file, str(error))
            self.assertEqual(self.contents(path), before)
        with closing(sqlite3.connect(foreign)) as db:
            error = self.assertRaises(
                StoreError, restore_store, f"sqlite:{foreign}", whole
            )
        self.assertIn("another program", str(error))
        error = self.assertRaises(ValueError, restore_store, "redis://h", whole)
        self.assertIn("only a SQLite store", str(error))

    def test_copy(self) -> None:
        """The contents from before are copied, with the log of a crashed program."""
        path, backup, copy = self.make(k=1), self.make(k=2), self.mktemp()
        self.crash(path)
        with open_dump(f"sqlite:{path}", lambda: NOW) as dump:
            before = [*dump.cells()]
        self.assertIsNone(restore_store(f"sqlite:{path}", backup, copy=copy))
        self.assertEqual(self.rows(path), self.rows(backup))
        with open_dump(f"sqlite:{copy}", lambda: NOW) as dump:
            self.assertEqual([*dump.cells()], before)
        self.assertEqual(stat.S_IMODE(os.stat(copy).st_mode), 0o600)

    def test_nothing_replaced(self) -> None:
        """If the copy cannot be written, or nobody confirms, the store is as before."""
        path, backup, taken = self.make(k=1), self.make(k=2), Path(self.mktemp())
        before = self.contents(path)
        taken.write_text("mine")

        def refuse() -> None:
            raise KeyboardInterrupt

        for kind, arguments in (
            (StoreUnavailable, {"copy": str(taken)}),
            (KeyboardInterrupt, {"copy": self.mktemp(), "confirm": refuse}),
        ):
            with self.assertRaises(kind):
                restore_store(f"sqlite:{path}", backup, **arguments)  # type: ignore
            self.assertEqual(self.contents(path), before)
        self.assertEqual(taken.read_text(), "mine")

    def test_no_trace(self) -> None:
        """Nothing is left beside the backup."""
        whole, path = Path(self.make(k=2)), self.make(k=1)
        folder = Path(self.mktemp())
        folder.mkdir()
        backup = folder / "backup"
        shutil.copy(whole, backup)
        self.assertIsNone(restore_store(f"sqlite:{path}", str(backup)))
        self.assertEqual([*folder.iterdir()], [backup])

    def test_in_use(self) -> None:
        """A store that a program has open is refused, even if that program is idle."""
        path, backup = self.make(k=1), self.make(k=2)
        program = (
            "import sys; from txstathat.stores.sqlite import SqliteBackend;"
            "backend = SqliteBackend(sys.argv[1], lambda: 0.0); backend.open();"
            "print(flush=True); sys.stdin.read()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=ENVIRONMENT,
        ) as other:
            assert other.stdout is not None
            other.stdout.readline()
            error = self.assertRaises(
                StoreUnavailable, restore_store, f"sqlite:{path}", backup
            )
            self.assertIn("stop it first", str(error))
            os.truncate(path, 5000)
            error = self.assertRaises(
                StoreUnavailable, restore_store, f"sqlite:{path}", backup
            )
            self.assertIn("stop it first", str(error))
            other.communicate(b"")

    def test_damaged(self) -> None:
        """A store that SQLite cannot open is moved aside, with its log."""
        path, backup = self.make(k=1), self.make(k=2)
        self.crash(path)
        Path(path).write_bytes(b"\x00\x01" * 9000)
        log = Path(f"{path}-wal").read_bytes()
        os.truncate(f"{path}-wal", 0)
        Path(f"{path}-wal").write_bytes(b"\xff" + log[1:])
        aside = restore_store(f"sqlite:{path}", backup)
        assert aside is not None
        self.assertEqual(self.rows(path), self.rows(backup))
        self.assertEqual(Path(aside).read_bytes()[:2], b"\x00\x01")

    def test_after_a_crash(self) -> None:
        """
        A backup restored over a crashed store with its write-ahead log, also after it
        was copied there by hand: the contents are exactly those of the backup.
        """
        chance = random.Random(42)
        for round in range(20 if FULL else 3):
            path = self.make(**{f"k{n}": n for n in range(round * 50 + 1)})
            self.crash(path)
            backup = self.make(**{f"b{n}": n for n in range(chance.randrange(3000))})
            if round % 3 == 1:
                shutil.copy(backup, path)
            elif round % 3 == 2:
                data = bytearray(Path(path).read_bytes())
                for _ in range(50):
                    data[chance.randrange(len(data))] ^= 0xFF
                Path(path).write_bytes(data)
            restore_store(f"sqlite:{path}", backup)
            self.assertEqual(self.rows(path), self.rows(backup))
            with closing(sqlite3.connect(path)) as db:
                check = db.execute("PRAGMA integrity_check").fetchall()
            self.assertEqual(check, [("ok",)])


class LeftoverTests(StoreFiles, TestCase):
    """What a copy and an export leave beside a store."""

    @inlineCallbacks
    def test_stopped(self) -> Any:
        """Nothing, if no collector uses it; its log stays as it is otherwise."""
        path = self.make(k=1)
        beside = [Path(f"{path}-wal"), Path(f"{path}-shm")]
        used = sqlite3.connect(path)
        used.execute("SELECT count(*) FROM record").fetchone()
        for in_use in (True, False):
            copy = os.path.abspath(self.mktemp())
            yield backup_store(f"sqlite:{path}", copy, reactor=reactor)
            self.assertEqual([file.exists() for file in beside], [in_use] * 2)
            with open_dump(f"sqlite:{path}", lambda: NOW) as dump:
                self.assertEqual(dump.records("key"), {"a": "text"})
            self.assertEqual([file.exists() for file in beside], [in_use] * 2)
            used.close()


class ForeignTests(TestCase):
    """SQLite files of other programs."""

    @inlineCallbacks
    def test_no_store(self) -> Any:
        """Only a store is copied."""
        for application in (0, 1, APPLICATION - 1, APPLICATION + 1):
            path, copy = self.mktemp(), Path(self.mktemp())
            with closing(sqlite3.connect(path)) as db:
                db.execute(f"PRAGMA application_id = {application}")
                db.execute("CREATE TABLE cell (x)")
            failed = backup_store(f"sqlite:{path}", str(copy), reactor=reactor)
            error = yield self.assertFailure(failed, StoreError)
            self.assertIn("is not a store of txStatHat", str(error))
            self.assertFalse(copy.exists())


class PlantedTests(StoreFiles, TestCase):
    """Files that another user has planted where a copy is written."""

    @inlineCallbacks
    def test_links(self) -> Any:
        """No link is followed: neither at the file nor at its old temporary name."""
        path, folder = self.make(k=1), Path(self.mktemp()).absolute()
        folder.mkdir()
        victim = folder / "victim"
        victim.write_text("precious")
        (folder / "copy.unfinished").symlink_to(victim)
        yield backup_store(f"sqlite:{path}", str(folder / "copy"), reactor=reactor)
        self.assertEqual(victim.read_text(), "precious")
        self.assertEqual(self.rows(str(folder / "copy")), self.rows(path))
        for target in (victim, folder / "missing"):
            link = folder / f"to-{target.name}"
            link.symlink_to(target)
            yield self.assertFailure(
                backup_store(f"sqlite:{path}", str(link), reactor=reactor),
                FileExistsError,
            )
        self.assertEqual(victim.read_text(), "precious")
        self.assertFalse((folder / "missing").exists())
        self.assertEqual(list(folder.glob("*.*.unfinished")), [])

    def test_guessed_name(self) -> None:
        """Not even a file with the right temporary name is written to."""
        path, victim = self.mktemp(), Path(self.mktemp())
        victim.write_text("precious")
        planted = Path(f"{path}.guessed.unfinished")
        for plant in (planted.hardlink_to, planted.symlink_to):
            plant(victim.absolute())
            opened = new_file(path, lambda size: "guessed")
            with self.assertRaises(OSError), opened as unfinished:
                Path(unfinished).write_text("ours")
            self.assertEqual(victim.read_text(), "precious")
            planted.unlink()

    def test_appears_meanwhile(self) -> None:
        """A file that appears while the copy is being written is not replaced."""
        path = self.mktemp()

        def write() -> Iterator[None]:
            with new_file(path) as unfinished:
                Path(unfinished).write_text("ours")
                yield

        writing = write()
        next(writing)
        Path(path).write_text("theirs")
        self.assertRaises(FileExistsError, next, writing)
        self.assertEqual(Path(path).read_text(), "theirs")
        self.assertEqual(list(Path(path).parent.glob("*.unfinished")), [])

    @inlineCallbacks
    def test_open_folder(self) -> Any:
        """A folder that any user may write to is refused, unless it is sticky."""
        path, folder = self.make(k=1), Path(self.mktemp()).absolute()
        folder.mkdir()
        folder.chmod(0o777)
        copy = str(folder / "copy")
        error = yield self.assertFailure(
            backup_store(f"sqlite:{path}", copy, reactor=reactor), StoreUnavailable
        )
        self.assertIn(f"chmod o-w {folder}", str(error))
        error = self.assertRaises(
            StoreUnavailable, restore_store, f"sqlite:{copy}", path
        )
        self.assertIn(f"chmod o-w {folder}", str(error))
        error = yield self.assertFailure(
            open_store(f"sqlite:{copy}", reactor=reactor), StoreUnavailable
        )
        self.assertIn(f"chmod o-w {folder}", str(error))
        self.assertEqual(list(folder.iterdir()), [])
        folder.chmod(0o1777)
        yield backup_store(f"sqlite:{path}", copy, reactor=reactor)
        self.assertEqual(self.rows(copy), self.rows(path))


class SpellingTests(StoreFiles, TestCase):
    """The URLs of one file."""

    @inlineCallbacks
    def test_same_file(self) -> Any:
        """Every spelling is the same file, to read, to copy and to restore."""
        path = self.make(k=1)
        relative = os.path.relpath(path)
        urls = [f"sqlite:{'/' * n}{path.lstrip('/')}" for n in (1, 3, 4, 5)]
        urls += [f"sqlite:{relative}", f"sqlite:./{relative}"]
        urls += [url.replace("sqlite", "SQLite", 1) for url in urls]
        urls += [urls[2][:-1] + f"%{ord(path[-1]):02x}"]
        before = self.rows(path)
        for url in urls:
            with open_dump(url, lambda: NOW) as dump:
                self.assertEqual(dump.records("key"), {"a": "text"}, url)
            copy = os.path.abspath(self.mktemp())
            yield backup_store(url, copy, reactor=reactor)
            restore_store(url, copy)
            self.assertEqual(self.rows(path), before)
            self.assertEqual(os.path.realpath(str(sqlite_path(url))), path)

    def test_refused(self) -> None:
        """A URL with more than a path is refused, with words."""
        for url, words in (
            ("sqlite:///a?timeout=5", "%3F for ?"),
            ("sqlite:///a#b", "%23 for #"),
            ("sqlite://", "sqlite:///an/absolute/path"),
            ("sqlite:////", "sqlite:///an/absolute/path"),
            ("sqlite://a/b", "sqlite:///an/absolute/path"),
            ("sqlite:///:memory:", "'memory:'"),
            ("sqlite::memory:", "'memory:'"),
            ("sqlite:///a%00b", "%00"),
        ):
            error = self.assertRaises(ValueError, sqlite_path, url)
            self.assertIn(words, str(error), url)
