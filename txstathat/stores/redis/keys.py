"""
What is kept under which key in Redis.

Cells are hashes, one for each stretch of time; they spread over the slots of a cluster
by day: what is in braces decides a key's slot. The keys' parts are JSON, so no name can
be taken for another.
"""

from __future__ import annotations

import json
import re
from json.encoder import encode_basestring_ascii as _quote
from typing import Any
from zlib import crc32

__all__ = ["PREFIX", "Keys", "as_json", "slot_tag"]

#: With what all keys begin, by default.
PREFIX = "txstathat"

_TAGS = [f"{n:02x}" for n in range(256)]

_ENCODER = json.JSONEncoder(separators=(",", ":"))


class Keys:
    """
    The keys of a store.

    :param prefix: with what all of them begin.
    :raises ValueError: if it is not valid.

    :ivar prefix: that.
    """

    def __init__(self, prefix: str) -> None:
        if not re.fullmatch(r"[\w.:-]+", prefix):
            raise ValueError(
                "the prefix of a Redis store is made of letters, digits and _ . : -"
            )
        self.prefix = prefix
        #: The hash of definitions.
        self.names = self.key("names", "names")
        #: The version of all this.
        self.version = self.key("names", "version")

    def key(self, tag: str, rest: str) -> str:
        """
        A key in the slot of a tag.
        """
        return f"{self.prefix}:{{{tag}}}:{rest}"

    def stretch(self, name: str, scale: str, label: str) -> str:
        """
        The hash of a stretch's cells.
        """
        # All of a day is in one slot: so few parts make up a batch.
        tag = slot_tag(name, label[:10])
        return self.key(tag, f"[{_quote(name)},{_quote(scale)},{_quote(label)}]")

    def choices(self, name: str, group: str) -> str:
        """
        The set of choices seen.
        """
        return self.key(slot_tag(name), as_json([name, None, group]))

    def pattern(self, name: str) -> str:
        """
        What matches all keys of a Metrica, since they begin with its name.
        """
        return _glob(self.prefix) + ":{??}:" + _glob(f"[{as_json(name)},") + "*"

    def batch(self, id: str) -> str:
        """
        In a cluster, what is known of a batch.
        """
        return self.key(slot_tag(id), f"batch:{id}")

    def records(self, kind: str) -> str:
        """
        The hash of the records of a kind.
        """
        return self.key("names", f"records:{as_json(kind)}")


def slot_tag(name: str, day: str | None = None) -> str:
    """
    The tag of the slot of a Metrica, or of a day of it.
    """
    parts = _quote(name) if day is None else f"{_quote(name)},{_quote(day)}"
    return _TAGS[crc32(f"[{parts}]".encode("ascii")) % len(_TAGS)]


def as_json(thing: Any) -> str:
    """
    JSON without spaces.
    """
    return _ENCODER.encode(thing)


def _glob(text: str) -> str:
    return re.sub(r"([\\*?\[\]^-])", r"\\\1", text)
