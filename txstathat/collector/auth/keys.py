"""
Whose points are taken, and who may read: keys.

A key has 192 random bits. Only its SHA-256 is kept, which cannot be guessed back. Keys
are compared by looking that up, so the time it takes tells nothing of any key.

A key's record is found by its name: so there is one of a name, whoever makes it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from txstathat.errors import StatHatError, StoreError
from txstathat.points.model import check_name
from txstathat.stores.interface import IStore

__all__ = [
    "CLAIM_SECONDS",
    "KINDS",
    "MAX_KEYS",
    "MAX_LOOKS",
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

#: How often in a second keys are read again because one is not known; who comes with
#: more of those waits for the next second.
MAX_LOOKS = 30
#: For how many seconds a collector that makes the first keys keeps others from it. When
#: it dies amid that, the next one makes them after this time.
CLAIM_SECONDS = 10.0

_RECORDS = "key"
_CLAIM = "first keys"
_FIRST = ("ez", "user", "access")
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
        # How many times they were begun to be read, and which of these is remembered.
        self._begun = self._read = 0
        # Who waits for the next look, and how many there were since when.
        self._waiting: list[Deferred[None]] = []
        self._looking = False
        self._looks, self._since = 0, float("-inf")

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

    @property
    def readers(self) -> list[str]:
        """
        The :func:`hash_key` of each access token.
        """
        return [id for id, key in self._keys.items() if key.kind == "access"]

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
        self._begun += 1
        number = self._begun
        texts = await self._store.records(_RECORDS)
        if number < self._read:
            return  # something newer was faster
        self._read = number
        if texts != self._texts:
            self._keys = dict(_read(name, text) for name, text in texts.items())
            self._texts = texts

    async def look_again(self) -> None:
        """
        Read them again for a key that is not known: it may be new. Those who ask while
        they are being read share the next time; there are :data:`MAX_LOOKS` a second.
        This ends when all was read after it began, or when that cannot be done.
        """
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        if not self._looking:
            self._looking = True
            Deferred.fromCoroutine(self._look())
        await waiting

    async def _look(self) -> None:
        clock = self._store.clock
        while self._waiting:
            if self._looks >= MAX_LOOKS:
                await deferLater(clock, max(0.0, self._since + 1 - clock.seconds()))
            if clock.seconds() - self._since >= 1:
                self._looks, self._since = 0, clock.seconds()
            self._looks += 1
            waiting, self._waiting = self._waiting, []
            with suppress(StoreError):
                await self.load()
            for one in waiting:
                one.callback(None)
        self._looking = False

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
        if len(self._keys) >= MAX_KEYS:
            raise KeyRefused(f"there are {MAX_KEYS} keys, which is the limit")
        key = key or new_key()
        text = self._text(kind, key, stat)
        if not await self._store.put_record(_RECORDS, name, text, was=None):
            raise KeyRefused(f"there is a key named {name!r} already")
        await self.load()
        return key

    def _text(self, kind: str, key: str, stat: str = "") -> str:
        return json.dumps(
            {
                "hash": hash_key(key),
                "kind": kind,
                "created_at": int(self._store.clock.seconds()),
                "stat": stat,
            }
        )

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
        for key in await self.known():
            if key.name == name:
                await self._store.put_record(_RECORDS, name, None)
                await self.load()
                return key
        raise KeyRefused(f"there is no key named {name!r}")

    async def make_first(
        self, tell: Callable[[dict[str, str]], None] | None = None
    ) -> dict[str, str]:
        """
        Where there is no key at all, make one of each kind that a collector needs. Of
        several collectors that want to, one does; if it dies amid that, the next one
        makes others in their place.

        :param tell: is told the new keys. When it raises, or something else fails, they
            are deleted again, since nobody knows them.
        :returns: the new keys by what they are, such as ``'EZ key'``; none where there
            are some, or another collector made them.
        """
        claim = await self._claim_first()
        if claim is None:
            return {}
        made = {KINDS[kind]: new_key() for kind in _FIRST}
        try:
            for kind, key in zip(_FIRST, made.values(), strict=True):
                # One that is there already was told to nobody.
                text = self._text(kind, key)
                if not await self._replace(claim, f"first {KINDS[kind]}", text):
                    return {}
            await self.load()
            # From here on it has its time anew, to tell.
            renewed = new_key()
            if not await self._change_claim(claim, renewed):
                return {}
            claim = renewed
            if tell is not None:
                tell(made)
        except (Exception, SystemExit):  # such as for an output that nobody reads
            with suppress(StoreError):
                for what in made:
                    await self._replace(claim, f"first {what}", None)
                await self._change_claim(claim, None)
                await self.load()
            raise
        await self._change_claim(claim, None)
        return made

    async def _replace(self, claim: str, name: str, text: str | None) -> bool:
        """
        Write or delete a first key, whatever is there.

        :returns: ``False`` if another collector has made the claim its own, since this
            took so long.
        """
        while True:
            was = await self._store.record(_RECORDS, name)
            if not await self._change_claim(claim, claim):
                return False
            if was == text or await self._store.put_record(_RECORDS, name, text, was):
                return True

    async def _claim_first(self) -> str | None:
        """
        Keep others from making the first keys.

        :returns: the claim; ``None`` if there are keys, and nobody is making them.
        """
        clock = self._store.clock
        seen, since = None, clock.seconds()
        while True:
            claim = await self._store.record(_CLAIM, "")
            await self.load()
            if claim is None and self._keys:
                return None
            if claim != seen:
                seen, since = claim, clock.seconds()
            if claim is not None and clock.seconds() - since < CLAIM_SECONDS:
                await deferLater(clock, 0.1)
                continue
            mine = new_key()
            if not await self._change_claim(claim, mine):
                continue
            if claim is None:
                await self.load()
                if self._keys:
                    # Another one made them since they were read above.
                    await self._change_claim(mine, None)
                    return None
            return mine

    def _change_claim(self, was: str | None, claim: str | None) -> Deferred[bool]:
        return self._store.put_record(_CLAIM, "", claim, was=was)


def hash_key(key: str) -> str:
    """
    What is kept of a key, and of other secrets: its SHA-256, in hex.
    """
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _read(name: str, text: str) -> tuple[str, Key]:
    told = json.loads(text)
    return told.pop("hash"), Key(name=name, **told)
