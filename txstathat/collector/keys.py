"""
Whose points are taken, and who may read: keys.

A key has 192 random bits. Only its SHA-256 is kept, which cannot be guessed back. Keys
are compared by looking that up, so the time it takes tells nothing of any key.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from txstathat.errors import StatHatError, StoreError
from txstathat.points import check_name
from txstathat.stores.interface import IStore

__all__ = [
    "KINDS",
    "MAX_KEYS",
    "REFRESH",
    "Key",
    "KeyRefused",
    "Keys",
    "hash_key",
    "new_key",
]

#: What a key can be, and what that is called.
KINDS = {
    "ez": "EZ key",
    "user": "user key",
    "access": "access token",
    "stat": "stat key",
}
#: How many keys there may be.
MAX_KEYS = 10_000
#: Every how many seconds keys are read again, which is how long one that was revoked
#: may still work.
REFRESH = 5.0

_RECORDS = "key"
#: Seconds that must be between two looks at the store for an unknown key.
_LOOK = 1.0
_OF_API = {"ez": "ez", "classic": "user"}


class KeyRefused(StatHatError):
    """A key that cannot be made, or is not there to be revoked."""


@dataclass(frozen=True, slots=True)
class Key:
    """
    What is known of a key.

    :ivar kind: one of :data:`KINDS`.
    :ivar name: what it was named, by which it can be revoked.
    :ivar created_at: when it was made, in Unix seconds.
    :ivar stat: for a stat key, its stat's name.
    """

    kind: str
    name: str
    created_at: int
    stat: str = ""


def new_key() -> str:
    """
    A new key, of 192 random bits.
    """
    return secrets.token_urlsafe(24)


class Keys:
    """
    The keys of a store.

    They are remembered, so that asking for one does not wait; :meth:`load` reads them
    again.

    :param store: where they are kept.
    """

    def __init__(self, store: IStore) -> None:
        self._store = store
        self._texts: dict[str, str] = {}
        self._keys: dict[str, Key] = {}
        self._looked = float("-inf")

    def allow(self, api: str, key: str) -> bool:
        """
        Whether points with a key are taken.

        :param api: ``'ez'`` or ``'classic'``.
        :param key: the EZ key or the user key.
        """
        return self._find(key, _OF_API[api]) is not None

    def may_read(self, token: str) -> bool:
        """
        Whether this is an access token.
        """
        return self._find(token, "access") is not None

    def is_reader(self, id: str) -> bool:
        """
        Whether this is the :func:`hash_key` of an access token.
        """
        found = self._keys.get(id)
        return found is not None and found.kind == "access"

    def stat(self, key: str) -> str | None:
        """
        The name of the stat that has this stat key.
        """
        found = self._find(key, "stat")
        return None if found is None else found.stat

    def _find(self, key: str, kind: str) -> Key | None:
        hashed = hash_key(key)
        found = self._keys.get(hashed)
        return found if found is not None and found.kind == kind else None

    async def load(self) -> None:
        """
        Read the keys.

        :raises StoreError: if that cannot be done; those known before are known still.
        """
        self._looked = self._store.clock.seconds()
        texts = await self._store.records(_RECORDS)
        if texts != self._texts:
            keys = {id: Key(**json.loads(text)) for id, text in texts.items()}
            self._texts, self._keys = texts, keys

    async def look_again(self) -> None:
        """
        Read them again for a key that is not known: it may be new. That is done once a
        second at most, and does not fail.
        """
        if self._store.clock.seconds() - self._looked < _LOOK:
            return
        try:
            await self.load()
        except StoreError:
            return

    async def add(self, kind: str, name: str, stat: str = "", key: str = "") -> str:
        """
        Make a key.

        :param kind: one of :data:`KINDS`.
        :param name: what to call it.
        :param stat: for a stat key, its stat's name.
        :param key: the key, by default a new one.
        :returns: the key. It is told here and never again.
        :raises KeyRefused: if there is one of that name, or there are too many.
        :raises InvalidPoint: if the name is not valid.
        """
        name = check_name(name, "name")
        await self.load()
        if any(known.name == name for known in self._keys.values()):
            raise KeyRefused(f"there is a key named {name!r} already")
        if len(self._keys) >= MAX_KEYS:
            raise KeyRefused(f"there are {MAX_KEYS} keys, which is the limit")
        key = key or new_key()
        made = {
            "kind": kind,
            "name": name,
            "created_at": int(self._store.clock.seconds()),
            "stat": stat,
        }
        await self._store.put_record(_RECORDS, hash_key(key), json.dumps(made))
        await self.load()
        return key

    async def known(self) -> list[Key]:
        """
        All keys, by kind and name.
        """
        await self.load()
        return sorted(self._keys.values(), key=lambda key: (key.kind, key.name))

    async def revoke(self, name: str) -> Key:
        """
        Delete a key.

        :raises KeyRefused: if there is none of that name.
        """
        await self.load()
        for id, key in self._keys.items():
            if key.name == name:
                await self._store.put_record(_RECORDS, id, None)
                await self.load()
                return key
        raise KeyRefused(f"there is no key named {name!r}")

    async def make_first(
        self, tell: Callable[[dict[str, str]], None] | None = None
    ) -> dict[str, str]:
        """
        Where there is no key at all, make one of each kind that a collector needs.

        :param tell: is told the new keys. When it raises, they are deleted again, since
            nobody knows them.
        :returns: the new keys by what they are, such as ``'EZ key'``.
        """
        await self.load()
        if self._keys:
            return {}
        made = {
            KINDS[kind]: await self.add(kind, f"first {KINDS[kind]}")
            for kind in ("ez", "user", "access")
        }
        try:
            if tell is not None:
                tell(made)
        except BaseException:
            for what in made:
                await self.revoke(f"first {what}")
            raise
        return made


def hash_key(key: str) -> str:
    """
    What is kept of a key, and of other secrets: its SHA-256, in hex.
    """
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
