"""
Spool files that are damaged: verify, read what is intact, set aside.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress

from txstathat.delivery.batch import SealedBatch
from txstathat.delivery.spool.file import UNREADABLE, Damaged, SpoolFile, is_damage
from txstathat.delivery.spool.salvage import read_intact_batches

__all__ = [
    "DAMAGED",
    "MAX_DAMAGED_FILES",
    "open_verified",
    "remove_file",
    "salvage_file",
    "set_aside",
]

#: How many damaged files are stored for inspection; the oldest are removed.
MAX_DAMAGED_FILES = 10
#: The extension of a damaged file.
DAMAGED = ".damaged"


def open_verified(path: str) -> SpoolFile:
    """
    Open a spool file and check all of it.

    :raises Damaged: if any of it is not as it was written.
    :raises OSError, sqlite3.Error: if it cannot be read.
    """
    try:
        spool = SpoolFile(path)
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


def salvage_file(path: str, after: int = 0) -> tuple[list[SealedBatch], int]:
    """
    Read the intact batches of a damaged file.

    :param after: the number of the last row that is not wanted.
    :returns: the batches, and how many more are damaged: at least 1.
    """
    with suppress(sqlite3.Error):
        db = sqlite3.connect(path)
        try:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            db.close()
    with open(path, "rb") as file:
        intact, damaged = read_intact_batches(file.read())
    batches = [batch for seq, batch in intact.items() if seq > after]
    for batch in batches:
        batch.number = 0
    return batches, max(1, damaged)


def set_aside(path: str) -> None:
    """
    Rename a damaged file, so that it is not opened again, and remove the oldest of
    those that were set aside before.
    """
    stem, _ = os.path.splitext(path)
    os.replace(path, stem + DAMAGED)
    remove_file(path)
    folder = os.path.dirname(path)
    names = sorted(name for name in os.listdir(folder) if name.endswith(DAMAGED))
    for name in names[:-MAX_DAMAGED_FILES]:
        os.unlink(os.path.join(folder, name))


def remove_file(path: str) -> None:
    """
    Remove a spool file, with SQLite's files beside it.
    """
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(path + suffix)
