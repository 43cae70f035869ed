"""
A key, as it is made and as the store holds it: by its hash.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from dataclasses import dataclass

from txstathat.collector.records import BadRecord, is_integer, load_fields
from txstathat.errors import StatHatError
from txstathat.points.names import check_name

__all__ = [
    "KINDS",
    "RECORDS",
    "Key",
    "KeyRefused",
    "hash_key",
    "is_hash",
    "new_key",
    "parse_key",
]

#: The kind of their records.
RECORDS = "key"
#: The kinds of keys, with the words for each.
KINDS = {
    "ez": "EZ key",
    "user": "user key",
    "access": "access token",
    "read": "read-only token",
    "stat": "stat key",
}
_HASH = re.compile(r"[0-9a-f]{64}")


class KeyRefused(StatHatError):
    """A key that cannot be created, or cannot be revoked since it does not exist."""


@dataclass(frozen=True, slots=True)
class Key:
    """
    A key, without its secret.

    :ivar kind: one of :data:`KINDS`; empty if its record cannot be read.
    :ivar name: the name by which it can be revoked.
    :ivar created_at: when it was created, in Unix seconds.
    :ivar stat: for a stat key, the name of its stat.
    """

    kind: str
    name: str
    created_at: int
    stat: str = ""


def new_key() -> str:
    """
    Return a new key of 192 random bits.
    """
    return secrets.token_urlsafe(24)


def hash_key(key: str) -> str:
    """
    Return the SHA-256 of a key or another secret, in hex. The store holds only this.
    """
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def parse_key(name: str, text: str) -> tuple[str, Key]:
    """
    Parse the record of a key.

    :param name: its id, which is the key's name.
    :param text: its text.
    :returns: the key's hash, and the key.
    :raises BadRecord: if it is not valid, or a newer version wrote it.
    """
    fields = load_fields(text, ("hash", "kind", "created_at"), ("stat",))
    kind, stat = fields["kind"], fields.get("stat", "")
    if not is_hash(fields["hash"]):
        raise BadRecord("is not valid: it has no SHA-256")
    if not isinstance(kind, str) or kind not in KINDS:
        raise BadRecord("has a kind that this version does not know")
    if not is_integer(fields["created_at"]):
        raise BadRecord("is not valid: created_at is not a time")
    if kind == "stat":
        check_name(stat)
    elif stat != "":
        raise BadRecord("is not valid: it names a stat, and is no stat key")
    return fields["hash"], Key(
        kind, check_name(name, "name"), fields["created_at"], stat
    )


def is_hash(thing: object) -> bool:
    """
    Return whether something is what :func:`hash_key` returns.
    """
    return isinstance(thing, str) and _HASH.fullmatch(thing) is not None


def _find_hash(text: str) -> str:
    """
    Return the hash in a record that is not valid otherwise; ``''`` if it has none.
    """
    try:
        hashed = json.loads(text)["hash"]
    except Exception:
        return ""
    return hashed if is_hash(hashed) else ""
