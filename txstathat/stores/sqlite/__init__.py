"""
The SQLite store: a file on a local disk.
"""

from txstathat.stores.sqlite.backend import SqliteBackend
from txstathat.stores.sqlite.dump import SqliteDump, open_sqlite_dump
from txstathat.stores.sqlite.file.backup import backup_store
from txstathat.stores.sqlite.file.private import new_file
from txstathat.stores.sqlite.file.restore import restore_store

__all__ = [
    "SqliteBackend",
    "SqliteDump",
    "backup_store",
    "new_file",
    "open_sqlite_dump",
    "restore_store",
]
