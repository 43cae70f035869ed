"""
Replaces the contents of a SQLite store that nobody uses with those of a backup.

This blocks: it is for commands that do nothing else meanwhile.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

from txstathat.errors import StoreError, StoreUnavailable
from txstathat.stores.schemes import sqlite_path
from txstathat.stores.sqlite.file.private import check_folder, new_file
from txstathat.stores.sqlite.schema import (
    check_is_store,
    check_version,
    open_file,
    open_read_only,
)

__all__ = ["restore_store"]

# The range of bytes that every connection to a SQLite file locks
# (https://www.sqlite.org/fileformat2.html, "The Lock-Byte Page").
_LOCK_AT, _LOCK_BYTES = 0x40000000, 512


def restore_store(
    url: str,
    path: str,
    *,
    copy: str | None = None,
    confirm: Callable[[], None] = lambda: None,
) -> str | None:
    """
    Replace the contents of a SQLite store with those of a backup. The store, with its
    write-ahead log, then has exactly the contents of the backup; if this fails or is
    interrupted, those from before.

    A store that is so damaged that SQLite cannot open it is moved aside.

    :param url: the URL of the store, as for :func:`txstathat.stores.open_store`. It may
        be missing.
    :param path: the backup: a copy by :func:`~.backup_store`, or another store that
        nobody uses.
    :param copy: a new file, to which the contents from before are copied, for its owner
        only; ``None`` for no copy. A store that is missing or damaged is not copied.
    :param confirm: called before the contents of a store are replaced, when all is
        checked. If it raises, they stay.
    :returns: the new path of the damaged store; ``None`` if there was none.
    :raises ValueError: if the URL does not name a SQLite file, or the store itself is
        the backup.
    :raises StoreError: if the backup is damaged, or one of them is not a store of this
        package.
    :raises StoreTooNew: if a newer version of this package wrote the backup.
    :raises StoreUnavailable: if a program uses the store, or one of the files cannot be
        read or written.
    """
    target = sqlite_path(url)
    if target is None:
        raise ValueError("only a SQLite store can be restored; use sqlite:///a/path")
    if (
        os.path.exists(target)
        and os.path.exists(path)
        and os.path.samefile(target, path)
    ):
        raise ValueError(f"{path} is the store itself; name a backup")
    try:
        check_folder(target)
        with _open_backup(path) as backup:
            if os.path.exists(target) and _replace_contents(
                backup, target, copy, confirm
            ):
                return None
            aside = _move_aside(target)
            _copy(backup, target)
            return aside
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(f"cannot restore {path} to {target}: {error}") from error


@contextmanager
def _open_backup(path: str) -> Iterator[sqlite3.Connection]:
    try:
        with closing(_connect(path)) as backup:
            backup.isolation_level = None
            backup.execute("BEGIN")  # one moment of it, from the check to the copy
            try:
                check_version(backup)
            except StoreError as error:
                raise type(error)(f"{path}: {error}") from None
            (check,) = backup.execute("PRAGMA integrity_check(1)").fetchone()
            if check != "ok":
                raise StoreError(f"{path} is damaged: {check}")
            yield backup
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_NOTADB:
            raise StoreError(
                f"{path} is not a backup, or its beginning is damaged; an export is "
                "loaded with txstathat import"
            ) from error
        raise StoreError(f"{path} is damaged: {error}") from error


def _connect(path: str) -> sqlite3.Connection:
    """
    Connect to a backup, without leaving files beside it.
    """
    if not os.path.isfile(path):
        raise StoreUnavailable(f"{path}: no such file")
    if os.path.exists(f"{path}-wal") or os.path.exists(f"{path}-journal"):
        return open_read_only(path)  # a part of its contents is in there
    # Else SQLite would create -wal and -shm files, even to read.
    return open_file(path, "ro&immutable=1")


def _replace_contents(
    backup: sqlite3.Connection,
    target: str,
    copy: str | None,
    confirm: Callable[[], None],
) -> bool:
    """
    Copy a backup into a store, in one transaction.

    :returns: whether that was possible; if not, the store is damaged.
    """
    with closing(open_file(target, "rw", timeout=0.5)) as store:
        store.isolation_level = None
        if not _lock(store, target):
            return False
        confirm()
        if copy is not None:
            _copy(store, copy)
        try:
            backup.backup(store)
        except BaseException:
            if copy is not None:
                os.unlink(copy)  # the store still has these contents
            raise
        return True


def _lock(store: sqlite3.Connection, target: str) -> bool:
    """
    Lock all other connections to a store out.

    :returns: whether that was possible; if not, the store is damaged.
    """
    try:
        check_is_store(store)
        # Write the log into the file and delete it. SQLite does this only if no
        # other connection is open.
        (mode,) = store.execute("PRAGMA journal_mode = DELETE").fetchone()
        if mode != "delete":
            raise _in_use(target)
        store.execute("PRAGMA locking_mode = EXCLUSIVE")
        store.execute("BEGIN EXCLUSIVE")
        store.execute("COMMIT")
    except StoreUnavailable:
        raise
    except StoreError as error:
        raise StoreError(f"{target}: {error}") from None
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (
            sqlite3.SQLITE_BUSY,
            sqlite3.SQLITE_LOCKED,
        ):
            raise _in_use(target) from error
        raise
    except sqlite3.DatabaseError:
        return False
    return True


def _copy(source: sqlite3.Connection, path: str) -> None:
    with (
        new_file(path) as unfinished,
        closing(sqlite3.connect(unfinished)) as new,
    ):
        source.backup(new)


def _in_use(target: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"a program uses the store {target}; stop it first (txstathat serve, or "
        f"whatever else opens it)"
    )


def _move_aside(target: str) -> str | None:
    """
    Rename the files of a damaged store, or what is left of a missing one.

    :returns: the new path of the store.
    """
    if os.path.lexists(target):
        _check_unlocked(target)
    aside = f"{target}.damaged-{secrets.token_hex(4)}"
    moved = None
    for end in ("", "-wal", "-shm", "-journal"):
        with suppress(FileNotFoundError):
            os.rename(target + end, aside + end)
            moved = aside
    return moved


def _check_unlocked(target: str) -> None:
    try:
        from fcntl import LOCK_EX, LOCK_NB, lockf
    except ImportError:
        return  # Windows does not rename files that are in use
    with open(target, "r+b") as file:
        try:
            lockf(file, LOCK_EX | LOCK_NB, _LOCK_BYTES, _LOCK_AT)
        except (BlockingIOError, PermissionError):
            raise _in_use(target) from None
