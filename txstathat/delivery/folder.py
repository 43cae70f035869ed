"""
The spool folder: a file of the process's own, and those of processes that have ended.

Several processes share a folder. Each holds a lock beside every file that it uses, and
adopts a file whose lock nobody holds. Everything here blocks, and belongs in the
delivery's thread.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from txstathat.delivery.batch import Batch
from txstathat.delivery.locks import FileLock
from txstathat.delivery.salvage import carve
from txstathat.delivery.spool import UNREADABLE, Damaged, Spool, is_damage

__all__ = ["Folder", "Found", "Lost", "MAX_ADOPTED", "MAX_DAMAGED_FILES"]

#: How many files of processes that have ended are worked off at a time.
MAX_ADOPTED = 8
#: How many damaged files are kept for somebody to look at; the oldest are removed.
MAX_DAMAGED_FILES = 10
#: The most that is read into memory at a time, in bytes.
_READ_BYTES = 1_048_576

_SPOOL, _LOCK, _DAMAGED = ".sqlite", ".lock", ".damaged"


@dataclass(frozen=True, slots=True)
class Lost:
    """
    A batch that was given up.

    :ivar number: see :class:`~txstathat.delivery.batch.Batch`.
    :ivar calls: how many recorded calls were in it.
    :ivar reason: as in :class:`~txstathat.delivery.ledger.DeliveryHealth`.
    :ivar batches: how many batches, where it is more than one.
    """

    number: int
    calls: int
    reason: str
    batches: int = 1


@dataclass(slots=True)
class Found:
    """
    What processes that have ended had left.
    """

    batches: int = 0
    calls: int = 0
    damaged: int = 0


class Folder:
    """
    The spool files of one process.

    :param path: the folder; it is made, for its owner alone, when it is not there.
    :param max_bytes: the most that sealed batches may take; the oldest are given up.
    :param max_age: seconds after which a batch is given up.
    :param at_most_once: whether a batch that is read is noted as sent, and one that
        another process noted so is given up.
    """

    def __init__(
        self, path: str, *, max_bytes: int, max_age: float, at_most_once: bool
    ) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._at_most_once = at_most_once
        self._own: int | None = None
        self._next = 0
        # Adopted files first: what is in them is older. Each under a number for life.
        self._spools: dict[int, Spool] = {}
        self._locks: dict[int, FileLock] = {}
        self._lost: list[Lost] = []

    @property
    def bytes(self) -> int:
        """
        About how many bytes the batches take.
        """
        return sum(spool.bytes for spool in list(self._spools.values()))

    @property
    def unread(self) -> int:
        """
        How many batches :meth:`load` has not returned yet.
        """
        return sum(spool.unread for spool in list(self._spools.values()))

    def open(self) -> None:
        """
        Make a file for this process, unless there is one.

        :raises OSError, sqlite3.Error: if that is not possible; here and below.
        """
        if self._own is not None:
            return
        if not os.path.isdir(self.path):
            os.makedirs(os.path.dirname(os.path.abspath(self.path)), exist_ok=True)
            os.mkdir(self.path, 0o700)
        # The time in the name is for people; batches know their own age.
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex}"
        path = os.path.join(self.path, name)
        lock = FileLock.acquire(path + _LOCK)
        if lock is None:
            raise OSError(f"the lock of the new file {name} is held by somebody else")
        try:
            spool = Spool(path + _SPOOL)
        except BaseException:
            self._remove(path + _SPOOL)
            lock.release(remove=True)
            raise
        self._own = self._keep(spool, lock)

    def _keep(self, spool: Spool, lock: FileLock) -> int:
        self._next += 1
        self._spools[self._next], self._locks[self._next] = spool, lock
        return self._next

    def adopt(self, found: Found) -> None:
        """
        Take over what processes that have ended left.

        :param found: what is found is added to it.
        """
        self.open()
        held = {lock.path for lock in self._locks.values()}
        names = sorted(os.listdir(self.path))
        for name in names:
            stem, extension = os.path.splitext(os.path.join(self.path, name))
            if extension not in (_SPOOL, _LOCK) or stem + _LOCK in held:
                continue
            if len(self._spools) > MAX_ADOPTED:
                break
            if extension == _LOCK and os.path.basename(stem) + _SPOOL in names:
                continue
            lock = FileLock.acquire(stem + _LOCK)
            if lock is None:
                continue
            if not os.path.exists(stem + _SPOOL):
                # Its process ended before it made the file, or after it removed it.
                lock.release(remove=True)
                continue
            try:
                self._take_over(stem + _SPOOL, lock, found)
            except BaseException:
                lock.release()
                raise

    def _take_over(self, path: str, lock: FileLock, found: Found) -> None:
        try:
            spool = _verified(path)
        except Damaged:
            batches, damaged = self._salvage(path)
            found.batches += len(batches)
            found.calls += sum(batch.total for batch in batches)
            found.damaged += damaged
            lock.release(remove=True)
            return
        number = self._keep(spool, lock)
        found.batches += spool.rows
        found.calls += spool.calls
        if not spool.rows:
            self._close_one(number)
        assert self._own is not None
        # The order of the dictionary is the order of sending.
        self._spools[self._own] = self._spools.pop(self._own)

    def _salvage(self, path: str, after: int = 0) -> tuple[list[Batch], int]:
        """
        Move what is readable in a damaged file to the process's own, and set it aside.

        :param after: the row that was read last from the file.
        """
        with suppress(sqlite3.Error):
            db = sqlite3.connect(path)
            try:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                db.close()
        with open(path, "rb") as file:
            carved, damaged = carve(file.read())
        batches = [batch for seq, batch in carved.items() if seq > after]
        self.open()
        assert self._own is not None
        own = self._spools[self._own]
        for batch in batches:
            batch.number = 0
        with own.transaction():
            own.add(batches)
        os.replace(path, path.removesuffix(_SPOOL) + _DAMAGED)
        self._remove(path)
        aside = sorted(n for n in os.listdir(self.path) if n.endswith(_DAMAGED))
        for name in aside[:-MAX_DAMAGED_FILES]:
            os.unlink(os.path.join(self.path, name))
        return batches, max(1, damaged)

    @staticmethod
    def _remove(path: str) -> None:
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(path + suffix)

    def write(
        self, finished: Iterable[Batch], new: Sequence[Batch], now: float
    ) -> None:
        """
        Remove batches that are done with and add new ones, in one transaction for each
        file. What is too old, or has no room any more, is given up, the oldest first.

        :param finished: batches that were read from here.
        :param new: batches to add; in case of an exception none was added.
        :param now: the time in Unix seconds.
        """
        self.open()
        removals: dict[int, list[Batch]] = {}
        for batch in finished:
            if batch.place is not None and batch.place[0] in self._spools:
                removals.setdefault(batch.place[0], []).append(batch)
        freed = sum(batch.size for batches in removals.values() for batch in batches)
        self._make_room(sum(batch.size for batch in new) - freed, now)
        needed = self.bytes - freed
        kept: dict[int, list[Batch]] = {}
        refused = []
        for batch in reversed(new):
            needed += batch.size
            if needed > self._max_bytes:
                refused.append(Lost(batch.number, batch.total, "full"))
            else:
                home = batch.home if batch.home in self._spools else self._own
                assert home is not None
                kept.setdefault(home, []).insert(0, batch)
        for number in sorted(removals.keys() | kept.keys()):
            spool = self._spools[number]
            new_here = kept.get(number, [])
            try:
                if new_here:
                    spool.make_room(sum(batch.size for batch in new_here))
                with spool.transaction():
                    for batch in removals.get(number, ()):
                        assert batch.place is not None
                        spool.remove(batch.place[1], batch.total, batch.size)
                    spool.add(new_here)
            except UNREADABLE as error:
                if is_damage(error):
                    self._give_up(number)
                raise
        self._lost += refused
        self._close_empty()

    def take_lost(self) -> list[Lost]:
        """
        What was given up since the last time.
        """
        lost, self._lost = self._lost, []
        return lost

    def _make_room(self, more: int, now: float) -> None:
        for spool in list(self._spools.values()):
            while (row := spool.oldest_unread()) is not None:
                old = row.created < now - self._max_age
                if not old and self.bytes + more <= self._max_bytes:
                    break
                with spool.transaction():
                    spool.skip(row)
                reason = "old" if old else "full"
                self._lost.append(Lost(row.number, row.total, reason))

    def _close_empty(self) -> None:
        for number, spool in list(self._spools.items()):
            if number != self._own and not spool.rows:
                self._close_one(number)

    def _close_one(self, number: int) -> None:
        spool, lock = self._spools.pop(number), self._locks.pop(number)
        spool.close()
        empty = not spool.rows
        if empty:
            self._remove(spool.path)
        lock.release(remove=empty)

    def load(self, limit: int) -> list[Batch]:
        """
        Read the next batches, the oldest first.

        :param limit: the most batches.
        """
        loaded: list[Batch] = []
        for number, spool in list(self._spools.items()):
            cursor = spool.cursor
            try:
                loaded += self._load_from(number, spool, limit, loaded)
            except UNREADABLE as error:
                if is_damage(error):
                    self._give_up(number)
                    continue
                spool.rewind(cursor)
                if not loaded:
                    raise
                break
        self._close_empty()
        return loaded

    def _load_from(
        self, number: int, spool: Spool, limit: int, before: Sequence[Batch]
    ) -> list[Batch]:
        loaded: list[Batch] = []
        size = sum(batch.size for batch in before)
        while len(before) + len(loaded) < limit and size < self._read_bytes:
            found = spool.read()
            if found is None:
                break
            row, batch, sent = found
            mine = row.number if number == self._own else 0
            if batch is None or (sent and self._at_most_once):
                with spool.transaction():
                    spool.remove(row.seq, row.total, row.size)
                reason = "damaged" if batch is None else "ambiguous"
                self._lost.append(Lost(mine, row.total, reason))
                continue
            batch.number, batch.place = mine, (number, row.seq)
            size += batch.size
            loaded.append(batch)
        self._mark(loaded, True)
        return loaded

    @property
    def _read_bytes(self) -> int:
        # What was read cannot make room any more.
        return min(_READ_BYTES, self._max_bytes // 4)

    def _mark(self, batches: Iterable[Batch], sent: bool) -> None:
        if not self._at_most_once:
            return
        seqs: dict[int, list[int]] = {}
        for batch in batches:
            if batch.place is not None:
                seqs.setdefault(batch.place[0], []).append(batch.place[1])
        for number in seqs.keys() & self._spools.keys():
            spool = self._spools[number]
            with spool.transaction():
                spool.mark(seqs[number], sent)

    def _give_up(self, number: int) -> None:
        """
        A file was damaged while it was in use: save what was not read from it.
        """
        spool, lock = self._spools.pop(number), self._locks.pop(number)
        if number == self._own:
            self._own = None
        spool.close()
        batches: list[Batch] = []
        removed = False
        try:
            batches, _ = self._salvage(spool.path, spool.cursor)
            removed = True
        except (OSError, sqlite3.Error):
            # No way to save anything now; whoever adopts the file may try again.
            pass
        lock.release(remove=removed)
        calls = spool.unread_calls - sum(batch.total for batch in batches)
        count = spool.unread - len(batches)
        self._lost.append(Lost(0, calls, "damaged", count))

    def close(self, unsent: Iterable[Batch] = ()) -> None:
        """
        Close every file; those with nothing in them are removed.

        :param unsent: batches that were read and certainly not sent.
        """
        try:
            self._mark(unsent, False)
        finally:
            for number in list(self._spools):
                self._close_one(number)
            self._own = None


def _verified(path: str) -> Spool:
    try:
        spool = Spool(path)
    except UNREADABLE as error:
        if not is_damage(error):
            raise
        raise Damaged(str(error)) from None
    try:
        spool.verify()
    except BaseException:
        spool.close()
        raise
    return spool
