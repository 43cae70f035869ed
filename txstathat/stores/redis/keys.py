"""
The names of the keys in Redis.

Each time bucket is a hash of its cells. The text in braces decides the slot of a key in
a cluster, so that days spread over the slots. The parts of a key are JSON, so that
different names never make the same key.
"""

from __future__ import annotations

import json
import re
from json.encoder import encode_basestring_ascii as _quote
from typing import Any
from zlib import crc32

__all__ = ["PREFIX", "KeyNames", "as_json", "slot_tag"]

#: The beginning of all keys, by default.
PREFIX = "txstathat"

_TAGS = [f"{n:02x}" for n in range(256)]

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
        #: The hash of the definitions.
        self.names = self.key("names", "names")
        #: The version of this layout.
        self.version = self.key("names", "version")

    def key(self, tag: str, rest: str) -> str:
        """
        Return a key in the slot of a tag.
        """
        return f"{self.prefix}:{{{tag}}}:{rest}"

    def bucket(self, name: str, scale: str, label: str) -> str:
        """
        Return the key of the hash of the cells of a time bucket.
        """
        # All buckets of a day are in one slot, so that a batch has few parts.
        tag = slot_tag(name, label[:10])
        return self.key(tag, f"[{_quote(name)},{_quote(scale)},{_quote(label)}]")

    def choices(self, name: str, group: str) -> str:
        """
        Return the key of the set of the choices in a group.
        """
        return self.key(slot_tag(name), as_json([name, None, group]))

    def pattern(self, name: str) -> str:
        """
        Return a pattern that matches all keys of a Metrica; these begin with its name.
        """
        return _glob(self.prefix) + ":{??}:" + _glob(f"[{as_json(name)},") + "*"

    def moving(self, key: str, id: str) -> str:
        """
        Return another name, in the same slot, for a key of a Metrica that is renamed.

        :param key: the key, of a time bucket or of choices.
        :param id: identifies the move.
        """
        beginning, _, rest = key.partition("}:")
        return f"{beginning}}}:moving:{id}:{rest}"

    def moving_pattern(self, name: str) -> str:
        """
        Return a pattern that matches all keys that :meth:`moving` returns.
        """
        beginning = _glob(self.prefix) + ":{??}:moving:*:"
        return beginning + _glob(f"[{as_json(name)},") + "*"

    def moving_parts(self, key: str) -> tuple[str | None, list[Any]]:
        """
        Split a key of a Metrica, or what :meth:`moving` returns for it.

        :returns: the id of the move, or ``None``; and the name of the Metrica with
            either a scale and a label, or ``None`` and a group of choices.
        """
        rest = key.partition("}:")[2]
        if not rest.startswith("moving:"):
            return None, json.loads(rest)
        _, id, rest = rest.split(":", 2)
        return id, json.loads(rest)

    def batch(self, id: str) -> str:
        """
        Return the key of the state of a batch, in a cluster.
        """
        return self.key(slot_tag(id), f"batch:{id}")

    def records(self, kind: str) -> str:
        """
        Return the key of the hash of the records of a kind.
        """
        return self.key("names", f"records:{as_json(kind)}")


def slot_tag(name: str, day: str | None = None) -> str:
    """
    Return the tag of the slot of a Metrica, or of one of its days.
    """
    parts = _quote(name) if day is None else f"{_quote(name)},{_quote(day)}"
    return _TAGS[crc32(f"[{parts}]".encode("ascii")) % len(_TAGS)]


def as_json(thing: Any) -> str:
    """
    Return a value as JSON without spaces.
    """
    return _ENCODER.encode(thing)


def _glob(text: str) -> str:
    return re.sub(r"([\\*?\[\]^-])", r"\\\1", text)
