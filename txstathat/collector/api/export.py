"""
What is read back: StatHat's export API below ``/x/TOKEN``, and below ``/a1`` what
StatHat's own command line calls.

Both are StatHat's (https://www.stathat.com/manual/export). Below ``/x`` points without
data of a value stat are left out, since StatHat's clients read a ``null`` as 0; below
``/a1`` every step is there, since the command line matches stats row by row.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import Request

from txstathat.collector.api.questions import Question, path_of
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.series import Series
from txstathat.collector.archive.stats import Stat
from txstathat.collector.auth.keys import Keys
from txstathat.collector.auth.throttle import KeyThrottle
from txstathat.collector.errors import Refusal
from txstathat.collector.web.resources import (
    AsyncResource,
    Branch,
    NotFound,
    address_of,
    is_same_origin,
)
from txstathat.errors import InvalidPoint

__all__ = ["MAX_IDS", "PAGE", "CommandLineApi", "ExportApi", "Readers"]

#: How many stats one page of a list has at most.
PAGE = 10_000
#: How many stats one request for data may name (StatHat's rule).
MAX_IDS = 5

# What is answered: JSON's text, or what is to be told as JSON.
Answer = Awaitable[Any]
# How many points are told at once, so that it holds up nobody.
_POINTS_AT_ONCE = 10_000


class Readers:
    """
    Lets in who has an access token.

    :param keys: among which the tokens are.
    :param throttle: slows down wrong ones.
    """

    def __init__(self, keys: Keys, throttle: KeyThrottle) -> None:
        self._keys = keys
        self._throttle = throttle

    async def check(self, request: Request, token: str) -> None:
        """
        :raises Refusal: if the token is not known.
        """
        if not self._keys.may_read(token):
            await self._keys.refresh()
            if not self._keys.may_read(token):
                raise await self._throttle.refuse(address_of(request), "access token")

    async def check_header(self, request: Request) -> None:
        """
        The same for one in the ``Authorization`` header: as HTTP Basic user name, with
        an empty password, or as Bearer.

        :raises Refusal: if there is none, or it is not known; or if another site's page
            had the browser send it, which may add such a user name by itself.
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
        await self.check(request, token)


class _Call(AsyncResource):
    """
    One call: a path, and what it does for each method.

    :param enter: called first; raises what keeps the asker out.
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
        # What follows from a secret must not be kept by anything between.
        request.setHeader("Cache-Control", "no-store")
        request.setHeader("Referrer-Policy", "no-referrer")
        await self._enter(request)
        method = self._methods.get(request.method.decode("ascii", "replace"))
        if method is None:
            raise Refusal(405, f"use {' or '.join(self._methods)}")
        told = await method(request)
        request.setHeader("Content-Type", "application/json")
        text = told if isinstance(told, str) else _json(told)
        return text.encode("ascii")


class _Api(Branch):
    def __init__(self, archive: Archive, readers: Readers) -> None:
        super().__init__()
        self._archive = archive
        self._readers = readers

    async def _delete(self, request: Request) -> Any:
        Question(request, ())
        path = path_of(request)
        if len(path) != 1:
            raise Refusal(404, "delete /stats/ID")
        await self._archive.delete(path[0])
        return {"msg": "stat deleted."}


class ExportApi(_Api):
    """
    What is at ``/x``.

    Other calls can be added: :meth:`call` gets them past the token.

    :param archive: what is read.
    :param readers: who may.
    """

    def __init__(self, archive: Archive, readers: Readers) -> None:
        super().__init__(archive, readers)
        self._calls: dict[str, dict[str, Callable[[Request], Answer]]] = {}
        self.add("statlist", GET=self._list)
        self.add("stat", GET=self._stat)
        self.add("data", GET=self._data)
        self.add("stats", DELETE=self._delete)

    def add(self, path: str, **methods: Callable[[Request], Answer]) -> None:
        """
        Add a call at ``/x/TOKEN/path``, and at what is below it (``request.postpath``).

        :param methods: by HTTP method what takes the request and returns an awaitable
            of what to answer as JSON.
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
        The token is the first part of the path, and the call the second.
        """
        token = path.decode("utf-8", "replace")
        call = request.postpath.pop(0) if request.postpath else b""
        methods = self._calls.get(call.decode("ascii", "replace"))

        async def enter(request: Request) -> None:
            await self._readers.check(request, token)
            if methods is None:
                raise Refusal(404, f"after the token comes {' or '.join(self._calls)}")

        return _Call(enter, **(methods or {}))

    async def _list(self, request: Request) -> Any:
        offset = Question(request, ("offset",)).number("offset") or 0
        if path_of(request):
            raise Refusal(404, "read /statlist")
        stats = await self._archive.stats()
        return [_to_json(stat) for stat in stats[offset : offset + PAGE]]

    async def _stat(self, request: Request) -> Any:
        name = Question(request, ("name",)).text("name")
        if path_of(request):
            raise Refusal(404, "read /stat?name=NAME")
        stat = await self._archive.stat(name)
        if stat is None:
            raise Refusal(404, "there is no stat with this name")
        return _to_json(stat)

    async def _data(self, request: Request) -> Any:
        question = Question(request, ("t", "start", "summary"))
        ids = [id for id in path_of(request) if id]
        if not 1 <= len(ids) <= MAX_IDS:
            raise Refusal(400, f"name 1 to {MAX_IDS} ids: /data/ID0/ID1?t=1w3h")
        timeframe, start = question.timeframe, question.start
        stats = await self._archive.find(ids)
        series = await self._archive.data(stats, timeframe, start=start)
        texts = []
        waiting = 0
        for one in series:
            if waiting > _POINTS_AT_ONCE:
                waiting = 0
                await deferLater(self._archive.store.clock, 0)
            waiting += len(one.buckets)
            texts.append(_json(_data(one)))
        return f"[{', '.join(texts)}]"


class CommandLineApi(_Api):
    """
    What is at ``/a1``.

    :param archive: what is read.
    :param readers: who may.
    """

    def __init__(self, archive: Archive, readers: Readers) -> None:
        super().__init__(archive, readers)
        self.add("stats", GET=self._stats, DELETE=self._delete)
        self.add("comments", POST=self._comment)

    def add(self, path: str, **methods: Callable[[Request], Answer]) -> None:
        """
        Add a call at ``/a1/path``; as :meth:`ExportApi.add`.
        """
        self.putChild(path.encode(), _Call(self._readers.check_header, **methods))

    def getChild(self, path: bytes, request: Request) -> Resource:
        """
        What is at paths where nothing is.
        """
        return NotFound("there is no such call")

    async def _comment(self, request: Request) -> Any:
        question = Question(request, ("id", "text"))
        if path_of(request):
            raise Refusal(404, "post to /a1/comments")
        (stat,) = await self._archive.find([question.text("id")])
        try:
            await self._archive.comment(stat, question.text("text"))
        except InvalidPoint as error:
            raise Refusal(400, str(error)) from None
        return {"Message": f"comment added to {stat.name}"}

    async def _stats(self, request: Request) -> Any:
        path = path_of(request)
        if not path:
            Question(request, ())
            return [_to_json(stat) for stat in await self._archive.stats()]
        if len(path) != 2 or path[1] not in ("dataset", "dataset_full"):
            raise Refusal(404, "read /a1/stats or /a1/stats/ID/dataset?t=1w3h")
        question = Question(request, ("t",))
        timeframe = question.timeframe
        (stat,) = await self._archive.find(path[:1])
        if path[1] == "dataset_full" and "t" not in question.fields:
            timeframe = await self._archive.all_time(stat)
        (series,) = await self._archive.data([stat], timeframe)
        return _dataset(series)


def _json(told: Any) -> str:
    return json.dumps(told, allow_nan=False)


def _data(series: Series) -> dict[str, Any]:
    return {
        "name": series.stat.name,
        "timeframe": series.timeframe.title,
        "points": [{"time": time, "value": value} for time, value in series.points],
    }


def _to_json(stat: Stat) -> dict[str, Any]:
    """
    A stat, with all fields that StatHat's has: some clients need each to be there, and
    of its type. Here no stat is public or has a unit, and keys are not known, only
    their hashes.
    """
    return {
        "id": stat.id,
        "name": stat.name,
        "public": False,
        "counter": stat.counter,
        "classic_key": "",
        "embed_key": "",
        "unit": "",
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
