"""
Comments: notes about a stat, each at a moment, for its chart.

A stat has one record with all of its comments, under the stat's id.
"""

from __future__ import annotations

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
from txstathat.points.model import check_name
from txstathat.stores.interface import IStore

__all__ = [
    "MAX_COMMENTS",
    "MAX_COMMENTS_OF_A_STAT",
    "MAX_TEXT",
    "RECORDS",
    "Comment",
    "Comments",
    "read_comments",
]

#: How many comments there may be in one store.
MAX_COMMENTS = 10_000
#: How many comments a stat has: its newest ones. One more replaces the oldest.
MAX_COMMENTS_OF_A_STAT = 100
#: The most characters of a comment.
MAX_TEXT = 500

#: The kind of the records.
RECORDS = "comment"


@dataclass(frozen=True, slots=True)
class Comment:
    """
    A comment.

    :ivar time: when it was made, in Unix seconds.
    :ivar text: what it says.
    """

    time: int
    text: str


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
    The comments of a store.

    :ivar record_readers: the readers of the records.
    """

    def __init__(self, store: IStore) -> None:
        self._store = store
        self._reader = RecordReader(store, RECORDS, read_comments)
        self.record_readers = (self._reader,)

    async def add(self, stat: Stat, text: str) -> Comment:
        """
        Store a comment, with the time at which this is called.

        :raises InvalidPoint: if the text is empty, longer than :data:`MAX_TEXT`, or has
            control characters.
        :raises Refusal: if there are too many, or those of the stat cannot be read.
        """
        comment = Comment(
            int(self._store.clock.seconds()), check_name(text, "text", MAX_TEXT)
        )
        while True:
            records = await self._store.records(RECORDS)
            was = records.get(stat.id)
            readable = self._reader.parse_all(records)
            if was is not None and stat.id not in readable:
                raise Refusal(
                    409,
                    "the comments of this stat cannot be read by this version of "
                    "txStatHat, so it cannot add one",
                )
            found = readable.get(stat.id, [])
            number = sum(map(len, readable.values()))
            if len(found) < MAX_COMMENTS_OF_A_STAT and number >= MAX_COMMENTS:
                raise Refusal(
                    429,
                    f"there are {MAX_COMMENTS:,} comments, which is the limit: those "
                    "of a stat go when it is deleted",
                )
            now = [*found, comment][-MAX_COMMENTS_OF_A_STAT:]
            # Another collector may have added one meanwhile.
            if await self._store.put_record(RECORDS, stat.id, _text(now), was=was):
                return comment

    async def read(
        self, stats: Sequence[Stat], since: int = 0
    ) -> dict[str, list[Comment]]:
        """
        The comments of some stats, oldest first, by the stat's name.

        :param since: only those of this time or later, in Unix seconds.
        """
        records = await self._reader.all()
        return {
            stat.name: [
                comment for comment in records.get(stat.id, []) if comment.time >= since
            ]
            for stat in stats
        }


def _text(comments: Sequence[Comment]) -> str:
    return json.dumps([[comment.time, comment.text] for comment in comments])
