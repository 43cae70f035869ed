"""
Reading the records of a store one by one, so that a damaged one stops no function.

A record that cannot be read is damaged, or a newer version of txStatHat wrote it. It is
skipped, logged once, counted for ``/metrics`` and ``/healthz``, and not changed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from twisted.logger import Logger

from txstathat.errors import InvalidPoint
from txstathat.stores.interface import IStore

__all__ = [
    "LATEST",
    "BadRecord",
    "RecordReader",
    "check_fields",
    "count_unreadable",
    "is_integer",
    "is_number",
    "load_fields",
    "load_list",
    "parse_record",
]

_T = TypeVar("_T")

#: The latest time that a record can have, in Unix seconds: the end of the year 9999,
#: which is the last one that Python's calendar knows.
LATEST = 253_402_300_799


class BadRecord(ValueError):
    """
    A record cannot be read. The message says why, without the record's contents.
    """


class RecordReader(Generic[_T]):
    """
    Reads the records of one kind.

    :param store: the store.
    :param kind: the kind, such as ``'key'``.
    :param parse: takes the id and the text of a record and returns what it holds. It
        raises any exception for a record that is not valid.

    :ivar kind: the kind.
    """

    _log = Logger()

    def __init__(
        self, store: IStore, kind: str, parse: Callable[[str, str], _T]
    ) -> None:
        self.kind = kind
        self._store = store
        self._parse = parse
        # The records that cannot be read, as they were found last.
        self._unreadable: dict[str, str] = {}

    @property
    def unreadable(self) -> int:
        """
        How many records cannot be read, as far as they were seen.
        """
        return len(self._unreadable)

    async def all(self) -> dict[str, _T]:
        """
        Read all records that can be read.

        :returns: what they hold, by their ids.
        :raises StoreError: if the store fails.
        """
        return self.parse_all(await self._store.records(self.kind))

    async def some(self, ids: Iterable[str]) -> dict[str, _T]:
        """
        Read some records at once, and parse only these.

        :param ids: their ids.
        :returns: what those hold that exist and can be read, by their ids.
        :raises StoreError: if the store fails.
        """
        texts = await self._store.records(self.kind)
        parsed = {id: self.parse(id, texts[id]) for id in ids if id in texts}
        return {id: found for id, found in parsed.items() if found is not None}

    async def get(self, id: str) -> _T | None:
        """
        Read one record.

        :param id: its id.
        :returns: what it holds; ``None`` if it does not exist or cannot be read.
        :raises StoreError: if the store fails.
        """
        text = await self._store.record(self.kind, id)
        if text is None:
            self._unreadable.pop(id, None)
            return None
        return self.parse(id, text)

    def parse_all(self, texts: Mapping[str, str]) -> dict[str, _T]:
        """
        Parse all records of the kind.

        :param texts: their texts, by their ids.
        :returns: what those hold that can be read, by their ids.
        """
        for id in self._unreadable.keys() - texts.keys():
            del self._unreadable[id]
        found = {}
        for id, text in texts.items():
            parsed = self.parse(id, text)
            if parsed is not None:
                found[id] = parsed
        return found

    def parse(self, id: str, text: str) -> _T | None:
        """
        Parse a record.

        :param id: its id.
        :param text: its text.
        :returns: what it holds; ``None`` if it cannot be read.
        """
        if self._unreadable.get(id) == text:
            return None  # it was logged before
        try:
            parsed = parse_record(self._parse, id, text)
        except BadRecord as error:
            self._unreadable[id] = text
            self._log.warn(
                "the {kind} record {id!r} {error}: it is skipped, and not changed",
                kind=self.kind,
                id=id,
                error=str(error),
            )
            return None
        self._unreadable.pop(id, None)
        return parsed


def count_unreadable(readers: Iterable[RecordReader[Any]]) -> dict[str, int]:
    """
    Return how many records cannot be read, by kind, for the kinds that have any.
    """
    return {reader.kind: reader.unreadable for reader in readers if reader.unreadable}


def parse_record(parse: Callable[[str, str], _T], id: str, text: str) -> _T:
    """
    Parse a record.

    :param parse: as for :class:`RecordReader`.
    :param id: the id of the record.
    :param text: its text.
    :raises BadRecord: if it is not valid.
    """
    try:
        return parse(id, text)
    except BadRecord:
        raise
    except InvalidPoint as error:
        raise BadRecord(f"is not valid: {error}") from None
    except Exception as error:
        # Which exception it is depends on what is wrong, such as RecursionError for
        # JSON that is nested too deeply.
        raise BadRecord(f"is not valid ({type(error).__name__})") from None


def load_fields(
    text: str, required: Iterable[str], optional: Iterable[str] = ()
) -> dict[str, Any]:
    """
    Read the fields of a record that is a JSON object.

    A record with other fields is refused, because they may change what it means: a
    newer version could store a key that is valid for a limited time.

    :param text: the text of the record.
    :param required: the names of the fields that it must have.
    :param optional: the names of the fields that it can have.
    :raises BadRecord: if it is anything else.
    """
    return check_fields(_load(text), required, optional)


def check_fields(
    fields: Any, required: Iterable[str], optional: Iterable[str] = ()
) -> dict[str, Any]:
    """
    Check the names of the fields of a JSON object. See :func:`load_fields`.
    """
    if not isinstance(fields, dict):
        raise BadRecord("is not valid: it holds no JSON object")
    required = set(required)
    missing = required - fields.keys()
    if missing:
        raise BadRecord(f"is not valid: it has no field {min(missing)!r}")
    if fields.keys() - required - set(optional):
        raise BadRecord(
            "has a field that this version does not know: a newer txStatHat wrote it"
        )
    return fields


def load_list(text: str) -> list[Any]:
    """
    Read a record that is a JSON array.

    :param text: the text of the record.
    :raises BadRecord: if it is anything else.
    """
    found = _load(text)
    if not isinstance(found, list):
        raise BadRecord("is not valid: it holds no JSON array")
    return found


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise BadRecord("is not valid JSON") from None


def is_integer(thing: object, least: int = 0, most: int = LATEST) -> bool:
    """
    Return whether something is an integer in a range.
    """
    return (
        isinstance(thing, int)
        and not isinstance(thing, bool)
        and least <= thing <= most
    )


def is_number(thing: object, most: float = LATEST) -> bool:
    """
    Return whether something is a finite number, with at most this absolute value.
    """
    if isinstance(thing, bool) or not isinstance(thing, (int, float)):
        return False
    return math.isfinite(thing) and abs(thing) <= most
