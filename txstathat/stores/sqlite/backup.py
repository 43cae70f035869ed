"""
Copying a SQLite store while it is in use.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThreadPool

from txstathat.errors import StoreError, StoreUnavailable
from txstathat.stores.sqlite.schema import APPLICATION
from txstathat.stores.url import sqlite_path

__all__ = ["backup_store", "new_file"]


def backup_store(url: str, path: str, *, reactor: Any = None) -> Deferred[int]:
    """
    Copy a SQLite store to a file, as it is at one moment, while others go on using it
    (https://www.sqlite.org/backup.html).

    :param url: the store, as for :func:`txstathat.stores.open_store`.
    :param path: the file, which must not be there. It appears when it is complete, and
        can be used as a store.
    :param reactor: runs the thread; by default the global one.
    :returns: fires with the file's size in bytes. It fails with a ``ValueError`` when
        the URL is no SQLite file's, with ``FileExistsError`` when the file is there,
        with :class:`~txstathat.errors.StoreError` when the store is no store of ours,
        and with :class:`~txstathat.errors.StoreUnavailable` when it cannot be read or
        the copy cannot be written. Cancelling it does not stop the copying.
    """
    if reactor is None:
        from twisted.internet import reactor
    try:
        source = sqlite_path(url)
    except ValueError:
        return fail()
    if source is None:
        return fail(ValueError("only a SQLite store can be copied: sqlite:///a/path"))
    pool = reactor.getThreadPool()
    return deferToThreadPool(reactor, pool, _copy, source, path)


def _copy(source: str, path: str) -> int:
    try:
        with (
            closing(sqlite3.connect(f"file:{quote(source)}?mode=ro", uri=True)) as old,
            new_file(path) as unfinished,
            closing(sqlite3.connect(unfinished)) as new,
        ):
            if old.execute("PRAGMA application_id").fetchone() != (APPLICATION,):
                raise StoreError(f"{source} is no store of ours")
            # In one go: it sees one moment, and in WAL mode holds up nobody. In parts
            # it would begin anew with each write of another's.
            old.backup(new)
            (sound,) = new.execute("PRAGMA quick_check").fetchone()
            if sound != "ok":
                raise StoreError(f"the copy is damaged: {sound}")
        return os.path.getsize(path)
    except FileExistsError:
        raise
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(f"cannot copy {source} to {path}: {error}") from error


@contextmanager
def new_file(path: str) -> Iterator[str]:
    """
    Make a file that appears only when it is complete, readable by nobody else.

    :param path: the file.
    :returns: a context manager that gives the path of a file to write to, and close. It
        gets its name, synced to disk, when what is done within succeeds; else it is
        removed.
    :raises FileExistsError: if there is one already.
    :raises OSError: if it cannot be written.
    """
    if os.path.exists(path):
        raise FileExistsError(f"{path} is there already")
    unfinished = f"{path}.unfinished"
    try:
        os.close(os.open(unfinished, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
        yield unfinished
        handle = os.open(unfinished, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        os.rename(unfinished, path)
    finally:
        if os.path.exists(unfinished):
            os.unlink(unfinished)
