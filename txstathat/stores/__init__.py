"""
Stores for counts, in SQLite, Redis, Redis Cluster or memory.
"""

from txstathat.stores.dump import open_dump
from txstathat.stores.interface import (
    ANY,
    BATCH_ID_TTL,
    Addition,
    Amounts,
    Cell,
    CellKey,
    Dump,
    IEntry,
    Increment,
    IStore,
    StoredCell,
    TimeBucket,
    WriteBatch,
    WriteOutcome,
    WriteResult,
)
from txstathat.stores.listing import Group, ListedRow, ListPage, ListQuery
from txstathat.stores.sqlite.file.backup import backup_store
from txstathat.stores.url import open_store

__all__ = [
    "ANY",
    "BATCH_ID_TTL",
    "Addition",
    "Amounts",
    "Cell",
    "CellKey",
    "Dump",
    "Group",
    "IEntry",
    "IStore",
    "Increment",
    "ListPage",
    "ListQuery",
    "ListedRow",
    "StoredCell",
    "TimeBucket",
    "WriteBatch",
    "WriteOutcome",
    "WriteResult",
    "backup_store",
    "open_dump",
    "open_store",
]
