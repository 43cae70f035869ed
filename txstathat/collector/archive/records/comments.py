"""
Comments: notes about a stat, each at a moment, for its chart. A note on no stat marks
all charts, such as that a new version was deployed.

All comments of a stat are in one record, under the stat's id. Those on no stat are in
one too, under :data:`GENERAL`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from txstathat.collector.archive.stats import Stat
from txstathat.collector.errors import Refusal
from txstathat.collector.records import (
    BadRecord,
    RecordReader,
    is_integer,
    load_list,
)
from txstathat.points.names import check_name
from txstathat.stores.interface import IStore

__all__ = [
    "GENERAL",
    "MAX_COMMENTS",
    "MAX_COMMENTS_OF_A_STAT",
    "MAX_TEXT",
    "RECORDS",
    "Comment",
    "Comments",
    "read_comments",
]

#: The largest number of comments in a store.
MAX_COMMENTS = 10_000
#: The largest number of comments on a stat. One more replaces the oldest.
MAX_COMMENTS_OF_A_STAT = 100
#: The most characters of a comment.
MAX_TEXT = 500

#: The kind of the records.
RECORDS = "comment"
#: The id of the record with the comments on no stat. No stat has this id.
GENERAL = "general"


@dataclass(frozen=True, slots=True)
class Comment:
    """
    A comment.

    :ivar time: when it was made, in Unix seconds.
    :ivar text: its text.
    """

    time: int
    text: str

    @property
    def id(self) -> str:
        """
        Identifies the comment among those on the same stat, by its time and text.
        """
        text = f"{self.time} {self.text}"
        return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def read_comments(id: str, text: str) -> list[Comment]:
    """
    Parse the record of a stat.

    :param id: its id, which is the stat's id.
    :param text: its text.
    :raises BadRecord: if it is not valid, or a newer version wrote it.
    """
    return [_read_comment(each) for each in load_list(text)]


def _read_comment(thing: object) -> Comment:
    if not isinstance(thing, list) or len(thing) != 2 or not is_integer(thing[0]):
        raise BadRecord("is not valid: it has no list of times and texts")
    return Comment(thing[0], check_name(thing[1], "text", MAX_TEXT))


class Comments:
    """
    The comments in a store.

    :param store: the store.
    :param most: the largest number of comments.
    :param most_of_a_stat: the largest number on one stat. A new one replaces the
        oldest.

    :ivar record_readers: the readers of the records.
    """

    def __init__(
        self,
        store: IStore,
        most: int = MAX_COMMENTS,
        most_of_a_stat: int = MAX_COMMENTS_OF_A_STAT,
    ) -> None:
        self._store = store
        self._most = most
        self._most_of_a_stat = most_of_a_stat
        self._reader = RecordReader(store, RECORDS, read_comments)
        self.record_readers = (self._reader,)

    async def add(self, stat: Stat | None, text: str) -> Comment:
        """
        Store a comment on a stat. Its time is the time of this call.

        :param stat: the stat; ``None`` for a comment on no stat.
        :param text: 1 to :data:`MAX_TEXT` characters.
        :raises InvalidPoint: if the text is empty, too long, or has control characters.
        :raises Refusal: 429 if the store has too many comments; 409 if those on
            the stat cannot be read.
        """
        comment = Comment(
            int(self._store.clock.seconds()), check_name(text, "text", MAX_TEXT)
        )
        id = _id_of(stat)
        while True:
            records = await self._store.records(RECORDS)
            was = records.get(id)
            readable = self._reader.parse_all(records)
            if was is not None and id not in readable:
                raise _unreadable("add one")
            old = readable.get(id, [])
            total = sum(map(len, readable.values()))
            if len(old) < self._most_of_a_stat and total >= self._most:
                raise Refusal(
                    429,
                    f"the store has {self._most:,} comments, which is the limit: "
                    "delete some of them",
                )
            new = [*old, comment][-self._most_of_a_stat :]
            # If another collector has added one meanwhile, this tries again.
            if await self._store.put_record(RECORDS, id, _to_json(new), was=was):
                return comment

    async def delete(self, stat: Stat | None, id: str) -> Comment:
        """
        Delete a comment.

        :param stat: the stat; ``None`` for a comment on no stat.
        :param id: the id of the comment.
        :returns: the comment.
        :raises Refusal: 404 if it does not exist; 409 if the comments on the stat
            cannot be read.
        """
        record = _id_of(stat)
        while True:
            was = await self._store.record(RECORDS, record)
            old = [] if was is None else self._reader.parse(record, was)
            if old is None:
                raise _unreadable("delete one")
            found = next((comment for comment in old if comment.id == id), None)
            if found is None:
                raise Refusal(404, "there is no such note: it may be deleted already")
            rest = list(old)
            rest.remove(found)
            text = _to_json(rest) if rest else None
            if await self._store.put_record(RECORDS, record, text, was=was):
                return found

    async def marks(
        self, stats: Sequence[Stat], since: float, until: float
    ) -> list[Comment]:
        """
        Read what the chart of some stats marks: the comments on these stats, and those
        on no stat.

        :param stats: the stats.
        :param since: the time of the oldest, in Unix seconds.
        :param until: the time before which they were made, in Unix seconds.
        :returns: the comments, oldest first.
        """
        comments = await self.by_stat(stats)
        return sorted(
            (
                comment
                for some in comments.values()
                for comment in some
                if since <= comment.time < until
            ),
            key=lambda comment: comment.time,
        )

    async def all(self) -> dict[str, list[Comment]]:
        """
        Read all comments.

        :returns: the comments by the stat's id, oldest first; those on no stat under
            :data:`GENERAL`.
        """
        return await self._reader.all()

    async def by_stat(self, stats: Sequence[Stat]) -> dict[str, list[Comment]]:
        """
        Read the comments on some stats and those on none, at once.

        :param stats: the stats.
        :returns: the comments by the stat's name, oldest first; those on no stat under
            ``''``.
        """
        records = await self._reader.some([GENERAL, *(stat.id for stat in stats)])
        found = {stat.name: records.get(stat.id, []) for stat in stats}
        return {"": records.get(GENERAL, []), **found}

    async def read(
        self, stats: Sequence[Stat], since: int = 0
    ) -> dict[str, list[Comment]]:
        """
        Read the comments on some stats.

        :param stats: the stats.
        :param since: the time of the oldest comment to return, in Unix seconds.
        :returns: the comments by the stat's name, oldest first.
        """
        comments = await self.by_stat(stats)
        return {
            stat.name: [each for each in comments[stat.name] if each.time >= since]
            for stat in stats
        }


def _id_of(stat: Stat | None) -> str:
    return GENERAL if stat is None else stat.id


def _unreadable(what: str) -> Refusal:
    return Refusal(
        409,
        "the comments of this stat cannot be read by this version of txStatHat, so it "
        f"cannot {what}",
    )


def _to_json(comments: Sequence[Comment]) -> str:
    return json.dumps([[comment.time, comment.text] for comment in comments])
