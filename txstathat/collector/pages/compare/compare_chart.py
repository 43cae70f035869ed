"""
The chart that compares stats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar
from urllib.parse import urlencode

from twisted.web.template import Tag

from txstathat.charts.chart import Chart
from txstathat.charts.html import fragment
from txstathat.charts.query import BadQuery, Query
from txstathat.charts.table import Table
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.stats import Stat
from txstathat.collector.boards.indexing import START, indexed
from txstathat.collector.boards.model import MAX_COMPARED, SCALES
from txstathat.collector.errors import Refusal
from txstathat.collector.pages.boards.tile_form import STAT_FIELDS
from txstathat.collector.pages.frame.layout import ASSETS
from txstathat.collector.pages.stat.chart import (
    REFRESH,
    figure,
    read_marks,
    scale_of_steps,
    series_of_all,
)

__all__ = ["DEFAULT", "CompareChart", "Compared", "compared_fragment", "read_compared"]

#: The default timeframe. Lines of many short steps would cover each other.
DEFAULT = "1d30m"

_PATH = "/compare/chart"


@dataclass(frozen=True, slots=True)
class Compared:
    """
    What is compared.

    :ivar stats: the stats.
    :ivar t: the timeframe, such as ``'1w3h'``.
    :ivar scale: one of :data:`~txstathat.collector.boards.model.SCALES`.
    """

    stats: Sequence[Stat]
    t: str = DEFAULT
    scale: str = "own"

    @property
    def query(self) -> list[tuple[str, str]]:
        """
        The parameters that name it.
        """
        ids = [("s", stat.id) for stat in self.stats]
        return [*ids, ("t", self.t), ("scale", self.scale)]

    @property
    def fields(self) -> dict[str, str]:
        """
        The fields of the form that chooses the stats.
        """
        names = [stat.name for stat in self.stats]
        return {
            **dict(zip(STAT_FIELDS, names, strict=False)),
            "t": self.t,
            "scale": self.scale,
        }

    @property
    def board_path(self) -> str:
        """
        The address of the form that adds the comparison to a board.
        """
        return f"/boards/add?{urlencode(self.fields)}"

    @property
    def path(self) -> str:
        """
        The path of the page that shows it.
        """
        return f"/compare?{urlencode(self.query)}"


async def read_compared(
    archive: Archive, ids: Sequence[str], t: str, scale: str
) -> Compared:
    """
    Look up what a query names.

    :param archive: the stats.
    :param ids: the ids of the stats.
    :param t: the timeframe; empty for the default.
    :param scale: one of :data:`~txstathat.collector.boards.model.SCALES`; empty for the
        first.
    :raises Refusal: 400 if there are too few or too many, or the scale is unknown; 404
        if a stat does not exist.
    """
    ids = list(dict.fromkeys(ids))
    if not 1 <= len(ids) <= MAX_COMPARED:
        raise Refusal(400, f"compare 1 to {MAX_COMPARED} stats, not {len(ids)}")
    scale = scale or "own"
    if scale not in SCALES:
        raise Refusal(400, f"scale must be {' or '.join(SCALES)}, not {scale[:20]!r}")
    return Compared(await archive.find(ids), t or DEFAULT, scale)


async def compared_fragment(archive: Archive, compared: Compared) -> Tag:
    """
    Make the chart for a page that updates it as one of its live parts.

    :param archive: the stats.
    :param compared: what it shows.
    :raises Refusal: as :func:`.series_of_all`.
    """
    chart = fragment(await _table(archive, compared), _PATH, 0)
    chart.attributes["class"] = "txstathat-chart live"
    return chart


class CompareChart(Chart):
    """
    A line for each of up to six stats, each with its own axis, or indexed: as multiples
    of its start.

    :param archive: has the stats.
    :param base: the path below which browsers reach the collector.
    """

    parameters: ClassVar[tuple[str, ...]] = ("s", "t", "scale")

    def __init__(self, archive: Archive, base: str = "") -> None:
        super().__init__(
            "Compare", refresh=REFRESH, assets=base + ASSETS, path=base + _PATH
        )
        self._archive = archive

    async def read(self, query: Query) -> Table:
        pairs = query.pairs("format")
        ids = [value for name, value in pairs if name == "s"]
        others = {name: value for name, value in pairs if name != "s"}
        t, scale = others.get("t", ""), others.get("scale", "")
        try:
            compared = await read_compared(self._archive, ids, t, scale)
            return await _table(self._archive, compared)
        except Refusal as refusal:
            raise BadQuery(refusal.msg) from None


async def _table(archive: Archive, compared: Compared) -> Table:
    now = archive.store.clock.seconds()
    series = await series_of_all(archive, compared.stats, compared.t)
    timeframe, buckets = series[0].timeframe, series[0].buckets
    is_indexed = compared.scale == "indexed"
    columns = [indexed(one.values) if is_indexed else one.values for one in series]
    title = f"{timeframe.duration.title}, in steps of {timeframe.interval.title}"
    scale = scale_of_steps(timeframe)
    return Table(
        "lines" if is_indexed or len(series) == 1 else "axes",
        title + (f"; the start is {START:g}" if is_indexed else ""),
        [scale, *(one.stat.name for one in series)],
        [
            (datetime.fromtimestamp(bucket.time, UTC), numbers)
            for bucket, *numbers in zip(buckets, *columns, strict=True)
        ],
        scale=scale,
        hidden=compared.query,
        # It ends now.
        unfinished=True,
        marks=await read_marks(archive, compared.stats, buckets[0].time, now + 1),
        figure=figure,
        subject=" ".join(one.name for one in compared.stats),
    )
