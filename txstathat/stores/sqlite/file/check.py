"""
Looks for damage in the file of a SQLite store.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing

from txstathat.errors import StoreError, StoreUnavailable
from txstathat.stores.sqlite.schema import open_read_only

__all__ = ["CHECK_SECONDS", "check_file"]

#: For how many seconds a file is checked at most. Of a larger one a part is checked.
CHECK_SECONDS = 5.0

# After how many of its steps SQLite calls the progress handler.
_STEPS = 10_000


def check_file(
    path: str,
    seconds: float = CHECK_SECONDS,
    monotonic: Callable[[], float] = time.monotonic,
) -> bool:
    """
    Check the file of a store, as far as the time allows. This blocks.

    :param path: the file.
    :param seconds: for how many seconds at most.
    :param monotonic: the clock, in seconds.
    :returns: whether all of it was checked.
    :raises StoreError: if it is damaged.
    :raises StoreUnavailable: if it cannot be opened.
    """
    end = monotonic() + seconds
    try:
        with closing(open_read_only(path)) as db:
            db.set_progress_handler(lambda: monotonic() > end, _STEPS)
            (result,) = db.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if monotonic() > end:
            return False
        raise StoreUnavailable(f"cannot check {path}: {error}") from error
    except sqlite3.DatabaseError as error:
        result = str(error)
    if result != "ok":
        detail = result.strip().splitlines()[-1]
        raise StoreError(
            f"the store {path} is damaged ({detail}): restore a backup, or recover "
            "what is left with the program sqlite3"
        )
    return True
