"""
Links that show one stat or one board to whoever has them.

The store holds only the hash of a link's secret, as for keys and sessions: nobody can
make a link of what is in the store.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

from txstathat.collector.auth.key_record import hash_key, is_hash, new_key
from txstathat.collector.errors import Refusal
from txstathat.collector.records import (
    BadRecord,
    RecordReader,
    is_integer,
    load_fields,
)
from txstathat.points.names import check_name
from txstathat.stores.interface import IStore

__all__ = ["MAX_SHARES", "Share", "Shares"]

#: The largest number of shared links.
MAX_SHARES = 500

_RECORDS = "share"
_KINDS = ("stat", "board")


@dataclass(frozen=True, slots=True)
class Share:
    """
    What a link shows.

    :ivar kind: ``'stat'`` or ``'board'``.
    :ivar target: the name of the stat, or the id of the board.
    :ivar created_at: when it was made, in Unix seconds.
    """

    kind: str
    target: str
    created_at: int


def parse_share(id: str, text: str) -> Share:
    """
    Parse the record of a link.

    :param id: its id, which is the hash of its secret.
    :param text: its text.
    :raises BadRecord: if it is not valid, or a newer version wrote it.
    """
    fields = load_fields(text, ("kind", "target", "created_at"))
    if not is_hash(id):
        raise BadRecord("is not valid: its id is not a SHA-256")
    if fields["kind"] not in _KINDS:
        raise BadRecord("has a kind that this version does not know")
    if not is_integer(fields["created_at"]):
        raise BadRecord("is not valid: created_at is not a time")
    check_name(fields["target"], "target")
    return Share(**fields)


class Shares:
    """
    The shared links of a store.

    :param store: the store.
    :param max_shares: the largest number of links.

    :ivar record_readers: the readers of the records.
    """

    def __init__(self, store: IStore, max_shares: int = MAX_SHARES) -> None:
        self._store = store
        self._max_shares = max_shares
        self._reader = RecordReader(store, _RECORDS, parse_share)
        self.record_readers = (self._reader,)

    async def create(self, kind: str, target: str) -> str:
        """
        Make a link.

        :param kind: ``'stat'`` or ``'board'``.
        :param target: the name of the stat, or the id of the board.
        :returns: its secret, of 192 random bits. It cannot be read back later.
        :raises Refusal: 429 if there are too many links.
        :raises StoreError: if the store fails.
        """
        if len(await self._store.records(_RECORDS)) >= self._max_shares:
            raise Refusal(
                429,
                f"there are {self._max_shares} shared links, which is the limit: "
                "revoke one",
            )
        secret = new_key()
        share = Share(kind, target, int(self._store.clock.seconds()))
        await self._put(hash_key(secret), share)
        return secret

    async def find(self, secret: str) -> Share | None:
        """
        Return what a link shows; ``None`` if it does not exist or was revoked.

        :param secret: its secret.
        :raises StoreError: if the store fails.
        """
        return await self._reader.get(hash_key(secret))

    async def all(self) -> dict[str, Share]:
        """
        Return all links, the newest first, by the hashes of their secrets.

        :raises StoreError: if the store fails.
        """
        found = await self._reader.all()
        newest_first = sorted(
            found.items(), key=lambda item: item[1].created_at, reverse=True
        )
        return dict(newest_first)

    async def revoke(self, id: str) -> None:
        """
        Revoke a link. It does not work from now on.

        :param id: the hash of its secret.
        :raises Refusal: 404 if it does not exist.
        :raises StoreError: if the store fails.
        """
        if await self._store.record(_RECORDS, id) is None:
            raise Refusal(404, "there is no such link: it may be revoked already")
        await self._store.put_record(_RECORDS, id, None)

    async def revoke_all(self, kind: str, target: str) -> None:
        """
        Revoke all links to a stat or a board.

        :param kind: ``'stat'`` or ``'board'``.
        :param target: the name of the stat, or the id of the board.
        :raises StoreError: if the store fails.
        """
        for id, share in (await self._reader.all()).items():
            if (share.kind, share.target) == (kind, target):
                await self._store.put_record(_RECORDS, id, None)

    async def rename_stat(self, old: str, new: str) -> None:
        """
        Let the links to a stat show it under its new name.

        :param old: its old name.
        :param new: its new name.
        :raises StoreError: if the store fails.
        """
        for id, share in (await self._reader.all()).items():
            if (share.kind, share.target) == ("stat", old):
                # A link that was revoked meanwhile stays revoked.
                await self._put(id, replace(share, target=new), was=_to_json(share))

    async def forget_stat(self, name: str) -> None:
        """
        Revoke all links to a stat that is deleted for good.

        :param name: the name of the stat.
        :raises StoreError: if the store fails.
        """
        await self.revoke_all("stat", name)

    async def _put(self, id: str, share: Share, was: str | None = None) -> None:
        await self._store.put_record(_RECORDS, id, _to_json(share), was=was)


def _to_json(share: Share) -> str:
    return json.dumps(asdict(share))
