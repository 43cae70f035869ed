"""
The names of the keys in Redis.

All keys of a *unit* share the text in braces, which decides the slot of a key in a
cluster. A unit is a combination of choices of a Metrica: all cells with the same name
and the same key. A stat of the collector is one unit. The text in braces is JSON, so
that different names never make the same key. After it comes:

``''``
    a hash of the cells of the coarse scales;
``day:2026-02``, ``hour:2026-02-07``, ``minute:2026-02-07T11``
    a hash of the cells of the days of a month, of the hours of a day, or of the minutes
    of an hour. It expires as a whole, after the last of its cells;
``*``
    a hash of the endings of the unit's keys of that kind, with their expiry;
``#``
    in a cluster: a hash of the ids of the batches that added to the unit.

The definitions, and a sorted set of all units, are spread over :data:`SHARDS` slots by
the name of the Metrica. Records, the version and the journal of a server
(:mod:`txstathat.stores.redis.server.journal`) have a slot of their own.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64encode
from functools import lru_cache
from hashlib import sha256
from json.encoder import encode_basestring_ascii as quote
from typing import Any
from zlib import crc32

__all__ = [
    "CACHED_NAMES",
    "COARSE",
    "DIGEST_BYTES",
    "IDS",
    "INDEX",
    "PREFIX",
    "SHARDS",
    "KeyNames",
    "as_json",
    "choices_tag",
    "place",
    "scale_and_label",
    "shard_of",
    "short_hash",
    "tags_of",
    "unit_tag",
]

#: The beginning of all keys, by default.
PREFIX = "txstathat"
#: Over how many slots the definitions are spread.
SHARDS = 64
#: How many names to remember the keys and slots of.
CACHED_NAMES = 10_000

#: How many bytes of the hash of a digest are stored.
DIGEST_BYTES = 9

#: The ending of the key of the coarse cells of a unit.
COARSE = ""
#: The ending of the key of the endings.
INDEX = "*"
#: The ending of the key of the ids.
IDS = "#"

# For how many characters the labels in a hash are the same, by scale.
_WIDTH = {"day": 7, "hour": 10, "minute": 13}

_ENCODER = json.JSONEncoder(separators=(",", ":"))


class KeyNames:
    """
    The names of the keys of a store.

    :param prefix: the beginning of all keys.
    :raises ValueError: if it is not valid.

    :ivar prefix: the same.
    """

    def __init__(self, prefix: str) -> None:
        if not re.fullmatch(r"[\w.:-]+", prefix):
            raise ValueError(
                f"the prefix of a Redis store must consist of letters, digits and "
                f"_ . : -, not {prefix!r}"
            )
        self.prefix = prefix
        #: The version of this layout.
        self.version = self.key("names", "version")

    def key(self, tag: str, rest: str) -> str:
        """
        Return a key in the slot of a tag.
        """
        return f"{self.prefix}:{{{tag}}}:{rest}"

    def names(self, shard: int) -> str:
        """
        Return the key of a hash of definitions, by name.
        """
        return self.key(f"n{shard:02x}", "names")

    def units(self, shard: int) -> str:
        """
        Return the key of a sorted set of the tags of units and of groups of choices.
        All scores are 0.
        """
        return self.key(f"n{shard:02x}", "units")

    def large(self, shard: int) -> str:
        """
        Return the key of a set of names with very large sums, in a cluster.
        """
        return self.key(f"n{shard:02x}", "large")

    def journal(self) -> list[str]:
        """
        Return the keys of the journal, on one server: the list of its rows; the hash of
        its state; and the sets of the names of Metricas that stay out of it: those with
        very large sums, and those that are changed just now.
        """
        endings = ("journal", "journal:state", "journal:large", "journal:held")
        return [self.key("names", ending) for ending in endings]

    def damaged(self) -> str:
        """
        Return the key of the list of damaged rows of the journal.
        """
        return self.key("names", "journal:damaged")

    def choices(self, name: str, group: str) -> str:
        """
        Return the key of the set of the choices in a group.
        """
        return self.key(choices_tag(name, group), "")

    def batch(self, id: str) -> str:
        """
        Return the key of the digest of a batch.
        """
        return self.key(f"b{short_hash(id, 18)}", "")

    def records(self, kind: str) -> str:
        """
        Return the key of the hash of the records of a kind.
        """
        return self.key("names", f"records:{as_json(kind)}")


@lru_cache(CACHED_NAMES)
def shard_of(name: str) -> int:
    """
    Return the number of the slot with the definition of a Metrica.
    """
    return crc32(quote(name).encode("ascii")) % SHARDS


@lru_cache(CACHED_NAMES)
def unit_tag(name: str, key: str) -> str:
    """
    Return the tag of a unit.

    :param name: the name of the Metrica.
    :param key: the key of the cells.
    """
    return f"[{quote(name)},{quote(key)}]"


def choices_tag(name: str, group: str) -> str:
    """
    Return the tag of a group of choices.
    """
    return as_json([name, None, group])


def tags_of(name: str) -> tuple[str, str]:
    """
    Return the range of the sorted set of tags that has those of a Metrica.

    :returns: its limits, for the command ``ZRANGEBYLEX``.
    """
    begin = f"[[{quote(name)},"
    return begin, begin + "\xff"


def place(scale: str, label: str) -> tuple[str, str]:
    """
    Return where in a unit a cell is.

    :param scale: the scale.
    :param label: the label of the time bucket.
    :returns: the ending of the key, and the field of the hash.
    """
    width = _WIDTH.get(scale)
    if width is not None:
        return f"{scale}:{label[:width]}", label[width:]
    if ":" in scale or scale[:1] == "[":
        return COARSE, as_json([scale, label])
    return COARSE, f"{scale}:{label}"


def scale_and_label(ending: str, field: str) -> tuple[str, str]:
    """
    Return the scale and the label of a cell: the reverse of :func:`place`.
    """
    if ending != COARSE:
        scale, _, begin = ending.partition(":")
        return scale, begin + field
    if field[:1] == "[":
        scale, label = json.loads(field)
        return scale, label
    scale, _, label = field.partition(":")
    return scale, label


def short_hash(text: str, length: int) -> str:
    """
    Return a hash of a text, in letters, digits, ``-`` and ``_``.

    :param length: how many of its bytes to use, a multiple of 3.
    """
    digest = sha256(text.encode("utf-8", "surrogatepass")).digest()[:length]
    return urlsafe_b64encode(digest).decode("ascii")


def as_json(thing: Any) -> str:
    """
    Return a value as JSON without spaces.
    """
    return _ENCODER.encode(thing)
