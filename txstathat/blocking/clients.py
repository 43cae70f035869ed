"""
The clients whose calls block.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.web.client import ResponseFailed

from txstathat.blocking.counting import Counting
from txstathat.blocking.thread import ReactorThread, reactor_thread
from txstathat.client.health import ClientHealth
from txstathat.client.outcome import Outcome, Verdict
from txstathat.client.stathat import txStatHat as _EZ
from txstathat.client.stathat import txStatHatClassic as _Classic
from txstathat.errors import (
    InvalidPoint,
    StatHatClosed,
    StatHatError,
    StatHatForked,
    StatHatNetworkError,
)
from txstathat.points.model import MAX_POST, Point

__all__ = ["txStatHat", "txStatHatClassic"]

#: Where failures that are swallowed are logged. Without any configuration Python prints
#: its warnings to standard error.
_log = logging.getLogger("txstathat.blocking")

_T = TypeVar("_T")


class _Client(Counting):
    """
    What the two clients share: a client on the thread's reactor, made when it is first
    used.

    :param client: the class of that client.
    :param key: its key.
    :param settings: its other settings.
    """

    def __init__(
        self,
        client: type[_EZ | _Classic],
        key: str,
        ignore_errors: bool,
        timeout: float,
        **settings: Any,
    ) -> None:
        self._make: Callable[..., _EZ | _Classic] = partial(
            client, key, ignore_errors, timeout=timeout, **settings
        )
        # Made once without a reactor, to check the settings here.
        self._repr = repr(self._make()).replace("<", "<blocking ", 1)
        self._ignore_errors = ignore_errors
        self._timeout = timeout
        self._lock = threading.RLock()
        self._made: tuple[_EZ | _Classic, ReactorThread] | None = None
        self._pid = 0
        self._closed = False
        self._failing = False
        _clients.add(self)

    def __repr__(self) -> str:
        return self._repr

    @property
    def health(self) -> ClientHealth:
        """
        The results of all calls so far, as a snapshot.
        """
        made = self._made
        return ClientHealth() if made is None else made[0].health

    def post(
        self, points: Iterable[Point], *, ignore_errors: bool | None = None
    ) -> bool:
        """
        Send several points: in one request with the EZ API, one by one with the
        Classic API.

        :param points: :class:`~txstathat.points.Count` and
            :class:`~txstathat.points.Value` objects; one bad point refuses them all,
            before anything is sent. Without any, nothing is sent.
        :param ignore_errors: overrides the client's setting for this call.
        :returns: as :meth:`count`.
        """
        if ignore_errors is None:
            ignore_errors = self._ignore_errors
        try:
            listed = _list_points(points)
            taken = self._call(
                lambda client: client.post(listed, ignore_errors=ignore_errors)
            )
        except Exception as error:
            trouble = _as_own_error(error)
            if not ignore_errors:
                if trouble is error:
                    raise
                raise trouble from error
            self._note(f"{type(trouble).__name__}: {trouble}")
            return False
        self._note(None if taken else self.health.last_error)
        return taken

    def send(self, points: Iterable[Point], batch_id: str | None = None) -> Outcome:
        """
        Send points, and return the outcome; nothing is swallowed or raised.

        :param points: as for :meth:`post`.
        :param batch_id: the ``Idempotency-Key`` of the request.
        :returns: as :meth:`txstathat.client.txStatHat.send`. The error of its
            outcome is as it is there: network trouble is Twisted's own exception.
        """
        try:
            listed = _list_points(points)
            return self._call(lambda client: client.send(listed, batch_id))
        except Exception as error:
            return Outcome(Verdict.REFUSED, error)

    def close(self) -> None:
        """
        Close the client. Calls of other threads that are in progress have a second to
        finish; then all connections are closed. Calls made after this are refused. This
        does not raise.
        """
        with self._lock:
            self._closed = True
            made = self._made
        if made is None or self._pid != os.getpid():
            return
        client, thread = made
        thread.forget(self)
        try:
            thread.call(client.close, self._timeout)
        except StatHatClosed:
            # The interpreter is about to exit, which closes everything.
            return

    def _call(self, job: Callable[[_EZ | _Classic], Deferred[_T]]) -> _T:
        client, thread = self._ready()
        return thread.call(lambda: job(client), self._timeout)

    def _ready(self) -> tuple[_EZ | _Classic, ReactorThread]:
        # Before the lock, which in a forked child nobody may release.
        if self._made is not None and self._pid != os.getpid():
            raise StatHatForked
        with self._lock:
            if self._closed:
                raise StatHatClosed
            if self._made is None:
                thread = reactor_thread()
                client = self._make(reactor=thread.reactor)
                thread.at_exit(self, client.close)
                self._pid = os.getpid()
                self._made = client, thread
            return self._made

    def _note(self, trouble: str | None) -> None:
        """
        Log when failures begin to be swallowed, and when they end.
        """
        if trouble is None:
            if self._failing:
                self._failing = False
                _log.warning("%r: points are accepted again", self)
        elif not self._failing:
            self._failing = True
            _log.warning(
                "%r: points were not accepted: %s (swallowed; see its health)",
                self,
                trouble,
            )


class txStatHat(_Client):
    """
    A client of StatHat's EZ API whose calls block; see
    :class:`txstathat.client.txStatHat`. Any number of threads may use it.

    :param ezkey: the account's EZ key.
    :param ignore_errors: whether failures are swallowed, unless a call says otherwise.
        When failures begin and when they end, Python's :mod:`logging` gets a warning.
    :param url: where the API is; may end in a path.
    :param timeout: seconds that one call may take at most.
    :param max_connections: how many requests may be in flight.
    :param max_waiting: how many more calls, of other threads, may wait in line.
    :raises ValueError: for a bad key, URL or limit. No network is used here, and no
        thread is started.
    """

    def __init__(
        self,
        ezkey: str,
        ignore_errors: bool = True,
        *,
        url: str | None = None,
        timeout: float = 10.0,
        max_connections: int = 8,
        max_waiting: int = 10_000,
    ) -> None:
        super().__init__(
            _EZ,
            ezkey,
            ignore_errors,
            timeout,
            url=url,
            max_connections=max_connections,
            max_waiting=max_waiting,
        )


class txStatHatClassic(_Client):
    """
    A client of StatHat's Classic API whose calls block; see
    :class:`txstathat.client.txStatHatClassic`.

    :param ukey: the account's user key. The other parameters are those of
        :class:`txStatHat`.
    """

    def __init__(
        self,
        ukey: str,
        ignore_errors: bool = True,
        *,
        url: str | None = None,
        timeout: float = 10.0,
        max_connections: int = 8,
        max_waiting: int = 10_000,
    ) -> None:
        super().__init__(
            _Classic,
            ukey,
            ignore_errors,
            timeout,
            url=url,
            max_connections=max_connections,
            max_waiting=max_waiting,
        )


#: The clients there are, for :func:`_after_fork`.
_clients: weakref.WeakSet[_Client] = weakref.WeakSet()


def _after_fork() -> None:
    """
    A lock may be held by a thread that a forked child does not have.
    """
    for client in list(_clients):
        client._lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _list_points(points: Iterable[Point]) -> list[Point]:
    """
    The points as a list, read in the caller's thread from any iterable.

    :raises InvalidPoint: if that raises an exception.
    """
    try:
        return list(islice(points, MAX_POST + 1))
    except Exception as error:
        raise InvalidPoint(
            "points", f"could not be listed: {type(error).__name__} was raised"
        ) from error


def _as_own_error(error: Exception) -> Exception:
    """
    An error as scripts see it: one of the package's, without Twisted's.
    """
    if isinstance(error, StatHatError):
        return error
    cause: BaseException = error
    if isinstance(error, ResponseFailed) and error.reasons:
        cause = error.reasons[0].value
    words = str(cause) or type(cause).__name__
    return StatHatNetworkError(f"{type(cause).__name__}: {words}")
