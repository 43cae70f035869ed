"""
The names that a field for a stat suggests.
"""

from __future__ import annotations

from twisted.web.template import Tag, tags

from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.listing import KINDS
from txstathat.stores.listing import ListQuery

__all__ = ["MAX_SUGGESTED", "SUGGESTIONS", "suggestions"]

#: How many names are suggested, those of the stats with the most points lately.
MAX_SUGGESTED = 500
#: The id of the list, for the attribute ``list`` of a field.
SUGGESTIONS = "stat-names"


async def suggestions(archive: Archive) -> Tag:
    """
    Make the list of names for the fields of a page.

    :param archive: the stats.
    :raises StoreError: if the store fails.
    """
    page = await archive.listing.page(
        ListQuery(
            KINDS, "activity", descending=True, limit=MAX_SUGGESTED, counted=False
        )
    )
    names = sorted(row.name for row in page.rows)
    return tags.datalist(*(tags.option(value=name) for name in names), id=SUGGESTIONS)
