"""
Comments: notes about a stat, each at a moment, for its chart.

All comments of a stat are in one record, under the stat's id.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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

#: The largest number of comments in a store.
MAX_COMMENTS = 10_000
#: The largest number of comments on a stat. One more replaces the oldest.
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
    :ivar text: its text.
    """

    time: int
    text: str


def read_comments(text: str) -> list[Comment]:
    """
    Read the text of a record.

    :raises ValueError: if it is not valid.
    """
    return [
        Comment(int(time), check_name(comment, "text", MAX_TEXT))
        for time, comment in json.loads(text)
    ]


class Comments:
    """
    The comments in a store.

    :param store: the store.
    """

    def __init__(self, store: IStore) -> None:
        self._store = store

    async def add(self, stat: Stat, text: str) -> Comment:
        """
        Store a comment on a stat. Its time is the time of this call.

        :param stat: the stat.
        :param text: 1 to :data:`MAX_TEXT` characters.
        :raises InvalidPoint: if the text is empty, too long, or has control characters.
        :raises Refusal: 429 if the store has :data:`MAX_COMMENTS` comments.
        """
        comment = Comment(
            int(self._store.clock.seconds()), check_name(text, "text", MAX_TEXT)
        )
        while True:
            records = await self._store.records(RECORDS)
            was = records.get(stat.id)
            old = read_comments(was or "[]")
            if len(old) < MAX_COMMENTS_OF_A_STAT and _total(records) >= MAX_COMMENTS:
                raise Refusal(
                    429,
                    f"the store has {MAX_COMMENTS:,} comments, which is the limit: "
                    "delete a stat to delete its comments",
                )
            new = [*old, comment][-MAX_COMMENTS_OF_A_STAT:]
            # If another collector has added one meanwhile, this tries again.
            if await self._store.put_record(RECORDS, stat.id, _to_json(new), was=was):
                return comment

    async def read(
        self, stats: Sequence[Stat], since: int = 0
    ) -> dict[str, list[Comment]]:
        """
        Read the comments on some stats.

        :param stats: the stats.
        :param since: the time of the oldest comment to return, in Unix seconds.
        :returns: the comments by the stat's name, oldest first.
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


def _total(records: Mapping[str, str]) -> int:
    return sum(len(json.loads(text)) for text in records.values())


def _to_json(comments: Sequence[Comment]) -> str:
    return json.dumps([[comment.time, comment.text] for comment in comments])
