"""
The spool folder: a file of this process, and those of processes that have ended. A
process writes to one file, however large it is; beyond ``max_spool`` the oldest batches
are dropped.

Several processes share a folder. Each holds a lock beside every file that it uses, and
adopts its account's files that nobody has locked. Everything here blocks, and runs in
the delivery's thread.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence

from txstathat.delivery.batch import SealedBatch
from txstathat.delivery.spool.file import UNREADABLE, Damaged, SpoolFile, is_damage
from txstathat.delivery.spool.locks import FileLock
from txstathat.delivery.spool.owner import SpoolOwner, check_folder, is_plain_file
from txstathat.delivery.spool.recovery import (
    open_verified,
    remove_file,
    salvage_file,
    set_aside,
)
from txstathat.delivery.spool.results import Adopted, Dropped

__all__ = ["LOCK", "MAX_ADOPTED", "SPOOL", "SpoolFolder"]

#: How many files of processes that have ended are open at a time.
MAX_ADOPTED = 8
#: The most that is read into memory at a time, in bytes.
_READ_BYTES = 1_048_576

#: The extensions of a spool file and of its lock.
SPOOL, LOCK = ".sqlite", ".lock"


class SpoolFolder:
    """
    The spool files that one process uses.

    :param path: the folder. It is created, for its owner alone, if it does not exist.
    :param fingerprint: see :class:`~txstathat.delivery.spool.owner.SpoolOwner`.
    :param max_bytes: the most bytes that sealed batches may take; the oldest are
        dropped.
    :param max_age: seconds after which a batch is dropped.
    :param at_most_once: whether a batch that is read is marked as sent, and one that
        another process marked is dropped.
    """

    def __init__(
        self,
        path: str,
        *,
        fingerprint: Callable[[bytes], str],
        max_bytes: int,
        max_age: float,
        at_most_once: bool,
    ) -> None:
        self.path = path
        self._owner = SpoolOwner(fingerprint)
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._at_most_once = at_most_once
        self._own: int | None = None
        self._last_number = 0
        # By a number that is never used again. Adopted files come first: their batches
        # are older.
        self._spools: dict[int, SpoolFile] = {}
        self._locks: dict[int, FileLock] = {}
        self._dropped: list[Dropped] = []
        self._abandoned: list[int] = []

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

    @property
    def spools(self) -> list[SpoolFile]:
        """
        The files that are open, those of other processes first.
        """
        return list(self._spools.values())

    def open(self) -> None:
        """
        Create a file for this process, if there is none.

        :raises OSError, sqlite3.Error: if that is not possible; here and below. For a
            folder to which others may write it is a PermissionError.
        """
        if self._own is not None:
            return
        if not os.path.isdir(self.path):
            os.makedirs(os.path.dirname(os.path.abspath(self.path)), exist_ok=True)
            os.mkdir(self.path, 0o700)
        check_folder(self.path)
        stem = os.path.join(self.path, self._owner.new_stem())
        lock = FileLock.acquire(stem + LOCK)
        if lock is None:
            raise OSError(f"another process holds the lock of the new file {stem}")
        try:
            spool = SpoolFile(stem + SPOOL, exclusive=True)
        except BaseException:
            remove_file(stem + SPOOL)
            lock.release(remove=True)
            raise
        self._own = self._add(spool, lock)

    def _add(self, spool: SpoolFile, lock: FileLock) -> int:
        self._last_number += 1
        self._spools[self._last_number] = spool
        self._locks[self._last_number] = lock
        return self._last_number

    def adopt(self, found: Adopted) -> None:
        """
        Adopt files of processes that have ended.

        :param found: what is found is added to it.
        """
        self.open()
        check_folder(self.path)
        held = {lock.path for lock in self._locks.values()}
        names = set(os.listdir(self.path))
        stems = {os.path.splitext(name)[0] for name in names}
        self._owner.forget_others(stems)
        for name in sorted(stems):
            stem = os.path.join(self.path, name)
            if not names & {name + SPOOL, name + LOCK} or stem + LOCK in held:
                continue
            if not self._owner.owns(name):
                found.foreign_files += self._is_abandoned(stem)
            elif len(self._spools) <= MAX_ADOPTED:
                self._adopt_file(stem, found)

    def _is_abandoned(self, stem: str) -> bool:
        """
        Whether a file of another account is left over by a process that has ended.
        """
        if not is_plain_file(stem + SPOOL) or os.path.islink(stem + LOCK):
            return False
        lock = FileLock.acquire(stem + LOCK)
        if lock is None:
            return False
        lock.release()
        return True

    def _adopt_file(self, stem: str, found: Adopted) -> None:
        for path in (stem + SPOOL, stem + LOCK):
            if os.path.lexists(path) and not is_plain_file(path):
                return
        lock = FileLock.acquire(stem + LOCK)
        if lock is None:
            return
        if not os.path.exists(stem + SPOOL):
            # Its process ended before it created the file, or after it removed it.
            lock.release(remove=True)
            return
        try:
            self._take_over(stem + SPOOL, lock, found)
        except BaseException:
            lock.release()
            raise

    def _take_over(self, path: str, lock: FileLock, found: Adopted) -> None:
        try:
            spool = open_verified(path)
        except Damaged:
            batches, damaged = self._salvage(path)
            found.batches += len(batches)
            found.calls += sum(batch.total for batch in batches)
            found.damaged += damaged
            lock.release(remove=True)
            return
        number = self._add(spool, lock)
        found.batches += spool.rows
        found.calls += spool.unread_calls
        if not spool.rows:
            self._close_one(number)
        assert self._own is not None
        # The order of the dictionary is the order of sending.
        self._spools[self._own] = self._spools.pop(self._own)

    def _salvage(self, path: str, after: int = 0) -> tuple[list[SealedBatch], int]:
        """
        Move what is intact in a damaged file to this process's file, and set the
        damaged file aside.

        :param after: the row that was read last from the file.
        """
        batches, damaged = salvage_file(path, after)
        self.open()
        assert self._own is not None
        own = self._spools[self._own]
        with own.transaction():
            own.add(batches)
        set_aside(path)
        return batches, damaged

    def write(
        self, finished: Iterable[SealedBatch], new: Sequence[SealedBatch], now: float
    ) -> None:
        """
        Remove finished batches and add new ones, in one transaction for each file.
        Batches that are too old, or do not fit, are dropped, the oldest first.

        :param finished: batches that were read from here.
        :param new: batches to add. If an exception is raised, none was added.
        :param now: the time by the steady clock, in Unix seconds.
        """
        self.open()
        removals: dict[int, list[SealedBatch]] = {}
        for batch in finished:
            if batch.place is not None and batch.place[0] in self._spools:
                removals.setdefault(batch.place[0], []).append(batch)
        freed = sum(batch.size for batches in removals.values() for batch in batches)
        self._make_room(sum(batch.size for batch in new) - freed, now)
        additions, refused = self._place(new, self.bytes - freed)
        for number in sorted(removals.keys() | additions.keys()):
            try:
                self._write_one(
                    self._spools[number],
                    removals.get(number, ()),
                    additions.get(number, ()),
                )
            except UNREADABLE as error:
                if is_damage(error):
                    self._abandon(number)
                raise
        self._dropped += refused
        self._close_empty()

    def _place(
        self, new: Sequence[SealedBatch], used: int
    ) -> tuple[dict[int, list[SealedBatch]], list[Dropped]]:
        """
        Choose a file for each new batch.

        :param used: how many bytes are used already.
        :returns: the batches by file, and those for which there is no room.
        """
        placed: dict[int, list[SealedBatch]] = {}
        refused = []
        for batch in reversed(new):
            used += batch.size
            if used > self._max_bytes:
                refused.append(Dropped(batch.number, batch.total, "full"))
            else:
                home = batch.home if batch.home in self._spools else self._own
                assert home is not None
                placed.setdefault(home, []).insert(0, batch)
        return placed, refused

    @staticmethod
    def _write_one(
        spool: SpoolFile, finished: Iterable[SealedBatch], new: Sequence[SealedBatch]
    ) -> None:
        if new:
            spool.make_room(sum(batch.size for batch in new))
        with spool.transaction():
            for batch in finished:
                assert batch.place is not None
                spool.remove(batch.place[1], batch.size)
            spool.add(new)

    def take_dropped(self) -> list[Dropped]:
        """
        Return what was dropped since the previous call.
        """
        dropped, self._dropped = self._dropped, []
        return dropped

    def take_abandoned(self) -> list[int]:
        """
        Return the numbers of files that were set aside since the previous call. The
        batches that were read from them are on disk no more.
        """
        abandoned, self._abandoned = self._abandoned, []
        return abandoned

    def _make_room(self, more: int, now: float) -> None:
        for key, spool in list(self._spools.items()):
            try:
                self._drop_oldest(key, spool, more, now)
            except UNREADABLE as error:
                if is_damage(error):
                    self._abandon(key)
                raise

    def _drop_oldest(self, key: int, spool: SpoolFile, more: int, now: float) -> None:
        while (row := spool.oldest_unread()) is not None:
            # The clock of an earlier process may have been wrong: a batch of one
            # is not dropped for its age before it is sent.
            is_ours = key == self._own and row.number > 0
            is_old = is_ours and row.created < now - self._max_age
            if not is_old and self.bytes + more <= self._max_bytes:
                break
            with spool.transaction():
                spool.skip(row)
            reason = "old" if is_old else "full"
            number = row.number if is_ours else 0
            self._dropped.append(Dropped(number, row.total, reason))

    def _close_empty(self) -> None:
        for number, spool in list(self._spools.items()):
            if number != self._own and not spool.rows:
                self._close_one(number)

    def _close_one(self, number: int) -> None:
        spool, lock = self._spools.pop(number), self._locks.pop(number)
        spool.close()
        is_empty = not spool.rows
        if is_empty:
            remove_file(spool.path)
        lock.release(remove=is_empty)

    def load(self, limit: int) -> list[SealedBatch]:
        """
        Read the next batches, the oldest first.

        :param limit: the most batches.
        """
        loaded: list[SealedBatch] = []
        for number, spool in list(self._spools.items()):
            cursor, before = spool.cursor, len(loaded)
            try:
                self._load_from(number, spool, limit, loaded)
            except UNREADABLE as error:
                if is_damage(error):
                    # What was read before the damage is intact.
                    self._abandon(number)
                    continue
                spool.rewind(cursor)
                del loaded[before:]
                if not loaded:
                    raise
                break
        self._close_empty()
        return loaded

    def _load_from(
        self, number: int, spool: SpoolFile, limit: int, loaded: list[SealedBatch]
    ) -> None:
        """
        Read batches from one file.

        :param loaded: the batches are added to it.
        """
        before = len(loaded)
        size = sum(batch.size for batch in loaded)
        while len(loaded) < limit and size < self._read_bytes:
            found = spool.read()
            if found is None:
                break
            row, batch, sent = found
            ours = row.number if number == self._own else 0
            if batch is None or (sent and self._at_most_once):
                with spool.transaction():
                    spool.remove(row.seq, row.size)
                reason = "damaged" if batch is None else "ambiguous"
                self._dropped.append(Dropped(ours, row.total, reason))
                continue
            batch.number, batch.place = ours, (number, row.seq)
            size += batch.size
            loaded.append(batch)
        self._mark(loaded[before:], True)

    @property
    def _read_bytes(self) -> int:
        # A batch that was read cannot be dropped to make room.
        return min(_READ_BYTES, self._max_bytes // 4)

    def _mark(self, batches: Iterable[SealedBatch], sent: bool) -> None:
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

    def _abandon(self, number: int) -> None:
        """
        Save the unread batches of a file that was damaged while it was in use.
        """
        spool, lock = self._spools.pop(number), self._locks.pop(number)
        if number == self._own:
            self._own = None
        spool.close()
        batches: list[SealedBatch] = []
        removed = False
        try:
            batches, _ = self._salvage(spool.path, spool.cursor)
            removed = True
        except (OSError, sqlite3.Error):
            # Nothing can be saved now; the process that adopts the file may try again.
            pass
        lock.release(remove=removed)
        if removed:
            self._abandoned.append(number)
        calls = spool.unread_calls - sum(batch.total for batch in batches)
        count = spool.unread - len(batches)
        self._dropped.append(Dropped(0, calls, "damaged", count))

    def close(self, unsent: Iterable[SealedBatch] = ()) -> None:
        """
        Close every file, and remove those that are empty.

        :param unsent: batches that were read and certainly not sent.
        """
        try:
            self._mark(unsent, False)
        finally:
            for number in list(self._spools):
                self._close_one(number)
            self._own = None
