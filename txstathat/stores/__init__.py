"""
Where counts are kept: SQLite, Redis, Redis Cluster, memory.
"""

from txstathat.stores.interface import (
    Addition,
    Amounts,
    Answer,
    Batch,
    Cell,
    CellKey,
    IEntry,
    IStore,
    Outcome,
    Stretch,
)
from txstathat.stores.url import open_store

__all__ = [
    "Addition",
    "Amounts",
    "Answer",
    "Batch",
    "Cell",
    "CellKey",
    "IEntry",
    "IStore",
    "Outcome",
    "Stretch",
    "open_store",
]
