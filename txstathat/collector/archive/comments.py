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


def read_comments(text: str) -> list[Comment]:
    """
    Read the text of a record.

    :raises ValueError: if it is none.
    """
    return [
        Comment(int(time), check_name(said, "text", MAX_TEXT))
        for time, said in json.loads(text)
    ]


class Comments:
    """
    The comments of a store.
    """

    def __init__(self, store: IStore) -> None:
        self._store = store

    async def add(self, stat: Stat, text: str) -> Comment:
        """
        Store a comment, with the time at which this is called.

        :raises InvalidPoint: if the text is empty, longer than :data:`MAX_TEXT`, or has
            control characters.
        :raises Refusal: if there are too many.
        """
        comment = Comment(
            int(self._store.clock.seconds()), check_name(text, "text", MAX_TEXT)
        )
        while True:
            records = await self._store.records(RECORDS)
            was = records.get(stat.id)
            found = read_comments(was or "[]")
            if len(found) < MAX_COMMENTS_OF_A_STAT and _number(records) >= MAX_COMMENTS:
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
        records = await self._store.records(RECORDS)
        return {
            stat.name: [
                comment
                for comment in read_comments(records.get(stat.id, "[]"))
                if comment.time >= since
            ]
            for stat in stats
        }


def _number(records: dict[str, str]) -> int:
    return sum(len(json.loads(text)) for text in records.values())


def _text(comments: Sequence[Comment]) -> str:
    return json.dumps([[comment.time, comment.text] for comment in comments])
