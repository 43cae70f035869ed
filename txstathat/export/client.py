"""
The client of StatHat's export and alerts API: read stats back, and manage alerts.

The access token is part of nearly every URL here, so no log or error may show a URL.
The transport's errors contain none, and the token is removed from a server's messages.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

from twisted.internet.defer import Deferred

from txstathat.errors import InvalidPoint, InvalidTimeframe, StatHatAPIError
from txstathat.export.alert_calls import AlertCalls
from txstathat.export.answers import (
    each_of,
    read_dataset,
    read_full_dataset,
    read_nothing,
    read_stat,
)
from txstathat.export.channel_calls import ChannelCalls
from txstathat.export.models import Dataset, FullDataset, StatInfo
from txstathat.export.requests import ExportRequests, path_segment
from txstathat.export.tending_calls import TendingCalls
from txstathat.http.exchange import Transport
from txstathat.http.servers import EXPORT_URL, server_url
from txstathat.interfaces import HTTPAgent
from txstathat.points.amounts import Time, epoch_seconds
from txstathat.points.names import check_name, check_secret, shown
from txstathat.points.summary import Summary, summarize
from txstathat.points.timeframe import Span, Timeframe

__all__ = [
    "EXPORT_URL",
    "MAX_EXPORT_REPLY",
    "MAX_IDS",
    "MAX_STATS",
    "StatHatExport",
]

#: The largest body of a reply of the export API that is read, in bytes: 10,000 stats
#: with names of 255 characters, each escaped, or 5 stats with 10,000 points each.
MAX_EXPORT_REPLY = 32 * 1024 * 1024
#: How many stats one request for data names; StatHat ignores further ones. The client
#: sends several requests for more.
MAX_IDS = 5
#: The most characters of a note.
MAX_NOTE = 500
#: The most stats that are listed, over all pages of a server.
MAX_STATS = 1_000_000

#: The fewest stats of a full page: older accounts at StatHat have such pages.
_SMALLEST_PAGE = 3_000


class StatHatExport(AlertCalls, ChannelCalls, TendingCalls):
    """
    A client of the export API of StatHat or of a collector.

    Each method returns a new Deferred, and never raises. The Deferred fails with
    :class:`~txstathat.errors.StatHatAPIError` when the server refused or its answer
    could not be read, with :class:`~txstathat.errors.InvalidPoint` or
    :class:`~txstathat.errors.InvalidTimeframe` (both a ``ValueError``) for bad
    arguments, before anything is sent, with :class:`~txstathat.errors.StatHatBusy` when
    too many calls wait, with :class:`~txstathat.errors.StatHatClosed` after
    :meth:`close`, with :class:`~twisted.internet.error.TimeoutError` after the time
    limit, and with Twisted's own network exceptions. Cancelling it aborts the request
    and its connection, and makes it fail with
    :class:`~twisted.internet.defer.CancelledError`.

    Calls that are made before the program has installed a reactor wait for one: until
    the client is next used, or closed. Only the reactor's thread may use it; other
    threads use :func:`~twisted.internet.threads.blockingCallFromThread`.

    :param token: an access token of the account.
    :param url: the URL of the server; it may end in a path. By default
        ``TXSTATHAT_URL`` of the environment, which is read now, else StatHat's address.
        The client never falls back from ``https://`` to ``http://``.
    :param timeout: seconds that one request may take, including the time in line.
    :param max_connections: how many requests may be in flight.
    :param max_waiting: how many more may wait in line.
    :param max_reply: the largest reply, in bytes.
    :param max_stats: the largest number of stats that :meth:`stats` lists.
    :param reactor: by default the global reactor, imported when first needed.
    :param agent: sends the requests; by default a
        :class:`~txstathat.http.connections.pool.PooledAgent` of the client's own.
    :raises ValueError: if the token, the URL or a limit is not valid, or if the agent
        does not encrypt (see :func:`~txstathat.http.exchange.check_agent`). Nothing is
        sent here.
    """

    def __init__(
        self,
        token: str,
        *,
        url: str | None = None,
        timeout: float = 30.0,
        max_connections: int = 4,
        max_waiting: int = 1_000,
        max_reply: int = MAX_EXPORT_REPLY,
        max_stats: int = MAX_STATS,
        reactor: Any = None,
        agent: HTTPAgent | None = None,
    ) -> None:
        self._token = _check_token(token)
        self._max_stats = max_stats
        self._path = f"/x/{quote(token, safe='')}"
        self._basic = b64encode(f"{token}:".encode()).decode("ascii")
        self._transport = Transport(
            server_url(url, EXPORT_URL),
            timeout=timeout,
            max_connections=max_connections,
            max_waiting=max_waiting,
            max_reply=max_reply,
            reactor=reactor,
            agent=agent,
        )
        self._requests = ExportRequests(
            self._transport,
            {
                token,
                quote(token),
                quote_plus(token),
                quote(token, safe=""),
                self._basic,
            },
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self._transport.origin}>"

    def stats(self, *, latest: bool = False) -> Deferred[list[StatInfo]]:
        """
        List all stats of the account, from all pages.

        :param latest: whether to ask for the newest point and the number of points of
            each stat. A collector of this package answers that; others may refuse it.
        :returns: a Deferred that fires with a list of
            :class:`~txstathat.export.models.StatInfo`, in the server's order, without
            duplicates.
        """
        return Deferred.fromCoroutine(self._stats(latest))

    def stat(self, name: str) -> Deferred[StatInfo]:
        """
        Look a stat up by its name.

        :returns: a Deferred that fires with its
            :class:`~txstathat.export.models.StatInfo`.
        """

        async def look_up() -> StatInfo:
            query = urlencode({"name": check_name(name, "name")})
            return await self._requests.call(
                read_stat, "GET", f"{self._path}/stat?{query}"
            )

        return Deferred.fromCoroutine(look_up())

    def data(
        self,
        ids: str | Sequence[str],
        timeframe: str | None = None,
        *,
        start: Time | None = None,
        summary: str | None = None,
    ) -> Deferred[list[Dataset]]:
        """
        Read the data of stats.

        :param ids: the ids of the stats, or one id. Each request names at most
            :data:`~txstathat.export.client.MAX_IDS`.
        :param timeframe: such as ``'1w3h'``, one week in steps of three hours, which is
            the default.
        :param start: when the timeframe begins: Unix seconds or an aware datetime; by
            default the timeframe ends now.
        :param summary: such as ``'7d'``: one point for each day of that duration. It
            replaces a timeframe.
        :returns: a Deferred that fires with a list of
            :class:`~txstathat.export.models.Dataset`, in the order of the ids.
        """
        return Deferred.fromCoroutine(self._data(ids, timeframe, start, summary))

    def full_data(self, id: str, timeframe: str) -> Deferred[FullDataset]:
        """
        Read the data of a stat, and how many points it received.

        StatHat does not document this request; its own command line sends it.

        :param id: the stat's id.
        :param timeframe: such as ``'1w3h'``.
        :returns: a Deferred that fires with a
            :class:`~txstathat.export.models.FullDataset`.
        """

        async def read() -> FullDataset:
            query = urlencode({"t": str(Timeframe.parse(timeframe))})
            path = f"/a1/stats/{path_segment(id)}/dataset?{query}"
            return await self._requests.call(
                read_full_dataset,
                "GET",
                path,
                headers={"Authorization": f"Basic {self._basic}"},
            )

        return Deferred.fromCoroutine(read())

    def summary(self, id: str, timeframe: str) -> Deferred[Summary]:
        """
        Summarize the steps of a stat that have points.

        :param id: the stat's id.
        :param timeframe: such as ``'1w3h'``.
        :returns: a Deferred that fires with a
            :class:`~txstathat.points.summary.Summary`; see
            :func:`~txstathat.points.summary.summarize` for the formulas.
        """

        async def read_summary() -> Summary:
            full = await self.full_data(id, timeframe)
            return summarize(full.values, full.counter)

        return Deferred.fromCoroutine(read_summary())

    def delete(self, id: str) -> Deferred[None]:
        """
        Delete a stat. On a collector it stays in the trash for 48 hours.

        :param id: the stat's id.
        :returns: a Deferred that fires with ``None``.
        """
        return self._delete("stats", id)

    def add_note(self, text: str, stat_id: str | None = None) -> Deferred[None]:
        """
        Add a note, which the server's charts mark at the present time. On StatHat it is
        a comment on a stat.

        :param text: what happened, such as that a version was deployed; on a collector
            up to 500 characters.
        :param stat_id: the stat that it is about; by default none: then all charts of a
            collector mark it.
        :returns: a Deferred that fires with ``None``. The client does not repeat the
            request when its answer is lost.
        """

        async def add() -> None:
            fields = {"text": check_name(text, "text", MAX_NOTE)}
            if stat_id is not None:
                fields["id"] = check_name(stat_id, "stat_id")
            await self._requests.call(
                read_nothing,
                "POST",
                "/a1/comments",
                headers={
                    "Authorization": f"Basic {self._basic}",
                    "Content-Type": "application/x-www-form-urlencoded",
                },
                body=urlencode(fields).encode("ascii"),
            )

        return Deferred.fromCoroutine(add())

    def close(self) -> Deferred[None]:
        """
        Close the client. Calls in progress have a second to finish; then all
        connections are closed. Calls that wait for a retry fail with
        :class:`~txstathat.errors.StatHatClosed` at once.

        :returns: a new Deferred, which fires with ``None`` when no connection is left
            open; it does not fail.
        """
        return self._requests.close()

    async def _stats(self, latest: bool) -> list[StatInfo]:
        found: dict[str, StatInfo] = {}
        longest = offset = 0
        while True:
            fields = {"offset": offset or "", "latest": "1" if latest else ""}
            query = urlencode({name: text for name, text in fields.items() if text})
            path = f"{self._path}/statlist" + (f"?{query}" if query else "")
            page = await self._requests.call(each_of(read_stat), "GET", path)
            known = len(found)
            found.update((stat.id, stat) for stat in page)
            offset += len(page)
            longest = max(longest, len(page))
            # A server without offsets sends the same page again.
            if len(page) < max(longest, _SMALLEST_PAGE) or len(found) == known:
                return list(found.values())
            if len(found) >= self._max_stats:
                most = f"{self._max_stats:,}"
                raise StatHatAPIError(200, f"more than {most} stats are listed")

    async def _data(
        self,
        ids: str | Sequence[str],
        timeframe: str | None,
        start: Time | None,
        summary: str | None,
    ) -> list[Dataset]:
        if not isinstance(ids, Sequence):
            raise InvalidPoint("ids", f"must be a list of ids, not {shown(ids)}")
        segments = [path_segment(id) for id in ([ids] if isinstance(ids, str) else ids)]
        query = urlencode(_query_fields(timeframe, start, summary))
        datasets: list[Dataset] = []
        for first in range(0, len(segments), MAX_IDS):
            part = segments[first : first + MAX_IDS]
            path = f"{self._path}/data/{'/'.join(part)}?{query}"
            answer = await self._requests.call(each_of(read_dataset), "GET", path)
            if len(answer) != len(part):
                raise StatHatAPIError(
                    200, f"{len(part)} stats were requested, but {len(answer)} came"
                )
            datasets += answer
        return datasets


def _query_fields(
    timeframe: str | None, start: Time | None, summary: str | None
) -> dict[str, str]:
    """
    The query fields of a request for data.
    """
    if summary is None:
        fields = {"t": str(Timeframe.parse("1w3h" if timeframe is None else timeframe))}
    elif timeframe is None:
        fields = {"summary": str(Span.parse(summary))}
    else:
        raise InvalidTimeframe(timeframe, "pass a timeframe or a summary, not both")
    if start is not None:
        try:
            fields["start"] = str(epoch_seconds(start))
        except InvalidPoint as error:
            raise InvalidPoint("start", error.problem) from None
    return fields


def _check_token(token: object) -> str:
    """
    Check an access token, which is a part of the path.
    """
    checked = check_secret(token, "the access token")
    if checked in (".", ".."):
        raise ValueError("the access token is not valid: it must not be . or ..")
    return checked
