"""
Copies a SQLite store while it is in use.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import cast

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorThreads
from twisted.internet.threads import deferToThreadPool

from txstathat.errors import StoreError, StoreUnavailable
from txstathat.stores.schemes import sqlite_path
from txstathat.stores.sqlite.file.private import new_file
from txstathat.stores.sqlite.schema import APPLICATION, reading

__all__ = ["backup_store"]


def backup_store(
    url: str, path: str, *, reactor: IReactorThreads | None = None
) -> Deferred[int]:
    """
    Copy a SQLite store to a file, as it is at one moment, while others use it
    (https://www.sqlite.org/backup.html).

    :param url: the URL of the store, as for :func:`txstathat.stores.open_store`.
    :param path: the new file. It must not exist. It appears when it is complete, and
        can be used as a store.
    :param reactor: runs the thread; by default the global reactor.
    :returns: fires with the size of the file in bytes. It fails with a ``ValueError``
        if the URL does not name a SQLite file, with ``FileExistsError`` if the new file
        exists, with :class:`~txstathat.errors.StoreError` if the source is not a store
        of this package, and with :class:`~txstathat.errors.StoreUnavailable` if the
        store cannot be read or the copy cannot be written. Cancelling it does not stop
        the copying.
    """
    if reactor is None:
        from twisted.internet import reactor as global_reactor

        reactor = cast(IReactorThreads, global_reactor)
    try:
        source = sqlite_path(url)
    except ValueError:
        return fail()
    if source is None:
        return fail(
            ValueError("only a SQLite store can be copied; use sqlite:///a/path")
        )
    pool = reactor.getThreadPool()
    return deferToThreadPool(reactor, pool, _copy, source, path)


def _copy(source: str, path: str) -> int:
    try:
        with (
            reading(source) as old,
            new_file(path) as unfinished,
        ):
            if old.execute("PRAGMA application_id").fetchone() != (APPLICATION,):
                raise StoreError(f"{source} is not a store of txStatHat")
            # This reads one moment, and blocks no writer in WAL mode. Unlike a copy of
            # the pages, it has nothing that was deleted.
            old.execute("VACUUM INTO ?", (unfinished,))
            with closing(sqlite3.connect(unfinished)) as new:
                (check,) = new.execute("PRAGMA quick_check").fetchone()
            if check != "ok":
                raise StoreError(f"the copy is damaged: {check}")
        return os.path.getsize(path)
    except FileExistsError:
        raise
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(f"cannot copy {source} to {path}: {error}") from error
