"""
The Redis backend: for many processes and machines. It works with Valkey too.

On one server a commit appends what it adds to a journal; later many commits are folded
into the cells at once (:mod:`txstathat.stores.redis.server.journal`), and readers add
up both. On a cluster it adds to the cells at once.

:mod:`txstathat.stores.redis` describes the URLs, :mod:`txstathat.stores.redis.keys` the
keys.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis import exceptions
from redis.cluster import RedisCluster
from twisted.logger import Logger
from zope.interface import implementer

from txstathat.errors import (
    StoreError,
    StoreTooNew,
    StoreUnavailable,
)
from txstathat.stores.interface import (
    Cell,
    CellKey,
    WriteBatch,
    WriteResult,
)
from txstathat.stores.journal.due import (
    CLOSE_SECONDS,
    FOLD_AT,
    MAX_JOURNAL,
    OPEN_SECONDS,
    FoldDue,
)
from txstathat.stores.journal.fold_runner import FoldRunner
from txstathat.stores.listing import Group, ListedRow, ListPage, ListQuery
from txstathat.stores.redis.cells import (
    Found,
    as_unexpired_cell,
    read_addition,
    read_cell,
)
from txstathat.stores.redis.cluster.writer import ClusterStore
from txstathat.stores.redis.connections import Connections
from txstathat.stores.redis.definitions import all_definitions, read_definitions
from txstathat.stores.redis.keys import (
    PREFIX,
    SHARDS,
    KeyNames,
    place,
    unit_tag,
)
from txstathat.stores.redis.listing import RedisListing
from txstathat.stores.redis.merging import Batch, groups
from txstathat.stores.redis.migration import MIGRATIONS, migrate
from txstathat.stores.redis.records import Records
from txstathat.stores.redis.server.adder import JournalAdder
from txstathat.stores.redis.server.fold import SLICE_CELLS, RedisFold, RedisFolding
from txstathat.stores.redis.server.journal import Journal
from txstathat.stores.redis.server.store import ServerStore
from txstathat.stores.store import IBackend

__all__ = ["CELL_SECONDS", "RedisBackend"]

#: How much longer than usual to wait for the reply to a write, in seconds for each cell
#: that it changes: a server that other programs use too is some times slower than one
#: of its own.
CELL_SECONDS = 0.00002

_log = Logger()

_VERSION = len(MIGRATIONS) + 1

# The error codes of Redis for a temporary condition.
_TEMPORARY = re.compile(
    "MISCONF|NOREPLICAS|LOADING|BUSY|OOM|READONLY|MASTERDOWN|CLUSTERDOWN"
)


@implementer(IBackend)
class RedisBackend:
    """
    A Redis server, or a Redis Cluster.

    :param url: see :mod:`txstathat.stores.redis`.
    :param max_journal: on one server, how many additions wait to be folded before a
        commit at most.
    :param fold_at: with how many additions the journal is folded at once; and how many
        a fold has if there are more than twice as many.
    :param slice_cells: how many cells the first slice of a fold changes.
    :param monotonic: a monotonic clock, in seconds.
    :raises ValueError: if the URL is not valid.
    """

    def __init__(
        self,
        url: str,
        *,
        max_journal: int = MAX_JOURNAL,
        fold_at: int = FOLD_AT,
        slice_cells: int = SLICE_CELLS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self._keys = KeyNames(query.pop("prefix", PREFIX))
        self._connections = Connections(
            f"{url.partition('?')[0]}?{urlencode(query)}", monotonic
        )
        self._clustered = self._connections.clustered
        self._client: Any = None
        self._max_journal = max_journal
        self._fold_at = fold_at
        self._slice_cells = slice_cells
        self._monotonic = monotonic
        self._due = FoldDue(fold_at, max_journal, monotonic)
        self._folds: FoldRunner[RedisFold] | None = None

    def open(self) -> None:
        """
        Connect to the server, and migrate a store of an older version.

        :raises StoreTooNew: if a newer version of this package wrote to it.
        :raises StoreUnavailable: if it cannot be reached.
        :raises StoreError: if it refuses the connection, or if only one of the URL and
            the server is of a cluster.
        :raises ValueError: if an option in the URL is not valid.
        """
        with _translate_errors(self._clustered):
            self._connections.open()
            self._client = self._connections.client
            self._cells: Any = self._open_cells()
            self._records = Records(self._keys, self._client)
            self._listing = RedisListing(self._client, self._keys)
            self._client.set(self._keys.version, _VERSION, nx=True)
            found = int(self._client.get(self._keys.version))
            if found < _VERSION:
                self._migrate(found)
        if found > _VERSION:
            raise StoreTooNew(
                f"the store has version {found}, and this txStatHat reads versions up "
                f"to {_VERSION}; use the newer txStatHat that wrote it"
            )
        self._check_eviction()
        if not self._clustered:
            self._open_journal()

    def _open_cells(self) -> ClusterStore | ServerStore:
        if self._clustered:
            return ClusterStore(self._keys, self._client)
        return ServerStore(self._keys, self._client, self._longer)

    def _longer(self, cells: int) -> AbstractContextManager[None]:
        return self._connections.longer(CELL_SECONDS * cells)

    def _open_journal(self) -> None:
        folding = RedisFolding(
            self._keys,
            self._client,
            self._session,
            fold_at=self._fold_at,
            slice_cells=self._slice_cells,
            monotonic=self._monotonic,
        )
        self._folds = FoldRunner(folding, self._due, self._monotonic)
        self._adder = JournalAdder(
            self._cells, self._folds, self._due, self._max_journal
        )
        with suppress(StoreError):
            self._folds.run_most(OPEN_SECONDS)

    def _migrate(self, version: int) -> None:
        migrate(self._keys, self._client, version, time.time)

    def _check_eviction(self) -> None:
        try:
            if self._clustered:
                nodes = RedisCluster.PRIMARIES
                found = self._client.info("memory", target_nodes=nodes).values()
            else:
                found = [self._client.info("memory")]
        except exceptions.RedisError:
            return  # the user of the URL may not ask
        for memory in found:
            policy = memory.get("maxmemory_policy", "noeviction")
            if policy != "noeviction" and memory.get("maxmemory"):
                _log.warn(
                    "Redis deletes counts when its memory is full: its "
                    "maxmemory-policy is {policy}. Set it to noeviction.",
                    policy=policy,
                )
                return

    def close(self) -> None:
        """Fold as much as there is time for, and disconnect."""
        if self._folds is not None and self._due.seconds() is not None:
            with suppress(StoreError):
                self._folds.run_most(CLOSE_SECONDS)
        self._connections.close()

    @contextmanager
    def _session(self) -> Iterator[None]:
        self._connections.refresh()
        with _translate_errors(self._clustered):
            yield

    # -- writing

    def add(self, batches: Sequence[WriteBatch]) -> list[WriteResult]:
        """See :meth:`.IStore.add`."""
        if self._folds is not None:
            with self._session():
                return self._adder.add(batches)
        waiting = [Batch(batch, batch.amounts()) for batch in batches]
        results = []
        with self._session():
            for group in groups(waiting):
                with self._longer(group.cells):
                    results += self._add_group(group.batches)
        return results

    def _add_group(self, group: Sequence[Batch]) -> list[WriteResult]:
        results = self._cells.write(group)
        if all(one is None for one in results):
            # Something is wrong with one of them, so add each by itself.
            results = [self._cells.write([batch])[0] for batch in group]
        left = [n for n, one in enumerate(results) if one is None]
        if left:
            # Some were repeated: add the others.
            added = self._add_group([group[n] for n in left])
            results = list(results)
            for n, result in zip(left, added, strict=True):
                results[n] = result
        return cast(list[WriteResult], results)

    def drop(self, name: str, unchanged: tuple[CellKey, Cell] | None = None) -> bool:
        """See :meth:`.IStore.drop`."""
        with self._session():
            return self._settled(name, partial(self._drop, name, unchanged))

    def _settled(self, name: str, change: Callable[..., bool | None]) -> bool:
        """
        Change a Metrica, after what the journal has of it was folded.
        """
        if self._folds is None:
            return bool(change())
        return self._adder.settled([name], change)

    def _drop(
        self, name: str, unchanged: tuple[CellKey, Cell] | None, *hold: str
    ) -> bool | None:
        condition = None
        if unchanged is not None:
            condition = self._unchanged(*unchanged)
            if condition is None:
                return False
        found: bool | None = self._cells.drop(name, condition, *hold)
        return found

    def _unchanged(self, key: CellKey, cell: Cell) -> tuple[str, str, str, str] | None:
        """
        Return where a cell is, and its bytes in hexadecimal digits, if it has the
        expected contents.
        """
        tag = unit_tag(key.name, key.key)
        ending, field = place(key.scale, key.label)
        place_of = self._keys.key(tag, ending)
        now, [[found]] = self._cells.read(self._client, {place_of: [field]})
        if read_cell(found, now) != cell:
            return None
        return tag, ending, field, found.hex()

    def rename(self, name: str, new: str) -> bool:
        """See :meth:`.IStore.rename`."""
        with self._session():
            return self._settled(name, partial(self._cells.rename, name, new))

    def erase_deleted(self) -> None:
        """Do nothing: Redis stores only what there is."""

    def drop_expired(self, limit: int) -> int:
        """Return 0: Redis itself deletes expired keys."""
        return 0

    def fold(self) -> bool:
        """See :meth:`.IBackend.fold`."""
        return self._folds is not None and self._folds.run_slice()

    def _fold_all(self) -> None:
        """Fold what is in the journal now."""
        if self._folds is not None:
            with self._session():
                self._adder.fold_all()

    def fold_due(self) -> float | None:
        """See :meth:`.IBackend.fold_due`."""
        return None if self._clustered else self._due.seconds()

    # -- reading

    def read(self, keys: Sequence[CellKey]) -> list[Cell | None]:
        """See :meth:`.IStore.read`."""
        places = [self._place(key) for key in keys]
        with self._session():
            if len(places) == 1 and not self._clustered:
                # The fast way for the most common read, a total.
                reader = self._connections.reader()
                found, complete = self._cells.total(reader, *places[0])
                if complete and (found is None or read_addition(found)[1] is None):
                    return [read_cell(found, 0)]
            return self._read(keys, places)

    def _place(self, key: CellKey) -> tuple[str, str]:
        ending, field = place(key.scale, key.label)
        return self._keys.key(unit_tag(key.name, key.key), ending), field

    def _read(
        self, keys: Sequence[CellKey], places: Sequence[tuple[str, str]]
    ) -> list[Cell | None]:
        # For each key: the fields to read, and the indexes of their cells in the
        # result.
        wanted: dict[str, tuple[list[str], list[int]]] = {}
        for index, (key, field) in enumerate(places):
            fields, indexes = wanted.setdefault(key, ([], []))
            fields.append(field)
            indexes.append(index)
        reader = self._connections.reader()
        fields_of = {key: fields for key, (fields, _) in wanted.items()}
        journal: Journal | None = None
        if self._clustered:
            now, read = self._cells.read(reader, fields_of)
        else:
            names = {key.name for key in keys}
            now, read, journal = self._cells.read_all(reader, fields_of, names)
        found: list[Found | None] = [None] * len(places)
        for (_, indexes), cells in zip(wanted.values(), read, strict=True):
            for index, cell in zip(indexes, cells, strict=True):
                found[index] = read_addition(cell) if cell else None
        if journal is not None:
            self._due.note_read()
            journal.add_to(keys, found)
        return [as_unexpired_cell(one, now) for one in found]

    def choices(self, name: str, group: str) -> list[str]:
        """See :meth:`.IStore.choices`."""
        with self._session():
            seen = self._client.smembers(self._keys.choices(name, group))
        return sorted(str(choice, "utf-8") for choice in seen)

    def definitions(self, names: Sequence[str]) -> dict[str, str]:
        """See :meth:`.IBackend.definitions`."""
        with self._session():
            return read_definitions(self._keys, self._cells.call, names)

    def definitions_after(self, name: str | None) -> tuple[dict[str, str], str | None]:
        """Return all definitions: other threads read meanwhile."""
        with self._session():
            return all_definitions(self._keys, self._cells.call), None

    def count_definitions(self, apart_from: Sequence[str]) -> int:
        """See :meth:`.IStore.count_definitions`."""
        # Those that do not count come first: what is created meanwhile counts then. The
        # other way round it would be subtracted, and not be in the sum.
        apart = len(self.definitions(apart_from))
        with self._session():
            counts = self._cells.call(
                [("HLEN", self._keys.names(shard)) for shard in range(SHARDS)]
            )
        return sum(map(int, counts)) - apart

    def size(self) -> int:
        """See :meth:`.IStore.size`."""
        with self._session():
            if self._clustered:
                nodes = RedisCluster.PRIMARIES
                found = self._client.info("memory", target_nodes=nodes).values()
            else:
                found = [self._client.info("memory")]
        return sum(int(memory["used_memory"]) for memory in found)

    # -- records

    def records(self, kind: str) -> dict[str, str]:
        """See :meth:`.IStore.records`."""
        with self._session():
            return self._records.all(kind)

    def record(self, kind: str, id: str) -> str | None:
        """See :meth:`.IStore.record`."""
        with self._session():
            return self._records.one(kind, id)

    def put_record(self, kind: str, id: str, text: str | None, was: str | None) -> bool:
        """See :meth:`.IStore.put_record`."""
        with self._session():
            return self._records.put(kind, id, text, was)

    # -- the listing

    def put_listed(self, rows: Sequence[ListedRow], gone: Sequence[str]) -> None:
        """See :meth:`.IStore.put_listed`."""
        with self._session():
            self._listing.put(rows, gone)

    def list_page(self, query: ListQuery) -> ListPage:
        """See :meth:`.IStore.list_page`."""
        with self._session():
            return self._listing.page(query)

    def listed_names(self, ids: Sequence[str]) -> dict[str, str]:
        """See :meth:`.IStore.listed_names`."""
        with self._session():
            return self._listing.names(ids)

    def list_groups(self, query: ListQuery) -> list[Group]:
        """See :meth:`.IStore.list_groups`."""
        with self._session():
            return self._listing.groups(query)


@contextmanager
def _translate_errors(clustered: bool) -> Iterator[None]:
    try:
        yield
    except exceptions.AuthenticationError as error:
        raise StoreError(f"Redis refused the password: {error}") from error
    except exceptions.MovedError as error:
        if clustered:
            raise StoreUnavailable(f"Redis: {error}") from error
        raise StoreError(
            "Redis: this is a node of a cluster; use redis+cluster:// in the URL"
        ) from error
    except (
        exceptions.ConnectionError,
        exceptions.TimeoutError,
        exceptions.ClusterDownError,
        exceptions.AskError,
        exceptions.TryAgainError,
        exceptions.RedisClusterException,
        exceptions.ReadOnlyError,
        exceptions.OutOfMemoryError,
    ) as error:
        raise StoreUnavailable(f"Redis: {error}") from error
    except exceptions.RedisError as error:
        if _TEMPORARY.search(str(error)):
            raise StoreUnavailable(f"Redis: {error}") from error
        raise StoreError(f"Redis: {error}") from error
