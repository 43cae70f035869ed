"""
Details of stats that people add: a unit, a description, a pin.

The details of a stat are one record, under the stat's id.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from txstathat.collector.archive.stats import Stat
from txstathat.collector.errors import Refusal
from txstathat.collector.records import BadRecord, RecordReader, load_fields
from txstathat.points.names import check_name
from txstathat.stores.interface import IStore

__all__ = [
    "MAX_DESCRIPTION",
    "MAX_DETAILS",
    "MAX_UNIT",
    "NO_DETAILS",
    "RECORDS",
    "Details",
    "StatDetails",
    "parse_details",
]

#: The largest number of stats with details.
MAX_DETAILS = 10_000
#: The most characters of a unit.
MAX_UNIT = 20
#: The most characters of a description.
MAX_DESCRIPTION = 500

#: The kind of the records.
RECORDS = "details"


@dataclass(frozen=True, slots=True)
class Details:
    """
    The details of a stat.

    :ivar unit: the unit of its amounts, such as ``'ms'``; empty for none.
    :ivar description: what it counts or measures; empty for none.
    :ivar pinned: whether it stands at the top of the list.
    """

    unit: str = ""
    description: str = ""
    pinned: bool = False


#: The details of most stats.
NO_DETAILS = Details()


def check_details(details: Details) -> None:
    """
    Check details.

    :raises InvalidPoint: if a text is too long or has control characters.
    """
    if details.unit:
        check_name(details.unit, "unit", MAX_UNIT)
    if details.description:
        check_name(details.description, "description", MAX_DESCRIPTION)


def parse_details(id: str, text: str) -> Details:
    """
    Parse the record of a stat.

    :param id: its id, which is the stat's id.
    :param text: its text.
    :raises BadRecord: if it is not valid, or a newer version wrote it.
    """
    fields = load_fields(text, (), ("unit", "description", "pinned"))
    details = Details(**fields)
    for name in ("unit", "description"):
        if not isinstance(getattr(details, name), str):
            raise BadRecord(f"is not valid: {name} is not text")
    if not isinstance(details.pinned, bool):
        raise BadRecord("is not valid: pinned is not true or false")
    check_details(details)
    return details


class StatDetails:
    """
    The details of the stats in a store.

    :param store: the store.

    :ivar record_readers: the readers of the records.
    """

    def __init__(self, store: IStore) -> None:
        self._store = store
        self._reader = RecordReader(store, RECORDS, parse_details)
        self.record_readers = (self._reader,)

    async def all(self) -> dict[str, Details]:
        """
        Read all details.

        :returns: the details by the stat's id, for the stats that have any.
        """
        return await self._reader.all()

    async def read_some(self, stats: Sequence[Stat]) -> dict[str, Details]:
        """
        Read the details of some stats at once.

        :param stats: the stats.
        :returns: the details by the stat's name, for the stats that have any.
        """
        found = await self._reader.some([stat.id for stat in stats])
        return {stat.name: found[stat.id] for stat in stats if stat.id in found}

    async def read(self, stat: Stat) -> Details:
        """
        Read the details of a stat.

        :param stat: the stat.
        """
        return await self._reader.get(stat.id) or NO_DETAILS

    async def change(
        self,
        stat: Stat,
        *,
        unit: str | None = None,
        description: str | None = None,
        pinned: bool | None = None,
    ) -> Details:
        """
        Change some details of a stat; ``None`` leaves one as it is.

        :param stat: the stat.
        :param unit: see :class:`Details`; at most :data:`MAX_UNIT` characters.
        :param description: see :class:`Details`; at most :data:`MAX_DESCRIPTION`
            characters.
        :param pinned: see :class:`Details`.
        :returns: the new details.
        :raises InvalidPoint: if a text is too long or has control characters.
        :raises Refusal: 429 if :data:`MAX_DETAILS` stats have details; 409 if those of
            this stat cannot be read.
        """
        given = {"unit": unit, "description": description, "pinned": pinned}
        changes = {name: value for name, value in given.items() if value is not None}
        while True:
            was = await self._store.record(RECORDS, stat.id)
            old = NO_DETAILS if was is None else self._reader.parse(stat.id, was)
            if old is None:
                raise Refusal(
                    409,
                    "the details of this stat cannot be read by this version of "
                    "txStatHat, so it cannot change them",
                )
            new = replace(old, **changes)  # type: ignore[arg-type]
            check_details(new)
            if was is None and new != NO_DETAILS:
                await self._check_room()
            if await self._store.put_record(RECORDS, stat.id, _to_json(new), was=was):
                return new

    async def _check_room(self) -> None:
        if len(await self._store.records(RECORDS)) >= MAX_DETAILS:
            raise Refusal(
                429,
                f"{MAX_DETAILS:,} stats have a unit, a description or a pin, which is "
                "the limit: remove those of another stat",
            )


def _to_json(details: Details) -> str | None:
    """Return the text of a record; ``None`` if there is nothing to store."""
    return None if details == NO_DETAILS else json.dumps(asdict(details))
