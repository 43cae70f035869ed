"""
Who is signed in, and the links by which one can sign in once.

Both are records of the store, so that all collectors on it know them, and signing out
ends a session everywhere. As of keys, only hashes are kept: what is in the store lets
nobody in.
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

#: For how many seconds one stays signed in: 7 days.
SESSION_SECONDS = 7 * 86_400
#: How many may be signed in; one more ends the oldest session.
MAX_SESSIONS = 200
#: For how many seconds a one-time link works.
LINK_SECONDS = 3600
#: How many unused links there may be; one more replaces the oldest.
MAX_LINKS = 20

#: To how many access tokens a link, and the session that begins with it, can be bound.
MAX_TOKENS = 100

_SESSIONS = "session"
_LINKS = "link"


class Sessions:
    """
    The sessions and the one-time links of a store.

    :param store: where they are kept.
    :param keys: among which the access tokens are. A session ends with its token; one
        that began with a link, when no token is left that there was when it was made.
    """

    def __init__(self, store: IStore, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    async def open(self, token: str) -> str:
        """
        Begin a session.

        :param token: the access token, which is known to be right.
        :returns: what the browser keeps.
        :raises StoreError: if it cannot be kept.
        """
        return await self._begin([hash_key(token)])

    async def _begin(self, tokens: list[str]) -> str:
        return await self._make(_SESSIONS, SESSION_SECONDS, MAX_SESSIONS, tokens)

    async def knows(self, session: str) -> bool:
        """
        Whether this is a session, and its access token was not revoked since.

        :raises StoreError: if that cannot be told.
        """
        text = await self._store.record(_SESSIONS, hash_key(session))
        return text is not None and await self._holds(json.loads(text))

    async def _holds(self, record: dict[str, Any]) -> bool:
        if record["until"] <= self._now():
            return False
        # Where there was no token at all, none can be revoked.
        tokens = set(record["tokens"])
        if tokens and tokens.isdisjoint(self._keys.readers):
            # Another collector may have made it a moment ago.
            await self._keys.look_again()
        return not tokens or not tokens.isdisjoint(self._keys.readers)

    async def close(self, session: str) -> None:
        """
        End a session, if it is one.
        """
        await self._store.put_record(_SESSIONS, hash_key(session), None)

    async def link(self) -> str:
        """
        Make a one-time link.

        :returns: its secret part, of 192 random bits.
        """
        tokens = self._keys.readers[:MAX_TOKENS]
        return await self._make(_LINKS, LINK_SECONDS, MAX_LINKS, tokens)

    async def redeem(self, link: str) -> str | None:
        """
        Begin a session with a one-time link.

        :returns: what the browser keeps; ``None`` if it is no good link. Of several who
            use one at once it is good for one.
        """
        id = hash_key(link)
        text = await self._store.record(_LINKS, id)
        if text is None or not await self._holds(json.loads(text)):
            return None
        if not await self._store.put_record(_LINKS, id, None, was=text):
            return None
        return await self._begin(json.loads(text)["tokens"])

    async def _make(
        self, kind: str, seconds: float, limit: int, tokens: list[str]
    ) -> str:
        secret, now = new_key(), self._now()
        records = await self._records(kind)
        # The oldest run out first.
        by_age = sorted(records, key=lambda id: records[id]["until"], reverse=True)
        for at, id in enumerate(by_age):
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
