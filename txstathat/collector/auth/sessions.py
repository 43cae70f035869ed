"""
Sessions of the web pages, and the one-time links that begin one.

Both are records in the store, so every collector on it knows them, and signing out ends
a session everywhere. The store holds only hashes, as for keys: nobody can sign in with
what is in the store.
"""

from __future__ import annotations

import json
from typing import Any

from txstathat.collector.auth.keys import Keys, hash_key, new_key
from txstathat.stores.interface import IStore

__all__ = [
    "LINK_SECONDS",
    "MAX_LINKS",
    "MAX_SESSIONS",
    "MAX_TOKENS",
    "SESSION_SECONDS",
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


class Sessions:
    """
    The sessions and the one-time links of a store.

    :param store: where they are stored.
    :param keys: the keys, among them the access tokens. A session ends when its access
        token is revoked. A session that began with a link ends when all access tokens
        that existed when the link was made are revoked.
    """

    def __init__(self, store: IStore, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    async def open(self, token: str) -> str:
        """
        Begin a session.

        :param token: the access token, which the caller has checked.
        :returns: the session's secret, for the browser's cookie.
        :raises StoreError: if the store fails.
        """
        return await self._begin([hash_key(token)])

    async def _begin(self, tokens: list[str]) -> str:
        return await self._create(_SESSIONS, SESSION_SECONDS, MAX_SESSIONS, tokens)

    async def knows(self, session: str) -> bool:
        """
        Return whether this is a session that has not ended.

        :param session: the session's secret.
        :raises StoreError: if the store fails.
        """
        text = await self._store.record(_SESSIONS, hash_key(session))
        return text is not None and await self._is_valid(json.loads(text))

    async def _is_valid(self, record: dict[str, Any]) -> bool:
        if record["until"] <= self._now():
            return False
        tokens = set(record["tokens"])
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
        tokens = self._keys.readers[:MAX_TOKENS]
        return await self._create(_LINKS, LINK_SECONDS, MAX_LINKS, tokens)

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
        if text is None or not await self._is_valid(json.loads(text)):
            return None
        if not await self._store.put_record(_LINKS, id, None, was=text):
            return None
        return await self._begin(json.loads(text)["tokens"])

    async def _create(
        self, kind: str, seconds: float, limit: int, tokens: list[str]
    ) -> str:
        secret, now = new_key(), self._now()
        records = await self._records(kind)
        # All last equally long, so the oldest expires first.
        newest_first = sorted(
            records, key=lambda id: records[id]["until"], reverse=True
        )
        for at, id in enumerate(newest_first):
            if at >= limit - 1 or records[id]["until"] <= now:
                await self._store.put_record(kind, id, None)
        record = json.dumps({"tokens": tokens, "until": now + seconds})
        await self._store.put_record(kind, hash_key(secret), record)
        return secret

    async def _records(self, kind: str) -> dict[str, Any]:
        texts = await self._store.records(kind)
        return {id: json.loads(text) for id, text in texts.items()}

    def _now(self) -> float:
        return self._store.clock.seconds()
