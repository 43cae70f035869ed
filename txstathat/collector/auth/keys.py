"""
Keys: who may post points, and who may read stats.

A key has 192 random bits. The store holds only its SHA-256, from which nobody can
compute the key. A key is looked up by that hash, so the time a lookup takes reveals
nothing about any key.

The name of a key is the id of its record, so a name is unique in a store, whichever
collector creates it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from txstathat.collector.auth.key_record import (
    KINDS,
    Key,
    KeyRefused,
    _find_hash,
    hash_key,
    new_key,
    parse_key,
)
from txstathat.collector.auth.key_record import RECORDS as _RECORDS
from txstathat.collector.errors import Refusal
from txstathat.collector.records import (
    RecordReader,
)
from txstathat.errors import StoreError, StoreUnavailable
from txstathat.points.names import check_name
from txstathat.stores.interface import IStore

__all__ = [
    "CLAIM_SECONDS",
    "MAX_KEYS",
    "MAX_REFRESHES",
    "REFRESH_SECONDS",
    "STALE_SECONDS",
    "Keys",
]

#: The largest number of keys in a store.
MAX_KEYS = 10_000
#: The interval, in seconds, at which a collector reads the keys again. A revoked key
#: works for that long at most.
REFRESH_SECONDS = 5.0
#: How many times a second unknown keys can cause the keys to be read again. After so
#: many reads further ones follow at even intervals, and requests with an unknown key
#: wait for the next one.
MAX_REFRESHES = 30
#: For how many seconds the keys that were read last are used while the store cannot be
#: read. After that requests are refused: a key may have been revoked meanwhile.
STALE_SECONDS = 60.0
#: For how many seconds a collector that creates the first keys excludes others. If it
#: dies before it has finished, another collector takes over after this time.
CLAIM_SECONDS = 10.0

_CLAIM = "first keys"
_FIRST_KINDS = ("ez", "user", "access")
_KIND_OF_API = {"ez": "ez", "classic": "user"}
# The kinds with which stats can be read.
_READ_KINDS = ("access", "read")
# A second, less half of an interval: a rounding error does not matter then.
_REFRESHES_AHEAD = 1 - 0.5 / MAX_REFRESHES
# The Retry-After header for a key that this version cannot check, in seconds.
_RETRY_AFTER = 60


class Keys:
    """
    The keys of a store.

    They are cached, so checking a key needs no I/O. :meth:`load` updates the cache.

    A check that cannot be made refuses. So :meth:`allow`, :meth:`find_id`,
    :meth:`may_read`, :meth:`may_change`, :meth:`stat`, :attr:`readers` and
    :attr:`editors` raise

    * :class:`~txstathat.errors.StoreUnavailable` if the store could not be read for
      :data:`STALE_SECONDS`,
    * :class:`~txstathat.collector.errors.Refusal` with status 503 if the record of
      the key cannot be read, such as one that a newer version wrote.

    :param store: where the keys are stored.
    :param timers: schedules what waits; by default the store's clock.

    :ivar record_readers: the readers of the records.
    """

    _log = Logger()

    def __init__(self, store: IStore, timers: IReactorTime | None = None) -> None:
        self._store = store
        self._timers = timers or store.clock
        self._reader = RecordReader(store, _RECORDS, parse_key)
        self.record_readers = (self._reader,)
        # The records as last read, and the keys in them by hash.
        self._records: Mapping[str, str] = {}
        self._keys: dict[str, Key] = {}
        # The hashes in those records that cannot be read, as far as they have one.
        self._uncertain: frozenset[str] = frozenset()
        # Since when the store cannot be read.
        self._failing_since: float | None = None
        # The number of reads begun, and the number of the read that is cached.
        self._reads_begun = self._read_cached = 0
        # The callers that wait for the next refresh.
        self._waiting: list[Deferred[None]] = []
        self._refreshing = False
        # Until when the refreshes so far take up what is allowed.
        self._refreshes_until = float("-inf")

    def allow(self, api: str, key: str) -> bool:
        """
        Return whether points with this key are accepted.

        :param api: ``'ez'`` or ``'classic'``.
        :param key: the EZ key or the user key.
        """
        return self._find(key, _KIND_OF_API[api]) is not None

    def find_id(self, kind: str, name: str) -> str | None:
        """
        Return the ``hash_key`` of the key of a kind and a name; ``None`` if there is
        none.
        """
        self._check_age()
        return next(
            (
                id
                for id, key in self._keys.items()
                if (key.kind, key.name) == (kind, name)
            ),
            None,
        )

    def may_read(self, token: str) -> bool:
        """
        Return whether this is an access token, read-only or not.
        """
        return self._find(token, *_READ_KINDS) is not None

    def may_change(self, token: str) -> bool:
        """
        Return whether this is an access token that is not read-only.
        """
        return self._find(token, "access") is not None

    @property
    def readers(self) -> list[str]:
        """
        The ``hash_key`` of each access token, read-only or not.
        """
        self._check_age()
        return [id for id, key in self._keys.items() if key.kind in _READ_KINDS]

    @property
    def editors(self) -> list[str]:
        """
        The ``hash_key`` of each access token that is not read-only.
        """
        self._check_age()
        return [id for id, key in self._keys.items() if key.kind == "access"]

    def stat(self, key: str) -> str | None:
        """
        Return the name of the stat to which a stat key belongs.

        :param key: the stat key.
        :returns: ``None`` if it is not a stat key.
        """
        found = self._find(key, "stat")
        return None if found is None else found.stat

    def _find(self, key: str, *kinds: str) -> Key | None:
        self._check_age()
        hashed = hash_key(key)
        if hashed in self._uncertain:
            raise Refusal(
                503,
                f"the record of this {KINDS[kinds[0]]} cannot be read by this version "
                "of txStatHat",
                retry_after=_RETRY_AFTER,
            )
        found = self._keys.get(hashed)
        return found if found is not None and found.kind in kinds else None

    def _check_age(self) -> None:
        since = self._failing_since
        if since is None:
            return
        # A clock that was set back gives no measure, so the keys count as too old.
        if not 0 <= self._timers.seconds() - since < STALE_SECONDS:
            raise StoreUnavailable("the keys could not be read for too long")

    async def load(self) -> None:
        """
        Read the keys from the store. A record that cannot be read is skipped: see
        :class:`~txstathat.collector.records.RecordReader`.

        :raises StoreError: if the store cannot be read. The cached keys stay.
        """
        self._reads_begun += 1
        number = self._reads_begun
        try:
            records = await self._store.records(_RECORDS)
        except Exception:
            if self._failing_since is None:
                self._failing_since = self._timers.seconds()
            raise
        self._failing_since = None
        if number < self._read_cached:
            return  # a read that began later has finished first
        self._read_cached = number
        if records != self._records:
            parsed = self._reader.parse_all(records)
            self._keys = dict(parsed.values())
            self._uncertain = frozenset(
                _find_hash(text) for name, text in records.items() if name not in parsed
            )
            self._records = records

    async def refresh(self) -> None:
        """
        Read the keys again, because an unknown key may be a new one.

        Callers that come during a read share the next one, and there are at most
        :data:`MAX_REFRESHES` a second. This returns when a read that began after the
        call has ended.

        :raises StoreError: if the keys cannot be read.
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
            # A new burst in each second would let all callers in the rest of the second
            # wait, each with its body, and then be answered all at once.
            pause = self._refreshes_until - clock.seconds() - _REFRESHES_AHEAD
            if pause > 0:
                await deferLater(clock, pause)
            until = max(self._refreshes_until, clock.seconds())
            self._refreshes_until = until + 1 / MAX_REFRESHES
            waiting, self._waiting = self._waiting, []
            failed: StoreError | None = None
            try:
                await self.load()
            except StoreError as error:
                failed = error
            except Exception:
                # Whatever it is, callers must not wait for ever.
                self._log.failure("cannot read the keys")
                failed = StoreUnavailable("the keys cannot be read")
            for one in waiting:
                if failed is None:
                    one.callback(None)
                else:
                    one.errback(failed)
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

    async def names(self) -> dict[str, str]:
        """
        Return the names of all keys, by their ``hash_key``.

        :raises StoreError: if the store fails.
        """
        await self.load()
        return {id: key.name for id, key in self._keys.items()}

    async def revoke(self, name: str) -> Key:
        """
        Delete a key, also one of which the record cannot be read.

        :param name: its name.
        :returns: the deleted key. Its kind is empty if its record cannot be read.
        :raises KeyRefused: if no key has that name.
        :raises StoreError: if the store fails.
        """
        await self.load()
        if name not in self._records:
            raise KeyRefused(f"there is no key named {name!r}")
        await self._store.put_record(_RECORDS, name, None)
        known = {key.name: (id, key) for id, key in self._keys.items()}
        id, key = known.get(name, ("", Key("", name, 0)))
        # It must not work any longer, even if the keys cannot be read now.
        self._keys.pop(id, None)
        await self.load()
        return key

    async def rename_stat(self, old: str, new: str) -> None:
        """
        Let the keys of a stat be those of its new name.

        :param old: the name of the stat.
        :param new: its new name.
        :raises StoreError: if the store fails.
        """
        await self._change_stat_keys(old, new)

    async def forget_stat(self, name: str) -> None:
        """
        Delete the keys of a stat.

        :param name: the name of the stat.
        :raises StoreError: if the store fails.
        """
        await self._change_stat_keys(name, None)

    async def _change_stat_keys(self, stat: str, new: str | None) -> None:
        texts = await self._store.records(_RECORDS)
        for name, (_, key) in self._reader.parse_all(texts).items():
            if key.stat == stat:
                text = None
                if new is not None:
                    text = json.dumps({**json.loads(texts[name]), "stat": new})
                await self._store.put_record(_RECORDS, name, text, was=texts[name])
        await self.load()

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
