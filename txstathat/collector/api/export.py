"""
The resources for reading: StatHat's export API below ``/x/TOKEN``, and the API of
StatHat's own command line below ``/a1``.

Both are StatHat's (https://www.stathat.com/manual/export). Below ``/x`` the steps of a
value stat without points are left out, because StatHat's clients read ``null`` as 0.
Below ``/a1`` every step is there, because the command line combines stats by row.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import Request

from txstathat.collector.api.parameters import Parameters, path_of
from txstathat.collector.api.stat_pages import StatPages
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.details import NO_DETAILS, Details
from txstathat.collector.archive.series import Series
from txstathat.collector.archive.stats import Stat
from txstathat.collector.auth.keys import Keys
from txstathat.collector.auth.throttle import KeyThrottle
from txstathat.collector.errors import Refusal
from txstathat.collector.web.async_resource import AsyncResource
from txstathat.collector.web.request import trust_body
from txstathat.collector.web.resources import (
    Branch,
    NotFound,
    address_of,
    is_same_origin,
)
from txstathat.errors import InvalidPoint

__all__ = ["MAX_IDS", "Call", "CommandLineApi", "ExportApi", "Readers"]

#: The largest number of stats in a request for data (StatHat's rule).
MAX_IDS = 5

# An answer: JSON text, or what to encode as JSON.
Answer = Awaitable[Any]
# How many points are encoded at once. More would block the reactor for long.
_POINTS_AT_ONCE = 10_000
# Of how many stats the newest points are read at once.
_STATS_AT_ONCE = 500


class Readers:
    """
    Checks access tokens.

    :param keys: knows the tokens.
    :param throttle: slows down clients with wrong tokens.
    """

    def __init__(self, keys: Keys, throttle: KeyThrottle) -> None:
        self._keys = keys
        self._throttle = throttle

    async def check(
        self, request: Request, token: str, *, changes: bool = False
    ) -> None:
        """
        Check an access token.

        :param request: the request.
        :param token: the token.
        :param changes: whether the request changes something.
        :raises Refusal: 403 or 429 if the token is not known; 403 if the request
            changes something, and the token can only read.
        """
        if not self._keys.may_read(token):
            await self._keys.refresh()
            if not self._keys.may_read(token):
                raise self._throttle.refuse(address_of(request), "access token")
        if changes and not self._keys.may_change(token):
            raise Refusal(403, "this access token can only read")
        trust_body(request)

    async def check_header(self, request: Request, *, changes: bool = False) -> None:
        """
        Check the access token in the ``Authorization`` header: the user name of HTTP
        Basic, with an empty password, or a Bearer token.

        :param request: the request.
        :param changes: as for :meth:`check`.
        :raises Refusal: 401 without a token; 403 or 429 as :meth:`check`. 403 also if a
            page of another site made the request, since browsers may add a user name
            that they have stored.
        """
        scheme, _, given = (request.getHeader("authorization") or "").partition(" ")
        token = given.strip()
        if scheme.lower() == "basic":
            reads = request.method in (b"GET", b"HEAD")
            if not reads and is_same_origin(request) is False:
                raise Refusal(403, "this was sent by a page of another site")
            try:
                token = b64decode(token, validate=True).decode("utf-8")
            except ValueError:
                token = ""
            token = token.partition(":")[0]
        elif scheme.lower() != "bearer":
            token = ""
        if not token:
            request.setHeader("WWW-Authenticate", 'Basic realm="txStatHat"')
            raise Refusal(
                401, "pass an access token as HTTP Basic user name, or as Bearer token"
            )
        await self.check(request, token, changes=changes)


def _changes(request: Request) -> bool:
    return request.method not in (b"GET", b"HEAD")


class Call(AsyncResource):
    """
    A call: a path, with a function for each HTTP method.

    :param enter: called first; raises the refusal if the client has no access.
    """

    def __init__(
        self,
        enter: Callable[[Request], Awaitable[None]],
        **methods: Callable[[Request], Answer],
    ) -> None:
        super().__init__()
        self._enter = enter
        self._methods = methods

    async def respond(self, request: Request) -> bytes:
        # Caches must not store what only the holder of a secret can read.
        request.setHeader("Cache-Control", "no-store")
        request.setHeader("Referrer-Policy", "no-referrer")
        await self._enter(request)
        method = self._methods.get(request.method.decode("ascii", "replace"))
        if method is None:
            raise Refusal(405, f"use {' or '.join(self._methods)}")
        content = await method(request)
        request.setHeader("Content-Type", "application/json")
        text = content if isinstance(content, str) else _json(content)
        return text.encode("ascii")


class _Api(Branch):
    def __init__(self, archive: Archive, readers: Readers) -> None:
        super().__init__()
        self._archive = archive
        self._readers = readers
        self.pages = StatPages(archive)

    async def _delete(self, request: Request) -> Any:
        Parameters(request, ())
        path = path_of(request)
        if len(path) != 1:
            raise Refusal(404, "delete /stats/ID")
        await self._archive.delete(path[0])
        return {"msg": "stat deleted."}

    async def _to_json(self, stats: Sequence[Stat]) -> list[dict[str, Any]]:
        details = await self._archive.details.all()
        return [_to_json(stat, details.get(stat.id, NO_DETAILS)) for stat in stats]

    async def _change(self, request: Request) -> Any:
        """
        Rename a stat, or change its details.
        """
        fields = Parameters(request, ("name", "unit", "description")).fields
        path = path_of(request)
        if len(path) != 1:
            raise Refusal(404, "post to /stats/ID")
        (stat,) = await self._archive.find(path)
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
            await self._readers.check(request, token, changes=_changes(request))
            if methods is None:
                raise Refusal(404, f"after the token comes {' or '.join(self._calls)}")

        return Call(enter, **(methods or {}))

    async def _list(self, request: Request) -> Any:
        parameters = Parameters(request, ("offset", "latest"))
        offset = parameters.number("offset") or 0
        latest = parameters.number("latest", 2)
        if path_of(request):
            raise Refusal(404, "read /statlist")
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
        if path_of(request):
            raise Refusal(404, "read /stat?name=NAME")
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
        texts = []
        waiting = 0
        for one in series:
            if waiting > _POINTS_AT_ONCE:
                waiting = 0
                await deferLater(self._archive.timers, 0)
            waiting += len(one.buckets)
            texts.append(_json(_data(one)))
        return f"[{', '.join(texts)}]"


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
            await self._readers.check_header(request, changes=_changes(request))

        self.putChild(path.encode(), Call(enter, **methods))

    def getChild(self, path: bytes, request: Request) -> Resource:
        """
        Return the resource for an unknown path.
        """
        return NotFound("there is no such call")

    async def _comment(self, request: Request) -> Any:
        parameters = Parameters(request, ("id", "text"))
        if path_of(request):
            raise Refusal(404, "post to /a1/comments")
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
        if path_of(request):
            raise Refusal(404, "read /a1/comments?id=ID")
        stat = await self._stat_of(parameters)
        stats = [] if stat is None else [stat]
        comments = await self._archive.notes.by_stat(stats)
        return [
            {"id": comment.id, "time": comment.time, "text": comment.text}
            for comment in comments["" if stat is None else stat.name]
        ]

    async def _delete_comment(self, request: Request) -> Any:
        parameters = Parameters(request, ("id",))
        path = path_of(request)
        if len(path) != 1:
            raise Refusal(404, "delete /a1/comments/COMMENT?id=ID")
        stat = await self._stat_of(parameters)
        await self._archive.notes.delete(stat, path[0])
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


def _json(content: Any) -> str:
    return json.dumps(content, allow_nan=False)


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
