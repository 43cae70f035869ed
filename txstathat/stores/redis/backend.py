"""
The Redis backend: for many processes and machines. It works with Valkey too.

:mod:`txstathat.stores.redis` describes the URLs, :mod:`txstathat.stores.redis.keys` the
keys.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis import exceptions
from redis.cluster import RedisCluster
from twisted.logger import Logger
from zope.interface import implementer

from txstathat.errors import (
    StoreError,
    StoreInterrupted,
    StoreTooNew,
    StoreUnavailable,
)
from txstathat.points.model import MAX_INTEGER
from txstathat.stores.interface import (
    ANY,
    Amounts,
    Cell,
    CellKey,
    WriteBatch,
    WriteOutcome,
    WriteResult,
)
from txstathat.stores.listing import Group, ListedRow, ListPage, ListQuery
from txstathat.stores.redis.connections import Connections
from txstathat.stores.redis.keys import PREFIX, KeyNames, as_json, slot_tag
from txstathat.stores.redis.listing import RedisListing
from txstathat.stores.redis.parts import Part, milliseconds, read_cell, split_by_slot
from txstathat.stores.redis.rename import KeyMover, is_mark
from txstathat.stores.redis.scripts import ADD, CLAIM, PUT_RECORD, READ, RENAME
from txstathat.stores.spread import spread
from txstathat.stores.store import IBackend

__all__ = ["RedisBackend"]

_log = Logger()

_VERSION = 1

# The error codes of Redis for a temporary condition.
_TEMPORARY = re.compile(
    "MISCONF|NOREPLICAS|LOADING|BUSY|OOM|READONLY|MASTERDOWN|CLUSTERDOWN"
)


@implementer(IBackend)
class RedisBackend:
    """
    A Redis server, or a Redis Cluster.

    :param url: see :mod:`txstathat.stores.redis`.
    :param monotonic: a monotonic clock, in seconds.
    :raises ValueError: if the URL is not valid.
    """

    def __init__(
        self, url: str, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self._keys = KeyNames(query.pop("prefix", PREFIX))
        self._connections = Connections(
            f"{url.partition('?')[0]}?{urlencode(query)}", monotonic
        )
        self._clustered = self._connections.clustered
        self._client: Any = None

    def open(self) -> None:
        """
        Connect to the server.

        :raises StoreTooNew: if a newer version of this package wrote to it.
        :raises StoreUnavailable: if it cannot be reached.
        :raises StoreError: if it refuses the connection, or if only one of the URL and
            the server is of a cluster.
        :raises ValueError: if an option in the URL is not valid.
        """
        with _translate_errors():
            self._connections.open()
            self._client = self._connections.client
            self._add_script = self._client.register_script(ADD)
            self._claim_script = self._client.register_script(CLAIM)
            self._read_script = self._client.register_script(READ)
            self._put_script = self._client.register_script(PUT_RECORD)
            self._rename_script = self._client.register_script(RENAME)
            self._listing = RedisListing(self._client, self._keys)
            self._client.set(self._keys.version, _VERSION, nx=True)
            found = int(self._client.get(self._keys.version))
        if found > _VERSION:
            raise StoreTooNew(
                f"the store has version {found}, and this txStatHat reads versions up "
                f"to {_VERSION}; use the newer txStatHat that wrote it"
            )
        self._check_eviction()

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
        """Disconnect."""
        self._connections.close()

    @contextmanager
    def _session(self) -> Iterator[None]:
        self._connections.refresh()
        with _translate_errors():
            yield

    # -- writing

    def add(self, batches: Sequence[WriteBatch]) -> list[WriteResult]:
        """See :meth:`.IStore.add`."""
        with self._session():
            return [self._add_once(batch, batch.amounts()) for batch in batches]

    def _add_once(self, batch: WriteBatch, amounts: Amounts) -> WriteResult:
        increments = spread(amounts)
        for _, added in increments:
            for name, cells in added.items():
                if any(abs(one.whole) > MAX_INTEGER for one in cells.values()):
                    return WriteResult(WriteOutcome.OVERFLOW, name)
        if not self._clustered:
            part = Part(self._keys, batch, slot_tag(batch.id))
            part.definitions = amounts.definitions
            for buckets, added in increments:
                for name, cells in added.items():
                    part.add(name, buckets, cells)
            part.choices += amounts.choices.items()
            return _to_result(self._run(part, "apply"))
        return self._add_parts(
            batch, split_by_slot(self._keys, batch, amounts, increments)
        )

    def _add_parts(self, batch: WriteBatch, parts: Sequence[Part]) -> WriteResult:
        claim = self._claim(batch, "begin")
        if claim in ("repeated", "conflict"):
            return _to_result(claim)
        missing = []
        for part in parts:
            checked = self._run(part, "check")
            if checked not in ("fine", "repeated"):
                if claim == "begun":
                    self._claim(batch, "release")
                return _to_result(checked)
            if checked == "fine":
                missing.append(part)
        try:
            with _translate_errors():
                return self._apply(batch, missing)
        except StoreUnavailable as error:
            raise StoreInterrupted(str(error)) from error

    def _apply(self, batch: WriteBatch, parts: Sequence[Part]) -> WriteResult:
        for part in parts:
            applied = self._run(part, "apply")
            if applied not in ("added", "repeated"):
                return _to_result(applied)
        return _to_result(self._claim(batch, "done"))

    def _run(self, part: Part, mode: str) -> str:
        keys, plan = part.call()
        return str(self._add_script(keys=keys, args=[plan, mode]), "utf-8")

    def _claim(self, batch: WriteBatch, step: str) -> str:
        key = self._keys.batch(batch.id)
        arguments = [batch.digest, milliseconds(batch.id_ttl), step]
        return str(self._claim_script(keys=[key], args=arguments), "utf-8")

    def drop(self, name: str, unchanged: tuple[CellKey, Cell] | None = None) -> bool:
        """See :meth:`.IStore.drop`."""
        pattern = self._keys.pattern(name)
        with self._session():
            keys = list(self._client.scan_iter(match=pattern, count=1000))
            if self._clustered:
                if not self._is_unchanged(unchanged):
                    return False
                existed = self._client.hdel(self._keys.names, name)
                for key in keys:
                    self._client.unlink(key)
                return bool(existed)
            with self._client.pipeline() as pipeline:
                if unchanged is not None:
                    pipeline.watch(self._keys.bucket(*unchanged[0][:3]))
                if not self._is_unchanged(unchanged):
                    return False
                pipeline.multi()
                pipeline.hdel(self._keys.names, name)
                for key in keys:
                    pipeline.unlink(key)
                try:
                    return bool(pipeline.execute()[0])
                except exceptions.WatchError:
                    return False  # the cell has just changed

    def _is_unchanged(self, cell: tuple[CellKey, Cell] | None) -> bool:
        return cell is None or self.read([cell[0]]) == [cell[1]]

    def rename(self, name: str, new: str) -> bool:
        """See :meth:`.IStore.rename`."""
        with self._session():
            mover = KeyMover(
                self._client, self._keys, self._run, self._rename_script, name, new
            )
            return mover.rename()

    def erase_deleted(self) -> None:
        """Do nothing: Redis stores only what there is."""

    def drop_expired(self, limit: int) -> int:
        """Return 0: Redis itself deletes expired keys."""
        return 0

    def fold(self) -> bool:
        """Return ``False``: what is added is in its cells at once."""
        return False

    def fold_due(self) -> float | None:
        """Return ``None``: there is never anything to fold."""
        return None

    # -- reading

    def read(self, keys: Sequence[CellKey]) -> list[Cell | None]:
        """See :meth:`.IStore.read`."""
        if len(keys) == 1:
            # The fast way for the most common read, a total.
            (name, scale, label, key) = keys[0]
            with self._session():
                text = self._connections.reader().hget(
                    self._keys.bucket(name, scale, label), key
                )
            return [None if text is None else read_cell(_text(text))]
        # For each bucket: the keys to read, and the indexes of their cells in the
        # result.
        wanted: dict[str, tuple[list[str], list[int]]] = {}
        for index, (name, scale, label, key) in enumerate(keys):
            bucket = self._keys.bucket(name, scale, label)
            fields, indexes = wanted.setdefault(bucket, ([], []))
            fields.append(key)
            indexes.append(index)
        with self._session():
            texts = self._read_texts(
                {bucket: fields for bucket, (fields, _) in wanted.items()}
            )
        cells: list[Cell | None] = [None] * len(keys)
        for (_, indexes), bucket_texts in zip(wanted.values(), texts, strict=True):
            for index, text in zip(indexes, bucket_texts, strict=True):
                cells[index] = read_cell(text) if text else None
        return cells

    def _read_texts(self, buckets: dict[str, list[str]]) -> Iterable[list[str]]:
        if self._clustered:
            pipeline = self._client.pipeline()
            for bucket, fields in buckets.items():
                pipeline.hmget(bucket, fields)
            return [[_text(one) for one in texts] for texts in pipeline.execute()]
        reply = self._read_script(
            keys=list(buckets),
            args=[as_json(list(buckets.values()))],
            client=self._connections.reader(),
        )
        lines = iter(_text(reply).split("\n"))
        return [[next(lines) for _ in fields] for fields in buckets.values()]

    def choices(self, name: str, group: str) -> list[str]:
        """See :meth:`.IStore.choices`."""
        with self._session():
            seen = self._client.smembers(self._keys.choices(name, group))
        return sorted(map(_text, seen))

    def definitions(self, names: Sequence[str] | None) -> dict[str, str]:
        """See :meth:`.IStore.definitions`."""
        with self._session():
            if names is None:
                found = self._client.hgetall(self._keys.names)
                return {
                    _text(name): _text(found[name])
                    for name in sorted(found)
                    if not is_mark(found[name])
                }
            if not names:
                return {}
            found = self._client.hmget(self._keys.names, list(names))
        return {
            name: _text(definition)
            for name, definition in zip(names, found, strict=True)
            if definition is not None and not is_mark(definition)
        }

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
            found = self._client.hgetall(self._keys.records(kind))
        return {_record_text(id): _record_text(found[id]) for id in sorted(found)}

    def record(self, kind: str, id: str) -> str | None:
        """See :meth:`.IStore.record`."""
        with self._session():
            found = self._client.hget(self._keys.records(kind), id)
        return None if found is None else _record_text(found)

    def put_record(self, kind: str, id: str, text: str | None, was: str | None) -> bool:
        """See :meth:`.IStore.put_record`."""
        now = [] if text is None else [text]
        before = [] if was in (ANY, None) else [was]
        arguments = [id, as_json([now, before, was == ANY])]
        with self._session():
            return bool(
                self._put_script(keys=[self._keys.records(kind)], args=arguments)
            )

    # -- the listing

    def put_listed(self, rows: Sequence[ListedRow], gone: Sequence[str]) -> None:
        """See :meth:`.IStore.put_listed`."""
        with self._session():
            self._listing.put(rows, gone)

    def list_page(self, query: ListQuery) -> ListPage:
        """See :meth:`.IStore.list_page`."""
        with self._session():
            return self._listing.page(query)

    def list_groups(self, query: ListQuery) -> list[Group]:
        """See :meth:`.IStore.list_groups`."""
        with self._session():
            return self._listing.groups(query)


def _to_result(reply: str) -> WriteResult:
    outcome, _, name = reply.partition(":")
    if outcome == "renaming":
        # The same batches can be added a moment later.
        raise StoreInterrupted(f"{name!r} is being renamed; try again")
    return WriteResult(WriteOutcome(outcome), name)


def _record_text(reply: bytes) -> str:
    # A damaged record must not keep the others from being read.
    return reply.decode("utf-8", "surrogateescape")


def _text(reply: bytes | None) -> str:
    return "" if reply is None else reply.decode("utf-8")


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except exceptions.AuthenticationError as error:
        raise StoreError(f"Redis refused the password: {error}") from error
    except exceptions.MovedError as error:
        raise StoreError(
            "Redis: this is a node of a cluster; use redis+cluster:// in the URL"
        ) from error
    except (
        exceptions.ConnectionError,
        exceptions.TimeoutError,
        exceptions.ClusterDownError,
        exceptions.RedisClusterException,
        exceptions.ReadOnlyError,
        exceptions.OutOfMemoryError,
    ) as error:
        raise StoreUnavailable(f"Redis: {error}") from error
    except exceptions.RedisError as error:
        if _TEMPORARY.search(str(error)):
            raise StoreUnavailable(f"Redis: {error}") from error
        raise StoreError(f"Redis: {error}") from error
