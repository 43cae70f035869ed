"""
One call of the export API: its request, with retries while the server is too busy, and
its answer or refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from txstathat.client.outcome import NO_ANSWER, one_line
from txstathat.errors import InvalidPoint, StatHatAPIError, StatHatClosed
from txstathat.export.answers import Unreadable, parse_json, read_nothing
from txstathat.http.closing import AsyncClosing
from txstathat.http.exchange import Transport
from txstathat.http.responses import BadReply, Reply
from txstathat.points.names import check_name

__all__ = ["RETRY_DELAYS", "ExportCalls", "ExportRequests", "path_segment"]

#: The delays, in seconds, before each retry of a request that StatHat refused as one
#: too many.
RETRY_DELAYS = (1.0, 2.0, 4.0, 8.0)

Read = TypeVar("Read")


class ExportRequests:
    """
    Makes the requests of the export API.

    :param transport: sends them; :meth:`close` closes it.
    :param secrets: texts that no error may show, even if a server quotes them.
    """

    def __init__(self, transport: Transport, secrets: Collection[str]) -> None:
        self._transport = transport
        self._secrets = secrets
        self._closed = False
        # The delays of the calls that wait for a retry.
        self._pauses: set[Deferred[None]] = set()

    async def call(
        self, read: Callable[[Any], Read], method: str, path: str, **options: Any
    ) -> Read:
        """
        Make one request, and read its answer. A request that StatHat refuses as one too
        many is repeated after each of :data:`RETRY_DELAYS`.

        :param read: turns the decoded answer into the result; raises
            :class:`~txstathat.export.answers.Unreadable` if it cannot.
        :param method: the HTTP method.
        :param path: what to add to the server's URL.
        :param options: ``headers`` and ``body``.
        :raises StatHatAPIError: if the server refuses, or its answer cannot be read.
        :raises StatHatClosed: after :meth:`close`.
        """
        for delay in RETRY_DELAYS:
            reply, answer = await self._exchange(method, path, options)
            room = len(self._pauses) < self._transport.max_waiting
            if not (room and _success(reply.status) and _error_of(answer)):
                break
            await self._pause(delay)
        else:
            reply, answer = await self._exchange(method, path, options)
        self._check(reply, answer)
        try:
            return read(answer)
        except Unreadable as error:
            raise _unreadable(reply.status, error) from None

    async def _exchange(
        self, method: str, path: str, options: dict[str, Any]
    ) -> tuple[Reply, Any]:
        try:
            reply = await self._transport.exchange(method, path, **options)
        except BadReply as error:
            raise StatHatAPIError(error.status, error.problem) from None
        try:
            return reply, parse_json(reply.body)
        except Unreadable as error:
            raise _unreadable(reply.status, error) from None

    async def _pause(self, seconds: float) -> None:
        pause: Deferred[None] = deferLater(self._transport.reactor, seconds)
        self._pauses.add(pause)
        try:
            await pause
        except CancelledError:
            if self._closed:
                raise StatHatClosed() from None
            raise
        finally:
            self._pauses.discard(pause)

    def _check(self, reply: Reply, answer: Any) -> None:
        """
        Raise if an answer is a refusal: by its HTTP status, by the status inside, or
        because it is only an error.
        """
        inside = answer if isinstance(answer, dict) else {}
        status = inside.get("status", reply.status)
        if type(status) is not int or not 0 <= status <= 999:
            status = reply.status
        success, error = _success(reply.status), _error_of(answer)
        refused = error or inside.get("status") == "error"
        if success and _success(status) and not refused:
            return
        msg = inside.get("msg") or inside.get("error") or error or None
        if not isinstance(msg, str):
            msg = f"refused with HTTP status {reply.status}"
        raise StatHatAPIError(
            status if success or status >= 300 else reply.status,
            one_line(self._hide_secrets(msg)),
        )

    def _hide_secrets(self, text: str) -> str:
        """
        Remove secrets from a server's message, which may quote the request.
        """
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "[token]")
        return text

    def close(self) -> Deferred[None]:
        """
        Fail the calls that wait for a retry, and close the transport.

        :returns: like :meth:`txstathat.http.exchange.Transport.close`.
        """
        self._closed = True
        for pause in tuple(self._pauses):
            pause.cancel()
        return self._transport.close()


def _success(status: int) -> bool:
    return 200 <= status < 300


def _error_of(answer: Any) -> str:
    """
    StatHat's message, under HTTP 200, that refuses one request too many; else empty.
    """
    error = answer.get("Error") if isinstance(answer, dict) else None
    if error is None:
        return ""
    return error if isinstance(error, str) and error else "refused without a reason"


def _unreadable(status: int, error: Unreadable) -> StatHatAPIError:
    return StatHatAPIError(status, f"{NO_ANSWER} (HTTP status {status}): {error}")


def path_segment(id: object) -> str:
    """
    An id as a part of a path. ``.`` and ``..`` would lead to another path.

    :raises InvalidPoint: if it is not valid.
    """
    checked = check_name(id, "id")
    if checked in (".", ".."):
        raise InvalidPoint("id", f"{checked!r} is not an id")
    return quote(checked, safe="")


class ExportCalls(AsyncClosing):
    """
    What the calls of the export API share.
    """

    _requests: ExportRequests
    _path: str

    def _get(self, read: Callable[[Any], Read], *path: str) -> Deferred[Read]:
        return self._call(read, "GET", path, {})

    def _post(
        self, read: Callable[[Any], Read], fields: Mapping[str, str], *path: str
    ) -> Deferred[Read]:
        options = {
            "headers": {"Content-Type": "application/x-www-form-urlencoded"},
            "body": urlencode(fields).encode("ascii"),
        }
        return self._call(read, "POST", path, options)

    def _delete(self, *path: str) -> Deferred[None]:
        return self._call(read_nothing, "DELETE", path, {})

    def _call(
        self,
        read: Callable[[Any], Read],
        method: str,
        path: Sequence[str],
        options: Mapping[str, Any],
    ) -> Deferred[Read]:
        async def call() -> Read:
            at = "/".join([self._path, *map(path_segment, path)])
            return await self._requests.call(read, method, at, **options)

        return Deferred.fromCoroutine(call())
