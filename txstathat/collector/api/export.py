"""
The resources for reading: StatHat's export API below ``/x/TOKEN``, and the API of
StatHat's own command line below ``/a1``.

Both are StatHat's (https://www.stathat.com/manual/export). Below ``/x`` the steps of a
value stat without points are left out, because StatHat's clients read ``null`` as 0.
Below ``/a1`` every step is there, because the command line combines stats by row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import Request

from txstathat.collector.api.calls import (
    Answer,
    Call,
    encode_pieces,
    is_change,
)
from txstathat.collector.api.parameters import Parameters, no_path, one_part, path_of
from txstathat.collector.api.readers import Readers
from txstathat.collector.api.stat_pages import StatPages
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.records.details import NO_DETAILS, Details
from txstathat.collector.archive.series import Series
from txstathat.collector.archive.stats import Stat
from txstathat.collector.errors import Refusal
from txstathat.collector.web.resources import (
    Branch,
    NotFound,
)
from txstathat.errors import InvalidPoint

__all__ = ["MAX_IDS", "CommandLineApi", "ExportApi"]

#: The largest number of stats in a request for data (StatHat's rule).
MAX_IDS = 5

# Of how many stats the newest points are read at once.
_STATS_AT_ONCE = 500


class _Api(Branch):
    def __init__(self, archive: Archive, readers: Readers) -> None:
        super().__init__()
        self._archive = archive
        self._readers = readers
        self.pages = StatPages(archive)

    async def _delete(self, request: Request) -> Any:
        Parameters(request, ())
        await self._archive.delete(one_part(request, "delete /stats/ID"))
        return {"msg": "stat deleted."}

    async def _to_json(self, stats: Sequence[Stat]) -> list[dict[str, Any]]:
        details = await self._archive.details.all()
        return [_to_json(stat, details.get(stat.id, NO_DETAILS)) for stat in stats]

    async def _change(self, request: Request) -> Any:
        """
        Rename a stat, or change its details.
        """
        fields = Parameters(request, ("name", "unit", "description")).fields
        id = one_part(request, "post to /stats/ID")
        (stat,) = await self._archive.find([id])
        name = fields.pop("name", stat.name)
        try:
            if fields:
                await self._archive.details.change(
                    stat, unit=fields.get("unit"), description=fields.get("description")
                )
            if name != stat.name:
                stat = await self._archive.rename(stat.id, name)
        except InvalidPoint as error:
            raise Refusal(400, str(error)) from None
        return _to_json(stat, await self._archive.details.read(stat))


class ExportApi(_Api):
    """
    The export API, at ``/x``. Other calls can be added with :meth:`add`.

    :param archive: the stats.
    :param readers: checks access tokens.

    :ivar pages: the list of all stats.
    """

    def __init__(self, archive: Archive, readers: Readers) -> None:
        super().__init__(archive, readers)
        self._calls: dict[str, dict[str, Callable[[Request], Answer]]] = {}
        self.add("statlist", GET=self._list)
        self.add("stat", GET=self._stat)
        self.add("data", GET=self._data)
        self.add("stats", POST=self._change, DELETE=self._delete)

    def add(self, path: str, **methods: Callable[[Request], Answer]) -> None:
        """
        Add a call at ``/x/TOKEN/PATH`` and all paths below it, which the function finds
        in ``request.postpath``.

        :param path: the path.
        :param methods: a function for each HTTP method. It takes the request and
            returns an awaitable of JSON text, or of what to encode as JSON.
        """
        self._calls[path] = methods

    @property
    def paths(self) -> list[str]:
        """
        The paths of the calls, which follow the token.
        """
        return list(self._calls)

    def getChild(self, path: bytes, request: Request) -> Resource:
        """
        Return the resource of a call: the first part of the path is the token, the
        second one the call.
        """
        token = path.decode("utf-8", "replace")
        call = request.postpath.pop(0) if request.postpath else b""
        methods = self._calls.get(call.decode("ascii", "replace"))

        async def enter(request: Request) -> None:
            await self._readers.check(request, token, changes=is_change(request))
            if methods is None:
                raise Refusal(404, f"after the token comes {' or '.join(self._calls)}")

        return Call(enter, **(methods or {}))

    async def _list(self, request: Request) -> Any:
        parameters = Parameters(request, ("offset", "latest"))
        offset = parameters.number("offset") or 0
        latest = parameters.number("latest", 2)
        no_path(request, "read /statlist")
        stats = await self.pages.page(offset)
        listed = await self._to_json(stats)
        if latest:
            await self._add_latest(stats, listed)
        return listed

    async def _add_latest(
        self, stats: Sequence[Stat], listed: Sequence[dict[str, Any]]
    ) -> None:
        """
        Add the newest points to the answer, and the numbers of points.
        """
        for start in range(0, len(stats), _STATS_AT_ONCE):
            some = stats[start : start + _STATS_AT_ONCE]
            latest = await self._archive.latest(some)
            totals = await self._archive.totals(some)
            for stat, fields in zip(some, listed[start:], strict=False):
                newest, total = latest.get(stat.name), totals.get(stat.name)
                fields["latest"] = newest and {
                    "time": newest.time,
                    "value": newest.value,
                }
                fields["points"] = total.points if total else 0

    async def _stat(self, request: Request) -> Any:
        name = Parameters(request, ("name",)).text("name")
        no_path(request, "read /stat?name=NAME")
        stat = await self._archive.stat(name)
        if stat is None:
            raise Refusal(404, "there is no stat with this name")
        return _to_json(stat, await self._archive.details.read(stat))

    async def _data(self, request: Request) -> Any:
        parameters = Parameters(request, ("t", "start", "summary"))
        ids = [id for id in path_of(request) if id]
        if not 1 <= len(ids) <= MAX_IDS:
            raise Refusal(400, f"name 1 to {MAX_IDS} ids: /data/ID0/ID1?t=1w3h")
        timeframe, start = parameters.timeframe, parameters.start
        stats = await self._archive.find(ids)
        series = await self._archive.data(stats, timeframe, start=start)
        return await encode_pieces(
            self._archive.timers,
            ((_data(one), len(one.buckets)) for one in series),
        )


class CommandLineApi(_Api):
    """
    The API of StatHat's command line, at ``/a1``.

    :param archive: the stats.
    :param readers: checks access tokens.

    :ivar pages: the list of all stats.
    """

    def __init__(self, archive: Archive, readers: Readers) -> None:
        super().__init__(archive, readers)
        self.add("stats", GET=self._stats, POST=self._change, DELETE=self._delete)
        self.add(
            "comments",
            GET=self._comments,
            POST=self._comment,
            DELETE=self._delete_comment,
        )

    def add(self, path: str, **methods: Callable[[Request], Answer]) -> None:
        """
        Add a call at ``/a1/PATH``; see :meth:`ExportApi.add`.
        """

        async def enter(request: Request) -> None:
            await self._readers.check_header(request, changes=is_change(request))

        self.putChild(path.encode(), Call(enter, **methods))

    def getChild(self, path: bytes, request: Request) -> Resource:
        return NotFound("there is no such call")

    async def _comment(self, request: Request) -> Any:
        parameters = Parameters(request, ("id", "text"))
        no_path(request, "post to /a1/comments")
        stat = await self._stat_of(parameters)
        try:
            await self._archive.comment(stat, parameters.text("text"))
        except InvalidPoint as error:
            raise Refusal(400, str(error)) from None
        return {"Message": f"comment added to {stat.name if stat else 'all stats'}"}

    async def _stat_of(self, parameters: Parameters) -> Stat | None:
        if "id" not in parameters.fields:
            return None
        (stat,) = await self._archive.find([parameters.fields["id"]])
        return stat

    async def _comments(self, request: Request) -> Any:
        parameters = Parameters(request, ("id",))
        no_path(request, "read /a1/comments?id=ID")
        stat = await self._stat_of(parameters)
        stats = [] if stat is None else [stat]
        comments = await self._archive.notes.by_stat(stats)
        return [
            {"id": comment.id, "time": comment.time, "text": comment.text}
            for comment in comments["" if stat is None else stat.name]
        ]

    async def _delete_comment(self, request: Request) -> Any:
        parameters = Parameters(request, ("id",))
        comment = one_part(request, "delete /a1/comments/COMMENT?id=ID")
        stat = await self._stat_of(parameters)
        await self._archive.notes.delete(stat, comment)
        return {"Message": "comment deleted"}

    async def _stats(self, request: Request) -> Any:
        path = path_of(request)
        if not path:
            Parameters(request, ())
            return await self._to_json(await self.pages.all())
        if len(path) != 2 or path[1] not in ("dataset", "dataset_full"):
            raise Refusal(404, "read /a1/stats or /a1/stats/ID/dataset?t=1w3h")
        parameters = Parameters(request, ("t",))
        timeframe = parameters.timeframe
        (stat,) = await self._archive.find(path[:1])
        if path[1] == "dataset_full" and "t" not in parameters.fields:
            timeframe = await self._archive.all_time(stat)
        (series,) = await self._archive.data([stat], timeframe)
        return _dataset(series)


def _data(series: Series) -> dict[str, Any]:
    return {
        "name": series.stat.name,
        "timeframe": series.timeframe.title,
        "points": [{"time": time, "value": value} for time, value in series.points],
    }


def _to_json(stat: Stat, details: Details) -> dict[str, Any]:
    """
    Return a stat with all fields that StatHat's API has: some clients need each of
    them, with its type. Here no stat is public. Keys cannot be returned, since only
    their hashes are stored.
    """
    return {
        "id": stat.id,
        "name": stat.name,
        "public": False,
        "counter": stat.counter,
        "classic_key": "",
        "embed_key": "",
        "unit": details.unit,
        "data_received_at": int(stat.received_at),
        "created_at": int(stat.created_at),
    }


def _dataset(series: Series) -> dict[str, Any]:
    return {
        "Name": series.stat.name,
        "Timeframe": str(series.timeframe),
        "Kind": series.stat.kind,
        "Points": [
            {"Time": time, "Value": value, "Rcount": receipts}
            for time, value, receipts in series.rows
        ],
    }
