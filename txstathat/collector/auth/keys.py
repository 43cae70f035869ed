"""
Keys: who may post points, and who may read stats.

A key has 192 random bits. The store holds only its SHA-256, from which nobody can
compute the key. A key is looked up by that hash, so the time a lookup takes reveals
nothing about any key.

The name of a key is the id of its record, so a name is unique in a store, whichever
collector creates it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from txstathat.errors import StatHatError, StoreError
from txstathat.points.model import check_name
from txstathat.stores.interface import IStore

__all__ = [
    "CLAIM_SECONDS",
    "KINDS",
    "MAX_KEYS",
    "MAX_REFRESHES",
    "REFRESH_SECONDS",
    "Key",
    "KeyRefused",
    "Keys",
    "hash_key",
    "new_key",
]

#: The kinds of keys, with the words for each.
KINDS = {
    "ez": "EZ key",
    "user": "user key",
    "access": "access token",
    "stat": "stat key",
}
#: The largest number of keys in a store.
MAX_KEYS = 10_000
#: The interval, in seconds, at which a collector reads the keys again. A revoked key
#: works for that long at most.
REFRESH_SECONDS = 5.0
#: How many times a second unknown keys can cause the keys to be read again. Further
#: requests with an unknown key wait for the next second.
MAX_REFRESHES = 30
#: For how many seconds a collector that creates the first keys excludes others. If it
#: dies before it has finished, another collector takes over after this time.
CLAIM_SECONDS = 10.0

_RECORDS = "key"
_CLAIM = "first keys"
_FIRST_KINDS = ("ez", "user", "access")
_KIND_OF_API = {"ez": "ez", "classic": "user"}


class KeyRefused(StatHatError):
    """A key that cannot be created, or cannot be revoked since it does not exist."""


@dataclass(frozen=True, slots=True)
class Key:
    """
    A key, without its secret.

    :ivar kind: one of :data:`KINDS`.
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


class Keys:
    """
    The keys of a store.

    They are cached, so checking a key needs no I/O. :meth:`load` updates the cache.

    :param store: where the keys are stored.
    :param timers: schedules what waits; by default the store's clock.
    """

    _log = Logger()

    def __init__(self, store: IStore, timers: IReactorTime | None = None) -> None:
        self._store = store
        self._timers = timers or store.clock
        # The records as last read, and the keys in them by hash.
        self._records: Mapping[str, str] = {}
        self._keys: dict[str, Key] = {}
        # The number of reads begun, and the number of the read that is cached.
        self._reads_begun = self._read_cached = 0
        # The callers that wait for the next refresh.
        self._waiting: list[Deferred[None]] = []
        self._refreshing = False
        # How many refreshes there were in the second that began at this time.
        self._refreshes, self._second_began = 0, float("-inf")

    def allow(self, api: str, key: str) -> bool:
        """
        Return whether points with this key are accepted.

        :param api: ``'ez'`` or ``'classic'``.
        :param key: the EZ key or the user key.
        """
        return self._find(key, _KIND_OF_API[api]) is not None

    def may_read(self, token: str) -> bool:
        """
        Return whether this is an access token.
        """
        return self._find(token, "access") is not None

    @property
    def readers(self) -> list[str]:
        """
        The ``hash_key`` of each access token.
        """
        return [id for id, key in self._keys.items() if key.kind == "access"]

    def stat(self, key: str) -> str | None:
        """
        Return the name of the stat to which a stat key belongs.

        :param key: the stat key.
        :returns: ``None`` if it is not a stat key.
        """
        found = self._find(key, "stat")
        return None if found is None else found.stat

    def _find(self, key: str, kind: str) -> Key | None:
        found = self._keys.get(hash_key(key))
        return found if found is not None and found.kind == kind else None

    async def load(self) -> None:
        """
        Read the keys from the store. A record that this version cannot read, such as
        one that a later version wrote, is logged and skipped.

        :raises StoreError: if the store cannot be read. The cached keys stay.
        """
        self._reads_begun += 1
        number = self._reads_begun
        records = await self._store.records(_RECORDS)
        if number < self._read_cached:
            return  # a read that began later has finished first
        self._read_cached = number
        if records != self._records:
            self._keys = self._parse(records)
            self._records = records

    def _parse(self, records: Mapping[str, str]) -> dict[str, Key]:
        keys = {}
        for name, text in records.items():
            try:
                hashed, key = _parse_record(name, text)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                self._log.warn(
                    "the key {name!r} is ignored, because its record cannot be read "
                    "({error}): create it anew, or use the txStatHat that wrote it",
                    name=name,
                    error=type(error).__name__,
                )
                continue
            keys[hashed] = key
        return keys

    async def refresh(self) -> None:
        """
        Read the keys again, because an unknown key may be a new one.

        Callers that come during a read share the next one, and there are at most
        :data:`MAX_REFRESHES` a second. This returns when a read that began after the
        call has ended, whether it succeeded or not.
        """
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        if not self._refreshing:
            self._refreshing = True
            Deferred.fromCoroutine(self._refresh_for_waiting())
        await waiting

    async def _refresh_for_waiting(self) -> None:
        clock = self._timers
        while self._waiting:
            if self._refreshes >= MAX_REFRESHES:
                next_second = self._second_began + 1
                await deferLater(clock, max(0.0, next_second - clock.seconds()))
            if clock.seconds() - self._second_began >= 1:
                self._refreshes, self._second_began = 0, clock.seconds()
            self._refreshes += 1
            waiting, self._waiting = self._waiting, []
            try:
                await self.load()
            except StoreError as error:
                self._log.debug("cannot read the keys: {error}", error=str(error))
            except Exception:
                # Whatever it is, callers must not wait for ever.
                self._log.failure("cannot read the keys")
            for one in waiting:
                one.callback(None)
        self._refreshing = False

    async def add(self, kind: str, name: str, stat: str = "", key: str = "") -> str:
        """
        Create a key.

        :param kind: one of :data:`KINDS`.
        :param name: the name of the key, 1 to 255 characters.
        :param stat: for a stat key, the name of its stat.
        :param key: the key; by default a new random one.
        :returns: the key. It cannot be read back later.
        :raises KeyRefused: if a key of that name exists, or there are
            :data:`MAX_KEYS` keys.
        :raises InvalidPoint: if the name is not valid.
        :raises StoreError: if the store fails.
        """
        name = check_name(name, "name")
        await self.load()
        if len(self._records) >= MAX_KEYS:
            raise KeyRefused(f"there are {MAX_KEYS} keys, which is the limit")
        key = key or new_key()
        text = self._to_record(kind, key, stat)
        if not await self._store.put_record(_RECORDS, name, text, was=None):
            raise KeyRefused(f"there is a key named {name!r} already")
        await self.load()
        return key

    def _to_record(self, kind: str, key: str, stat: str = "") -> str:
        return json.dumps(
            {
                "hash": hash_key(key),
                "kind": kind,
                "created_at": int(self._store.clock.seconds()),
                "stat": stat,
            }
        )

    async def all(self) -> list[Key]:
        """
        Return all keys, sorted by kind and name.

        :raises StoreError: if the store fails.
        """
        await self.load()
        return sorted(self._keys.values(), key=lambda key: (key.kind, key.name))

    async def revoke(self, name: str) -> Key:
        """
        Delete a key.

        :param name: its name.
        :returns: the deleted key.
        :raises KeyRefused: if no key has that name.
        :raises StoreError: if the store fails.
        """
        for key in await self.all():
            if key.name == name:
                await self._store.put_record(_RECORDS, name, None)
                await self.load()
                return key
        raise KeyRefused(f"there is no key named {name!r}")

    async def make_first(
        self, show: Callable[[dict[str, str]], None] | None = None
    ) -> dict[str, str]:
        """
        Create one key of each kind that a collector needs, if the store has no keys.

        If several collectors try, one of them succeeds. If it dies before it has
        finished, the next one replaces the keys.

        :param show: called with the new keys. If it raises, or something else fails,
            the keys are deleted again, since nobody knows them.
        :returns: the new keys, each under the words for its kind, such as
            ``'EZ key'``; empty if the store has keys, or another collector created
            them.
        :raises StoreError: if the store fails.
        """
        claim = await self._claim_first()
        if claim is None:
            return {}
        made = {KINDS[kind]: new_key() for kind in _FIRST_KINDS}
        try:
            for kind, key in zip(_FIRST_KINDS, made.values(), strict=True):
                # A key that exists already was never shown to anybody.
                text = self._to_record(kind, key)
                if not await self._replace(claim, f"first {KINDS[kind]}", text):
                    return {}
            await self.load()
            # A new claim gives it the full time again, to show the keys.
            renewed = new_key()
            if not await self._change_claim(claim, renewed):
                return {}
            claim = renewed
            if show is not None:
                show(made)
        except (Exception, SystemExit):  # such as a closed standard output
            with suppress(StoreError):
                for words in made:
                    await self._replace(claim, f"first {words}", None)
                await self._change_claim(claim, None)
                await self.load()
            raise
        await self._change_claim(claim, None)
        return made

    async def _replace(self, claim: str, name: str, text: str | None) -> bool:
        """
        Write or delete a first key, whatever its record is now.

        :returns: ``False`` if this took so long that another collector has taken over
            the claim.
        """
        while True:
            was = await self._store.record(_RECORDS, name)
            if not await self._change_claim(claim, claim):
                return False
            if was == text or await self._store.put_record(_RECORDS, name, text, was):
                return True

    async def _claim_first(self) -> str | None:
        """
        Exclude other collectors from creating the first keys.

        :returns: the claim; ``None`` if there are keys, and nobody is creating them.
        """
        clock = self._timers
        seen, since = None, clock.seconds()
        while True:
            claim = await self._store.record(_CLAIM, "")
            await self.load()
            if claim is None and self._records:
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
                if self._records:
                    # Another collector created them after they were read above.
                    await self._change_claim(mine, None)
                    return None
            return mine

    def _change_claim(self, was: str | None, claim: str | None) -> Deferred[bool]:
        return self._store.put_record(_CLAIM, "", claim, was=was)


def hash_key(key: str) -> str:
    """
    Return the SHA-256 of a key or another secret, in hex. The store holds only this.
    """
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _parse_record(name: str, text: str) -> tuple[str, Key]:
    """
    Read a key's record. Fields that only a later version knows are ignored.

    :returns: the key's hash, and the key.
    :raises ValueError: if its kind is unknown.
    """
    fields: dict[str, Any] = json.loads(text)
    if fields["kind"] not in KINDS:
        raise ValueError("unknown kind")
    key = Key(fields["kind"], name, int(fields["created_at"]), fields.get("stat", ""))
    return fields["hash"], key
