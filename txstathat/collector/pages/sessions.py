"""
Who is signed in, and the links by which one can sign in once.

Both are records of the store, so that all collectors on it know them, and signing out
ends a session everywhere. As of keys, only hashes are kept: what is in the store lets
nobody in.
"""

from __future__ import annotations

import json
from typing import Any

from txstathat.collector.keys import Keys, hash_key, new_key
from txstathat.stores.interface import IStore

__all__ = [
    "LINK_SECONDS",
    "MAX_LINKS",
    "MAX_SESSIONS",
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

_SESSIONS = "session"
_LINKS = "link"


class Sessions:
    """
    The sessions and the one-time links of a store.

    :param store: where they are kept.
    :param keys: among which the access tokens are. A session ends with its token.
    """

    def __init__(self, store: IStore, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    async def open(self, token: str | None) -> str:
        """
        Begin a session.

        :param token: the access token, which is known to be right; ``None`` for who
            came by a one-time link.
        :returns: what the browser keeps.
        :raises StoreError: if it cannot be kept.
        """
        key = None if token is None else hash_key(token)
        return await self._make(_SESSIONS, SESSION_SECONDS, MAX_SESSIONS, key)

    async def knows(self, session: str) -> bool:
        """
        Whether this is a session, and its access token was not revoked since.

        :raises StoreError: if that cannot be told.
        """
        record = (await self._records(_SESSIONS)).get(hash_key(session))
        if record is None or record["until"] <= self._now():
            return False
        key = record["key"]
        if key is not None and not self._keys.is_reader(key):
            # Another collector may have made it a moment ago.
            await self._keys.look_again()
        return key is None or self._keys.is_reader(key)

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
        return await self._make(_LINKS, LINK_SECONDS, MAX_LINKS, None)

    async def redeem(self, link: str) -> bool:
        """
        Use a one-time link.

        :returns: whether it was good; of several who use it at once, for one.
        """
        id = hash_key(link)
        text = (await self._store.records(_LINKS)).get(id)
        if text is None or json.loads(text)["until"] <= self._now():
            return False
        return await self._store.put_record(_LINKS, id, None, was=text)

    async def _make(
        self, kind: str, seconds: float, limit: int, key: str | None
    ) -> str:
        secret, now = new_key(), self._now()
        records = await self._records(kind)
        # The oldest run out first.
        by_age = sorted(records, key=lambda id: records[id]["until"], reverse=True)
        for at, id in enumerate(by_age):
            if at >= limit - 1 or records[id]["until"] <= now:
                await self._store.put_record(kind, id, None)
        record = json.dumps({"key": key, "until": now + seconds})
        await self._store.put_record(kind, hash_key(secret), record)
        return secret

    async def _records(self, kind: str) -> dict[str, Any]:
        texts = await self._store.records(kind)
        return {id: json.loads(text) for id, text in texts.items()}

    def _now(self) -> float:
        return self._store.clock.seconds()
