"""
Comments: notes about a stat, each at a moment, for its chart.

All comments of a stat are in one record, under the stat's id.
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

    :ivar record_readers: the readers of the records.
    """

    def __init__(self, store: IStore) -> None:
        self._store = store
        self._reader = RecordReader(store, RECORDS, read_comments)
        self.record_readers = (self._reader,)

    async def add(self, stat: Stat, text: str) -> Comment:
        """
        Store a comment on a stat. Its time is the time of this call.

        :param stat: the stat.
        :param text: 1 to :data:`MAX_TEXT` characters.
        :raises InvalidPoint: if the text is empty, too long, or has control characters.
        :raises Refusal: 429 if the store has :data:`MAX_COMMENTS` comments; 409 if
            those on the stat cannot be read.
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
            old = readable.get(stat.id, [])
            total = sum(map(len, readable.values()))
            if len(old) < MAX_COMMENTS_OF_A_STAT and total >= MAX_COMMENTS:
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
        records = await self._reader.all()
        return {
            stat.name: [
                comment for comment in records.get(stat.id, []) if comment.time >= since
            ]
            for stat in stats
        }


def _to_json(comments: Sequence[Comment]) -> str:
    return json.dumps([[comment.time, comment.text] for comment in comments])
