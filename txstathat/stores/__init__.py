"""
Where counts are kept: SQLite, Redis, Redis Cluster, memory.
"""

from txstathat.stores.interface import (
    ANY,
    Addition,
    Amounts,
    Answer,
    Batch,
    Cell,
    CellKey,
    IEntry,
    Increment,
    IStore,
    Outcome,
    TimeBucket,
)
from txstathat.stores.sqlite.backup import backup_store
from txstathat.stores.url import open_store

__all__ = [
    "ANY",
    "Addition",
    "Amounts",
    "Answer",
    "Batch",
    "Cell",
    "CellKey",
    "IEntry",
    "IStore",
    "Increment",
    "Outcome",
    "TimeBucket",
    "backup_store",
    "open_store",
]
