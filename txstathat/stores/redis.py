"""
The Redis backend: for many processes and machines. Valkey is the same to it.

URLs are redis-py's (``redis://user:password@host:6379/0``, ``rediss://…`` with TLS,
``unix:///run/redis.sock``), with ``redis+cluster://`` and ``rediss+cluster://`` for a
Redis Cluster, of which any node will do. Their query may hold redis-py's options (such
as ``ssl_ca_certs``) and ``prefix``, with which all keys begin.

Cells are hashes, one for each stretch of time; they spread over the slots of a cluster
by day. The keys' parts are JSON, so no name can be taken for another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from json.encoder import encode_basestring_ascii as _quote
from threading import local
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from zlib import crc32

from redis import Redis, exceptions
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry
from zope.interface import implementer

from txstathat.errors import StoreError, StoreTooNew, StoreUnavailable
from txstathat.points import MAX_INTEGER
from txstathat.stores.interface import (
    ANY,
    Addition,
    Amounts,
    Answer,
    Batch,
    Cell,
    CellKey,
    Outcome,
    Stretch,
)
from txstathat.stores.redis_scripts import ADD, CLAIM, PUT_RECORD, READ
from txstathat.stores.store import IBackend
from txstathat.stores.sums import as_cell

__all__ = [
    "COMMAND_SECONDS",
    "CONNECT_SECONDS",
    "PREFIX",
    "RedisBackend",
    "read_addition",
]

#: With what all keys begin, by default.
PREFIX = "txstathat"
#: For how many seconds a reply is waited for, by default (``socket_timeout``).
COMMAND_SECONDS = 2.0
#: For how many seconds a connection is waited for, by default
#: (``socket_connect_timeout``).
CONNECT_SECONDS = 1.0

_VERSION = 1
_TAGS = [f"{n:02x}" for n in range(256)]

_ENCODER = json.JSONEncoder(separators=(",", ":"))

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
        self._prefix = query.pop("prefix", PREFIX)
        if not re.fullmatch(r"[\w.:-]+", self._prefix):
            raise ValueError(
                "the prefix of a Redis store is made of letters, digits and _ . : -"
            )
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
        with _told_errors():
            if self._clustered:
                self._client = RedisCluster.from_url(self._url, retry=_retry())
            else:
                self._client = Redis.from_url(self._url, retry=_retry())
            self._add_script = self._client.register_script(ADD)
            self._claim_script = self._client.register_script(CLAIM)
            self._read_script = self._client.register_script(READ)
            self._put_script = self._client.register_script(PUT_RECORD)
            version = self._key("names", "version")
            self._client.set(version, _VERSION, nx=True)
            found = int(self._client.get(version))
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

    # -- keys

    def _key(self, tag: str, rest: str) -> str:
        # What is in the braces decides the slot.
        return f"{self._prefix}:{{{tag}}}:{rest}"

    def _stretch_key(self, name: str, scale: str, label: str) -> str:
        # All of a day is in one slot: so few parts make up a batch.
        tag = _tag(name, label[:10])
        return self._key(tag, f"[{_quote(name)},{_quote(scale)},{_quote(label)}]")

    def _choices_key(self, name: str, group: str) -> str:
        return self._key(_tag(name), _json([name, None, group]))

    @property
    def _names_key(self) -> str:
        return self._key("names", "names")

    # -- writing

    def add(self, batches: Sequence[Batch]) -> list[Answer]:
        """See :meth:`.IStore.add`."""
        with _told_errors():
            return [self._add_once(batch, batch.amounts()) for batch in batches]

    def _add_once(self, batch: Batch, amounts: Amounts) -> Answer:
        for _, added in amounts.increments:
            for name, cells in added.items():
                if any(abs(one.whole) > MAX_INTEGER for one in cells.values()):
                    return Answer(Outcome.OVERFLOW, name)
        if not self._clustered:
            part = _Part(self, batch, _tag(batch.id))
            part.definitions = amounts.definitions
            for stretches, added in amounts.increments:
                for name, cells in added.items():
                    part.add(name, stretches, cells)
            for group in amounts.choices.items():
                part.choices.append(group)
            return _answer(part.run("apply"))
        return self._add_parts(batch, amounts)

    def _add_parts(self, batch: Batch, amounts: Amounts) -> Answer:
        parts: dict[str, _Part] = {}

        def part(tag: str) -> _Part:
            if tag not in parts:
                parts[tag] = _Part(self, batch, tag)
            return parts[tag]

        if amounts.definitions:
            part("names").definitions = amounts.definitions
        for stretches, added in amounts.increments:
            for name, cells in added.items():
                for stretch in stretches:
                    tag = _tag(name, stretch.label[:10])
                    part(tag).add(name, [stretch], cells)
        for (name, group), choices in amounts.choices.items():
            part(_tag(name)).choices.append(((name, group), choices))

        claim = self._claim(batch, "begin")
        if claim in ("repeated", "conflict"):
            return _answer(claim)
        missing = []
        for one in parts.values():
            checked = one.run("check")
            if checked not in ("fine", "repeated"):
                if claim == "begun":
                    self._claim(batch, "release")
                return _answer(checked)
            if checked == "fine":
                missing.append(one)
        for one in missing:
            applied = one.run("apply")
            if applied not in ("added", "repeated"):
                return _answer(applied)
        return _answer(self._claim(batch, "done"))

    def _claim(self, batch: Batch, what: str) -> str:
        key = self._key(_tag(batch.id), f"batch:{batch.id}")
        arguments = [batch.digest, _milliseconds(batch.remember), what]
        return str(self._claim_script(keys=[key], args=arguments), "utf-8")

    def drop(self, name: str) -> bool:
        """See :meth:`.IStore.drop`."""
        # Their names begin with the Metrica's, so they can be looked for.
        pattern = _glob(self._prefix) + ":{??}:" + _glob(f"[{_json(name)},") + "*"
        with _told_errors():
            existed = self._client.hdel(self._names_key, name)
            for key in self._client.scan_iter(match=pattern, count=1000):
                self._client.unlink(key)
        return bool(existed)

    def drop_expired(self, limit: int) -> int:
        """Redis does it by itself: 0."""
        return 0

    # -- reading

    def read(self, keys: Sequence[CellKey]) -> list[Cell | None]:
        """See :meth:`.IStore.read`."""
        if len(keys) == 1:
            # The shortest way for the commonest question, a total.
            (name, scale, label, key) = keys[0]
            with _told_errors():
                stretch = self._stretch_key(name, scale, label)
                text = self._reader().hget(stretch, key)
            return [None if text is None else _cell(_text(text))]
        # By stretch: the keys wanted of it, and where in the result their cells go.
        wanted: dict[str, tuple[list[str], list[int]]] = {}
        for place, (name, scale, label, key) in enumerate(keys):
            stretch = self._stretch_key(name, scale, label)
            fields, places = wanted.setdefault(stretch, ([], []))
            fields.append(key)
            places.append(place)
        with _told_errors():
            texts = self._read_texts({key: both[0] for key, both in wanted.items()})
        cells: list[Cell | None] = [None] * len(keys)
        for (_, places), several in zip(wanted.values(), texts, strict=True):
            for place, text in zip(places, several, strict=True):
                cells[place] = _cell(text) if text else None
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
            args=[_json(list(stretches.values()))],
            client=self._reader(),
        )
        lines = iter(_text(read).split("\n"))
        return [[next(lines) for _ in fields] for fields in stretches.values()]

    def choices(self, name: str, group: str) -> list[str]:
        """See :meth:`.IStore.choices`."""
        with _told_errors():
            seen = self._client.smembers(self._choices_key(name, group))
        return sorted(map(_text, seen))

    def definitions(self, names: Sequence[str] | None) -> dict[str, str]:
        """See :meth:`.IStore.definitions`."""
        with _told_errors():
            if names is None:
                found = self._client.hgetall(self._names_key)
                return {_text(name): _text(found[name]) for name in sorted(found)}
            if not names:
                return {}
            several = self._client.hmget(self._names_key, list(names))
        return {
            name: _text(definition)
            for name, definition in zip(names, several, strict=True)
            if definition is not None
        }

    # -- records

    def records(self, kind: str) -> dict[str, str]:
        """See :meth:`.IStore.records`."""
        with _told_errors():
            found = self._client.hgetall(self._records_key(kind))
        return {_text(id): _text(found[id]) for id in sorted(found)}

    def put_record(self, kind: str, id: str, text: str | None, was: str | None) -> bool:
        """See :meth:`.IStore.put_record`."""
        now = [] if text is None else [text]
        before = [] if was in (ANY, None) else [was]
        arguments = [id, _json([now, before, was == ANY])]
        with _told_errors():
            return bool(
                self._put_script(keys=[self._records_key(kind)], args=arguments)
            )

    def _records_key(self, kind: str) -> str:
        return self._key("names", f"records:{_json(kind)}")


def _retry() -> Retry:
    # Once more at once, since a connection that was kept may have gone stale; what
    # takes longer is for those above, who know the batch's id, to repeat.
    return Retry(NoBackoff(), 1)


class _Part:
    """
    The part of a batch that one call of the script adds.
    """

    def __init__(self, backend: RedisBackend, batch: Batch, tag: str) -> None:
        self._backend = backend
        self._batch = batch
        self._tag = tag
        self._call: tuple[list[str], str] | None = None
        self.definitions: Any = {}
        self.increments: list[
            tuple[str, Sequence[Stretch], Mapping[str, Addition]]
        ] = []
        self.choices: list[tuple[tuple[str, str], Sequence[str]]] = []

    def add(
        self, name: str, stretches: Sequence[Stretch], cells: Mapping[str, Addition]
    ) -> None:
        """
        Add to some stretches of a Metrica.
        """
        self.increments.append((name, stretches, cells))

    def run(self, mode: str) -> str:
        """
        Call the script, and return what it says.
        """
        if self._call is None:
            self._call = self._prepare()
        keys, plan = self._call
        return str(self._backend._add_script(keys=keys, args=[plan, mode]), "utf-8")

    def _prepare(self) -> tuple[list[str], str]:
        backend = self._backend
        keys = [
            backend._key(self._tag, f"part:{self._batch.id}"),
            backend._key(self._tag, "scratch"),
            # A part without definitions does not touch them, and may be elsewhere.
            backend._names_key if self.definitions else backend._key(self._tag, "none"),
        ]
        # What is added in several places need be told only once.
        cells: list[list[str]] = []
        numbers: dict[int, int] = {}
        increments: list[list[str | int]] = []
        for name, stretches, added in self.increments:
            number = numbers.get(id(added))
            if number is None:
                cells.append(_flat(added.items()))
                number = numbers[id(added)] = len(cells)
            increments.append([name, number, len(keys) + 1])
            for scale, label, keep in stretches:
                keys.append(backend._stretch_key(name, scale, label))
                kept = "" if keep is None else _milliseconds(keep)
                increments[-1].append(kept)
        choices = []
        for (name, group), seen in self.choices:
            keys.append(backend._choices_key(name, group))
            choices.append([len(keys), *seen])
        plan = {
            "digest": self._batch.digest,
            "remember": _milliseconds(self._batch.remember),
            "definitions": [text for both in self.definitions.items() for text in both],
            "cells": cells,
            "increments": increments,
            "choices": choices,
        }
        return keys, _json(plan)


def _flat(cells: Iterable[tuple[str, Addition]]) -> list[str]:
    flat = []
    for key, (whole, events, least, most, real, rest) in cells:
        flat.append(key)
        if real is None:
            flat.append(f"{whole} {events} {least} {most}")
        else:
            flat.append(f"{whole} {events} {least!r} {most!r} {real!r} {rest!r}")
    return flat


def read_addition(text: str) -> Addition:
    """
    What a cell is made of.

    :param text: the cell's text.
    """
    whole, events, least, most, *floats = text.split(" ")
    real, rest = map(float, floats) if floats else (None, 0.0)
    return Addition(int(whole), int(events), _number(least), _number(most), real, rest)


def _cell(text: str) -> Cell:
    return as_cell(*read_addition(text))


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _answer(said: str) -> Answer:
    outcome, _, name = said.partition(":")
    return Answer(Outcome(outcome), name)


def _text(reply: bytes | None) -> str:
    return "" if reply is None else reply.decode("utf-8")


def _json(thing: Any) -> str:
    return _ENCODER.encode(thing)


def _tag(name: str, day: str | None = None) -> str:
    parts = _quote(name) if day is None else f"{_quote(name)},{_quote(day)}"
    return _TAGS[crc32(f"[{parts}]".encode("ascii")) % len(_TAGS)]


def _glob(text: str) -> str:
    return re.sub(r"([\\*?\[\]^-])", r"\\\1", text)


def _milliseconds(seconds: float) -> str:
    return str(max(1, int(seconds * 1000)))


@contextmanager
def _told_errors() -> Iterator[None]:
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
