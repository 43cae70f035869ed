"""
Sessions of the web pages, and the one-time links that begin one.

Both are records in the store, so every collector on it knows them, and signing out ends
a session everywhere. The store holds only hashes, as for keys: nobody can sign in with
what is in the store.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from txstathat.collector.auth.key_record import hash_key, is_hash, new_key
from txstathat.collector.auth.keys import Keys
from txstathat.collector.records import (
    BadRecord,
    RecordReader,
    is_number,
    load_fields,
)
from txstathat.stores.interface import IStore

__all__ = [
    "LINK_SECONDS",
    "MAX_LINKS",
    "MAX_SESSIONS",
    "MAX_TOKENS",
    "SESSION_SECONDS",
    "Session",
    "Sessions",
]

#: How long a session lasts, in seconds: 7 days.
SESSION_SECONDS = 7 * 86_400
#: The largest number of sessions. One more ends the oldest.
MAX_SESSIONS = 200
#: How long a one-time link works, in seconds.
LINK_SECONDS = 3600
#: The largest number of unused links. One more replaces the oldest.
MAX_LINKS = 20
#: The largest number of access tokens to which a link, and its session, is bound.
MAX_TOKENS = 100

_SESSIONS = "session"
_LINKS = "link"


@dataclass(frozen=True, slots=True)
class Session:
    """
    What the record of a session or a link holds.

    :ivar tokens: the hashes of the access tokens to which it is bound.
    :ivar until: when it ends, in Unix seconds.
    """

    tokens: tuple[str, ...]
    until: float


def parse_session(id: str, text: str) -> Session:
    """
    Parse the record of a session or a link.

    :param id: its id, which is the hash of its secret.
    :param text: its text.
    :raises BadRecord: if it is not valid, or a newer version wrote it.
    """
    fields = load_fields(text, ("tokens", "until"))
    tokens, until = fields["tokens"], fields["until"]
    if not (is_hash(id) and isinstance(tokens, list) and all(map(is_hash, tokens))):
        raise BadRecord("is not valid: it has no list of SHA-256 hashes")
    if not is_number(until):
        raise BadRecord("is not valid: until is not a time")
    return Session(tuple(tokens), until)


class Sessions:
    """
    The sessions and the one-time links of a store.

    :param store: where they are stored.
    :param keys: the keys, among them the access tokens. A session ends when its access
        token is revoked. A session that began with a link ends when all access tokens
        that existed when the link was made are revoked.

    :ivar record_readers: the readers of the records.
    """

    def __init__(self, store: IStore, keys: Keys) -> None:
        self._store = store
        self._keys = keys
        self._sessions = RecordReader(store, _SESSIONS, parse_session)
        self._links = RecordReader(store, _LINKS, parse_session)
        self.record_readers = (self._sessions, self._links)

    async def open(self, token: str) -> str:
        """
        Begin a session.

        :param token: the access token, which the caller has checked.
        :returns: the session's secret, for the browser's cookie.
        :raises StoreError: if the store fails.
        """
        return await self._begin([hash_key(token)])

    async def _begin(self, tokens: Sequence[str]) -> str:
        return await self._create(self._sessions, SESSION_SECONDS, MAX_SESSIONS, tokens)

    async def knows(self, session: str) -> bool:
        """
        Return whether this is a session that has not ended.

        :param session: the session's secret.
        :raises StoreError: if the store fails.
        """
        record = await self._sessions.get(hash_key(session))
        return record is not None and await self._is_valid(record)

    async def may_change(self, session: str) -> bool:
        """
        Return whether this is a session that has not ended, and did not begin with a
        read-only token.

        :param session: the session's secret.
        :raises StoreError: if the store fails.
        """
        record = await self._sessions.get(hash_key(session))
        if record is None or not await self._is_valid(record):
            return False
        tokens = set(record.tokens)
        return not tokens or not tokens.isdisjoint(self._keys.editors)

    async def all(self) -> dict[str, Session]:
        """
        Return the sessions that have not ended, the newest first, by their ids, with
        which nobody can sign in.

        :raises StoreError: if the store fails.
        """
        records = await self._sessions.all()
        newest_first = sorted(records, key=lambda id: records[id].until, reverse=True)
        return {
            id: records[id] for id in newest_first if await self._is_valid(records[id])
        }

    async def end(self, id: str) -> bool:
        """
        End a session.

        :param id: its id.
        :returns: whether this call ended it.
        :raises StoreError: if the store fails.
        """
        if await self._store.record(_SESSIONS, id) is None:
            return False
        return await self._store.put_record(_SESSIONS, id, None)

    async def end_all(self) -> int:
        """
        End all sessions, and make the one-time links useless.

        :returns: the number of sessions.
        :raises StoreError: if the store fails.
        """
        ended = 0
        for kind in (_SESSIONS, _LINKS):
            for id in await self._store.records(kind):
                done = await self._store.put_record(kind, id, None)
                ended += done and kind == _SESSIONS
        return ended

    async def _is_valid(self, record: Session) -> bool:
        if record.until <= self._now():
            return False
        tokens = set(record.tokens)
        if not tokens:
            # There were no access tokens, so none can have been revoked.
            return True
        if tokens.isdisjoint(self._keys.readers):
            # Another collector may have created the token a moment ago.
            await self._keys.refresh()
        return not tokens.isdisjoint(self._keys.readers)

    async def close(self, session: str) -> None:
        """
        End a session, if it exists.

        :param session: the session's secret.
        :raises StoreError: if the store fails.
        """
        await self._store.put_record(_SESSIONS, hash_key(session), None)

    async def link(self) -> str:
        """
        Create a one-time link.

        :returns: its secret, of 192 random bits, for the end of the URL.
        :raises StoreError: if the store fails.
        """
        tokens = self._keys.editors[:MAX_TOKENS]
        return await self._create(self._links, LINK_SECONDS, MAX_LINKS, tokens)

    async def can_redeem(self, link: str) -> bool:
        """
        Return whether a one-time link works still. This does not use it up.

        :param link: the link's secret.
        :raises StoreError: if the store fails.
        """
        record = await self._links.get(hash_key(link))
        return record is not None and await self._is_valid(record)

    async def redeem(self, link: str) -> str | None:
        """
        Begin a session with a one-time link. If several do so at once, one succeeds.

        :param link: the link's secret.
        :returns: the session's secret, for the browser's cookie; ``None`` if the link
            does not work (any more).
        :raises StoreError: if the store fails.
        """
        id = hash_key(link)
        text = await self._store.record(_LINKS, id)
        record = None if text is None else self._links.parse(id, text)
        if record is None or not await self._is_valid(record):
            return None
        if not await self._store.put_record(_LINKS, id, None, was=text):
            return None
        return await self._begin(record.tokens)

    async def _create(
        self,
        reader: RecordReader[Session],
        seconds: float,
        limit: int,
        tokens: Sequence[str],
    ) -> str:
        secret, now = new_key(), self._now()
        records = await reader.all()
        # All last equally long, so the oldest expires first.
        newest_first = sorted(records, key=lambda id: records[id].until, reverse=True)
        for at, id in enumerate(newest_first):
            if at >= limit - 1 or records[id].until <= now:
                await self._store.put_record(reader.kind, id, None)
        record = json.dumps({"tokens": list(tokens), "until": now + seconds})
        await self._store.put_record(reader.kind, hash_key(secret), record)
        return secret

    def _now(self) -> float:
        return self._store.clock.seconds()
