"""
The Redis backend: for many processes and machines. Valkey is the same to it.

URLs are redis-py's (``redis://user:password@host:6379/0``, ``rediss://…`` with TLS,
``unix:///run/redis.sock``), with ``redis+cluster://`` and ``rediss+cluster://`` for a
Redis Cluster, of which any node will do. Their query may hold redis-py's options (such
as ``ssl_ca_certs``) and ``prefix``, with which all keys begin.

What is kept under which key is told in :mod:`txstathat.stores.redis.keys`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from threading import local
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from redis import Redis, exceptions
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry
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
    Answer,
    Batch,
    Cell,
    CellKey,
    Outcome,
)
from txstathat.stores.redis.keys import PREFIX, Keys, as_json, slot_tag
from txstathat.stores.redis.parts import Part, milliseconds, read_cell
from txstathat.stores.redis.scripts import ADD, CLAIM, PUT_RECORD, READ
from txstathat.stores.store import IBackend

__all__ = [
    "COMMAND_SECONDS",
    "CONNECT_SECONDS",
    "RedisBackend",
]

#: For how many seconds a reply is waited for, by default (``socket_timeout``).
COMMAND_SECONDS = 2.0
#: For how many seconds a connection is waited for, by default
#: (``socket_connect_timeout``).
CONNECT_SECONDS = 1.0

_VERSION = 1

# What Redis says when it cannot serve now, and may later.
_PASSING = re.compile(
    "MISCONF|NOREPLICAS|LOADING|BUSY|OOM|READONLY|MASTERDOWN|CLUSTERDOWN"
)


@implementer(IBackend)
class RedisBackend:
    """
    A Redis server, or a cluster of them.

    :param url: see this module.
    :raises ValueError: if it is not valid.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self._keys = Keys(query.pop("prefix", PREFIX))
        query.setdefault("socket_timeout", str(COMMAND_SECONDS))
        query.setdefault("socket_connect_timeout", str(CONNECT_SECONDS))
        self._clustered = parts.scheme.endswith("+cluster")
        self._url = urlunsplit(
            parts._replace(
                scheme=parts.scheme.removesuffix("+cluster"), query=urlencode(query)
            )
        )
        self._client: Any = None
        self._local = local()
        self._readers: list[Any] = []

    def open(self) -> None:
        """
        Connect.

        :raises StoreTooNew: if a newer version of this package wrote to it.
        :raises StoreUnavailable: if it cannot be reached.
        :raises StoreError: if it refuses, or is a cluster or none against the URL.
        """
        with _translate_errors():
            if self._clustered:
                self._client = RedisCluster.from_url(self._url, retry=_retry())
            else:
                self._client = Redis.from_url(self._url, retry=_retry())
            self._add_script = self._client.register_script(ADD)
            self._claim_script = self._client.register_script(CLAIM)
            self._read_script = self._client.register_script(READ)
            self._put_script = self._client.register_script(PUT_RECORD)
            self._client.set(self._keys.version, _VERSION, nx=True)
            found = int(self._client.get(self._keys.version))
        if found > _VERSION:
            raise StoreTooNew(
                f"the store has version {found} and this is for up to {_VERSION}: "
                "use the newer txStatHat that wrote it"
            )

    def close(self) -> None:
        """Disconnect."""
        if self._client is not None:
            self._client.close()
        for reader in self._readers:
            reader.close()

    # -- writing

    def add(self, batches: Sequence[Batch]) -> list[Answer]:
        """See :meth:`.IStore.add`."""
        with _translate_errors():
            return [self._add_once(batch, batch.amounts()) for batch in batches]

    def _add_once(self, batch: Batch, amounts: Amounts) -> Answer:
        for _, added in amounts.increments:
            for name, cells in added.items():
                if any(abs(one.whole) > MAX_INTEGER for one in cells.values()):
                    return Answer(Outcome.OVERFLOW, name)
        if not self._clustered:
            part = Part(self._keys, batch, slot_tag(batch.id))
            part.definitions = amounts.definitions
            for stretches, added in amounts.increments:
                for name, cells in added.items():
                    part.add(name, stretches, cells)
            for group in amounts.choices.items():
                part.choices.append(group)
            return _answer(self._run(part, "apply"))
        return self._add_parts(batch, amounts)

    def _add_parts(self, batch: Batch, amounts: Amounts) -> Answer:
        parts: dict[str, Part] = {}

        def part(tag: str) -> Part:
            if tag not in parts:
                parts[tag] = Part(self._keys, batch, tag)
            return parts[tag]

        if amounts.definitions:
            part("names").definitions = amounts.definitions
        for stretches, added in amounts.increments:
            for name, cells in added.items():
                for stretch in stretches:
                    tag = slot_tag(name, stretch.label[:10])
                    part(tag).add(name, [stretch], cells)
        for (name, group), choices in amounts.choices.items():
            part(slot_tag(name)).choices.append(((name, group), choices))

        claim = self._claim(batch, "begin")
        if claim in ("repeated", "conflict"):
            return _answer(claim)
        missing = []
        for one in parts.values():
            checked = self._run(one, "check")
            if checked not in ("fine", "repeated"):
                if claim == "begun":
                    self._claim(batch, "release")
                return _answer(checked)
            if checked == "fine":
                missing.append(one)
        try:
            with _translate_errors():
                return self._apply(batch, missing)
        except StoreUnavailable as error:
            raise StoreInterrupted(str(error)) from error

    def _apply(self, batch: Batch, parts: Sequence[Part]) -> Answer:
        for one in parts:
            applied = self._run(one, "apply")
            if applied not in ("added", "repeated"):
                return _answer(applied)
        return _answer(self._claim(batch, "done"))

    def _run(self, part: Part, mode: str) -> str:
        keys, plan = part.call()
        return str(self._add_script(keys=keys, args=[plan, mode]), "utf-8")

    def _claim(self, batch: Batch, what: str) -> str:
        key = self._keys.batch(batch.id)
        arguments = [batch.digest, milliseconds(batch.remember), what]
        return str(self._claim_script(keys=[key], args=arguments), "utf-8")

    def drop(self, name: str, unchanged: tuple[CellKey, Cell] | None = None) -> bool:
        """See :meth:`.IStore.drop`."""
        pattern = self._keys.pattern(name)
        with _translate_errors():
            keys = list(self._client.scan_iter(match=pattern, count=1000))
            if self._clustered:
                if not self._holds(unchanged):
                    return False
                existed = self._client.hdel(self._keys.names, name)
                for key in keys:
                    self._client.unlink(key)
                return bool(existed)
            with self._client.pipeline() as pipeline:
                if unchanged is not None:
                    pipeline.watch(self._keys.stretch(*unchanged[0][:3]))
                if not self._holds(unchanged):
                    return False
                pipeline.multi()
                pipeline.hdel(self._keys.names, name)
                for key in keys:
                    pipeline.unlink(key)
                try:
                    return bool(pipeline.execute()[0])
                except exceptions.WatchError:
                    return False  # it has just changed

    def _holds(self, unchanged: tuple[CellKey, Cell] | None) -> bool:
        return unchanged is None or self.read([unchanged[0]]) == [unchanged[1]]

    def drop_expired(self, limit: int) -> int:
        """Redis does it by itself: 0."""
        return 0

    # -- reading

    def read(self, keys: Sequence[CellKey]) -> list[Cell | None]:
        """See :meth:`.IStore.read`."""
        if len(keys) == 1:
            # The shortest way for the commonest question, a total.
            (name, scale, label, key) = keys[0]
            with _translate_errors():
                stretch = self._keys.stretch(name, scale, label)
                text = self._reader().hget(stretch, key)
            return [None if text is None else read_cell(_text(text))]
        # By stretch: the keys wanted of it, and where in the result their cells go.
        wanted: dict[str, tuple[list[str], list[int]]] = {}
        for place, (name, scale, label, key) in enumerate(keys):
            stretch = self._keys.stretch(name, scale, label)
            fields, places = wanted.setdefault(stretch, ([], []))
            fields.append(key)
            places.append(place)
        with _translate_errors():
            texts = self._read_texts({key: both[0] for key, both in wanted.items()})
        cells: list[Cell | None] = [None] * len(keys)
        for (_, places), several in zip(wanted.values(), texts, strict=True):
            for place, text in zip(places, several, strict=True):
                cells[place] = read_cell(text) if text else None
        return cells

    def _reader(self) -> Any:
        """
        The client of this thread, with a connection of its own: to take one from a
        pool costs a third of what a total costs.
        """
        if self._clustered:
            return self._client
        try:
            return self._local.client
        except AttributeError:
            client = self._local.client = Redis.from_url(
                self._url, retry=_retry(), single_connection_client=True
            )
            self._readers.append(client)
            return client

    def _read_texts(self, stretches: dict[str, list[str]]) -> Iterable[list[str]]:
        if self._clustered:
            pipeline = self._client.pipeline()
            for stretch, fields in stretches.items():
                pipeline.hmget(stretch, fields)
            return [[_text(one) for one in several] for several in pipeline.execute()]
        read = self._read_script(
            keys=list(stretches),
            args=[as_json(list(stretches.values()))],
            client=self._reader(),
        )
        lines = iter(_text(read).split("\n"))
        return [[next(lines) for _ in fields] for fields in stretches.values()]

    def choices(self, name: str, group: str) -> list[str]:
        """See :meth:`.IStore.choices`."""
        with _translate_errors():
            seen = self._client.smembers(self._keys.choices(name, group))
        return sorted(map(_text, seen))

    def definitions(self, names: Sequence[str] | None) -> dict[str, str]:
        """See :meth:`.IStore.definitions`."""
        with _translate_errors():
            if names is None:
                found = self._client.hgetall(self._keys.names)
                return {_text(name): _text(found[name]) for name in sorted(found)}
            if not names:
                return {}
            several = self._client.hmget(self._keys.names, list(names))
        return {
            name: _text(definition)
            for name, definition in zip(names, several, strict=True)
            if definition is not None
        }

    # -- records

    def records(self, kind: str) -> dict[str, str]:
        """See :meth:`.IStore.records`."""
        with _translate_errors():
            found = self._client.hgetall(self._keys.records(kind))
        return {_text(id): _text(found[id]) for id in sorted(found)}

    def put_record(self, kind: str, id: str, text: str | None, was: str | None) -> bool:
        """See :meth:`.IStore.put_record`."""
        now = [] if text is None else [text]
        before = [] if was in (ANY, None) else [was]
        arguments = [id, as_json([now, before, was == ANY])]
        with _translate_errors():
            return bool(
                self._put_script(keys=[self._keys.records(kind)], args=arguments)
            )


def _retry() -> Retry:
    # Once more at once, since a connection that was kept may have gone stale; what
    # takes longer is for those above, who know the batch's id, to repeat.
    return Retry(NoBackoff(), 1)


def _answer(said: str) -> Answer:
    outcome, _, name = said.partition(":")
    return Answer(Outcome(outcome), name)


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
            "Redis: this is a node of a cluster; write redis+cluster:// in the URL"
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
        if _PASSING.search(str(error)):
            raise StoreUnavailable(f"Redis: {error}") from error
        raise StoreError(f"Redis: {error}") from error
