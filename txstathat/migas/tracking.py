"""
Tracking: one breadcrumb when a run begins, and one when it ends, however it ends.

A run lasts from the first entry into something tracked to the last exit from it, per
project and version. While the reactor runs, breadcrumbs go through it, and a shutdown
trigger makes it wait for the last one. Where it does not run when the end comes (a
script without one, code after ``reactor.run()``), the last one is left to
:mod:`~txstathat.migas.exit_report`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.python import threadable
from twisted.python.failure import Failure

from txstathat.migas.breadcrumb import MAX_TEXT, check_fields
from txstathat.migas.exit_report import send_in_child
from txstathat.migas.texts import describe_error

if TYPE_CHECKING:
    from txstathat.migas.client import MigasClient

__all__ = ["ErrorHandlers", "Run", "Tracker"]

ErrorHandlers = Mapping[type[BaseException], Callable[[Any], Mapping[str, str]]]

_P = ParamSpec("_P")
_R = TypeVar("_R")

_COMPLETED = {"status": "C", "status_desc": "Completed"}
_SUSPENDED = {"status": "S", "status_desc": "Suspended"}
#: What an error handler may say.
_HANDLED = ("status", "status_desc", "error_type", "error_desc")


class Run:
    """
    One run of a project: its two breadcrumbs.

    :param client: sends them.
    :param key: the project and its version.
    :param fields: what else is in both.
    :param stays_open: whether the run outlives the reactor: what began before the
        reactor did, and will be told of its end.
    """

    def __init__(
        self,
        client: MigasClient,
        key: tuple[str, str],
        fields: Mapping[str, Any],
        stays_open: bool,
    ) -> None:
        self.entered = 0
        self._client = client
        self._key = key
        self._fields = fields
        self._stays_open = stays_open
        self._ended = False
        self._sent: list[Deferred[Any]] = []
        self._trigger: Any = None

    def begin(self) -> None:
        """
        Send the first breadcrumb, now or when the reactor starts, and have the reactor
        wait for the last one when it stops.
        """
        reactor = self._client.reactor
        self._trigger = reactor.addSystemEventTrigger(
            "before", "shutdown", self._shutting_down
        )
        reactor.callWhenRunning(self._send_first)

    def end(self, outcome: Mapping[str, Any]) -> None:
        """
        Send the last breadcrumb, unless that has been done.

        :param outcome: the status and what else there is to say about it.
        """
        if self._ended:
            return
        self._ended = True
        if _signalled(self._client.reactor):
            outcome = _SUSPENDED
        if self._client.reactor.running:
            self._send(outcome)
            done = DeferredList(self._sent)
            done.addCallback(lambda _: self._forget_trigger())
        else:
            self._forget_trigger()
            send_in_child(self._client, *self._key, {**self._fields, **outcome})

    def abandon(self) -> None:
        """
        Nobody will tell of the end: it ends with the reactor.
        """
        self._stays_open = False

    def settled(self) -> Deferred[Any]:
        """
        :returns: a new Deferred, which fires when every breadcrumb sent so far was
            answered or has failed.
        """
        # Not while a connection still delivers the answer: a reactor that waits for
        # this alone would at once take that connection down, from beneath TLS.
        return DeferredList(self._sent).addCallback(
            lambda _: deferLater(self._client.reactor, 0)
        )

    def _send_first(self) -> None:
        if not self._ended:
            self._send({"status": "R"})

    def _send(self, outcome: Mapping[str, Any]) -> None:
        project, version = self._key
        sent = self._client.add_breadcrumb(
            project, version, **{**self._fields, **outcome}
        )
        # A client that lets failures through does so for its callers' calls only.
        self._sent.append(sent.addErrback(lambda _: None))

    def _shutting_down(self) -> Deferred[Any] | None:
        self._trigger = None
        if not self._stays_open or _signalled(self._client.reactor):
            self.end(_COMPLETED)
        return self.settled() if self._ended else None

    def _forget_trigger(self) -> None:
        if self._trigger is not None:
            self._client.reactor.removeSystemEventTrigger(self._trigger)
            self._trigger = None


class Tracker(Service):
    """
    Reports the beginning and the end of runs: as a decorator, a context manager or a
    service.

    A run begins with a breadcrumb of status ``R`` and ends with exactly one more:

    - ``C`` when what is tracked ends normally, when the reactor is stopped, and with
      ``sys.exit()`` or ``sys.exit(0)``;
    - ``F`` when an exception ends it, and with any other exit;
    - ``S`` when SIGINT or SIGTERM ends it.

    Nested and overlapping uses of the same project and version are one run. Nothing is
    raised or delayed by tracking, but that the reactor, when it stops, waits for the
    last breadcrumb, for as long as ``MIGAS_TIMEOUT`` says at the most.

    :param client: gives the client when something begins, or ``None``.
    :param project: ``owner/repo``.
    :param version: the project's version.
    :param error_handlers: see :meth:`txstathat.migas.client.MigasClient.track`.
    :param fields: what else is in both breadcrumbs.
    """

    def __init__(
        self,
        client: Callable[[], MigasClient | None],
        project: str,
        version: str,
        error_handlers: ErrorHandlers | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        self._client = client
        self._key = (project, version)
        self._handlers = dict(error_handlers or {})
        self._fields = dict(fields or {})
        self._used: MigasClient | None = None

    def __call__(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        """
        Track every call of a function, until its result is there: the end of a
        coroutine, or the firing of a Deferred.
        """
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def tracked_coroutine(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return await function(*args, **kwargs)

            return tracked_coroutine  # type: ignore[return-value]

        @wraps(function)
        def tracked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            self.__enter__()
            try:
                result = function(*args, **kwargs)
            except BaseException as error:
                self._leave(error)
                raise
            if isinstance(result, Deferred):
                result.addBoth(self._leave_with)
            else:
                self._leave(None)
            return result

        return tracked

    def __enter__(self) -> Tracker:
        self._enter(stays_open=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave(error)

    def startService(self) -> None:
        """
        Begin a run.
        """
        super().startService()
        self._enter(stays_open=False)

    def stopService(self) -> Deferred[Any] | None:
        """
        End the run.

        :returns: a new Deferred, which fires when the last breadcrumb is out, or has
            failed; ``None`` where none is under way.
        """
        super().stopService()
        run = self._leave(None)
        return None if run is None else run.settled()

    def _enter(self, stays_open: bool) -> None:
        client = self._client()
        if client is None or client.settings.opted_out:
            return
        self._used = client
        _in_reactor(client, self._begin, stays_open)

    def _begin(self, client: MigasClient, stays_open: bool) -> None:
        run = client.runs.get(self._key)
        if run is None:
            run = Run(
                client,
                self._key,
                self._fields,
                stays_open and not client.reactor.running,
            )
            run.begin()
            client.runs[self._key] = run
        run.entered += 1

    def _leave(self, error: BaseException | None) -> Run | None:
        """
        :returns: the run that this ended.
        """
        # The client that it began with: there may be another one by now.
        if self._used is None:
            return None
        ended: Run | None = _in_reactor(self._used, self._end, error)
        return ended

    def _leave_with(self, result: Any) -> Any:
        self._leave(result.value if isinstance(result, Failure) else None)
        return result

    def _end(self, client: MigasClient, error: BaseException | None) -> Run | None:
        run = client.runs.get(self._key)
        if run is None:
            return None
        if isinstance(error, GeneratorExit) and client.reactor.running:
            # A coroutine that waits for what nobody holds is collected as garbage. The
            # program goes on, and so does the run, until the reactor stops.
            run.abandon()
            return None
        run.entered -= 1
        if run.entered:
            return None
        del client.runs[self._key]
        run.end(self._outcome(client, error))
        return run

    def _outcome(
        self, client: MigasClient, error: BaseException | None
    ) -> Mapping[str, Any]:
        outcome = _outcome_of(error)
        for kind in type(error).__mro__:
            if kind in self._handlers:
                try:
                    said = self._handlers[kind](error)
                    known = {name: said[name] for name in _HANDLED if name in said}
                    return {**outcome, **check_fields(known)}
                except Exception as problem:
                    client.settings.warn(
                        "the error handler of {kind} failed: {problem!r}",
                        kind=kind.__name__,
                        problem=problem,
                    )
                    break
        return outcome


def _outcome_of(error: BaseException | None) -> Mapping[str, Any]:
    """
    The status, and what else there is to say, of a run that ended so.
    """
    if isinstance(error, KeyboardInterrupt):
        return _SUSPENDED
    if error is None or isinstance(error, GeneratorExit):
        return _COMPLETED
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return _COMPLETED
    return {
        "status": "F",
        "status_desc": "Failed",
        "error_type": type(error).__name__[: MAX_TEXT["error_type"]],
        "error_desc": describe_error(error),
    }


def _signalled(reactor: Any) -> bool:
    """
    Whether a signal stopped the reactor, which is the reactor's to know: its handlers
    are not this module's to replace. Twisted's own runners look at this attribute; a
    reactor that does not have it is taken to have been stopped by the program.
    """
    return getattr(reactor, "_exitSignal", None) is not None


def _in_reactor(client: MigasClient, function: Callable[..., Any], *args: Any) -> Any:
    """
    Call a function in the reactor's thread, at once where this is it; whatever fails
    in it is logged.
    """

    def call() -> Any:
        try:
            return function(client, *args)
        except Exception as error:
            client.settings.warn("tracking failed: {error!r}", error=error)
            return None

    if client.reactor.running and threadable.ioThread not in (
        None,
        threadable.getThreadID(),
    ):
        client.reactor.callFromThread(call)
        return None
    return call()
