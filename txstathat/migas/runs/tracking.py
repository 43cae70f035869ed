"""
Tracking: one breadcrumb when a run begins, and one when it ends.

A run lasts from the first entry into something tracked to the last exit from it, for
each project and version. While the reactor runs, it sends the breadcrumbs, and a
shutdown trigger makes it wait for the last one. If the reactor does not run when a run
ends (a script without one, code after ``reactor.run()``),
:mod:`~txstathat.migas.runs.exit_report` sends the last one.
"""

from __future__ import annotations

import atexit
import inspect
import sys
from bdb import BdbQuit
from collections.abc import Callable, Mapping
from functools import wraps
from types import TracebackType
from typing import Any, ClassVar, ParamSpec, Protocol, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.python import threadable
from twisted.python.failure import Failure

from txstathat.http.clock import installed_reactor
from txstathat.migas.runs.exit_report import send_in_child
from txstathat.migas.runs.runs import COMPLETED, SUSPENDED, Run, Runs, was_signalled
from txstathat.migas.runs.sender import BreadcrumbSender
from txstathat.migas.settings import Settings
from txstathat.migas.wire.breadcrumb import MAX_TEXT, check_fields
from txstathat.migas.wire.redaction import describe_error

__all__ = ["ErrorHandlers", "TrackedClient", "Tracker", "handlers_by_name"]

ErrorHandlers = Mapping[type[BaseException], Callable[[Any], Mapping[str, str]]]

_P = ParamSpec("_P")
_R = TypeVar("_R")

#: The fields that an error handler can set.
_HANDLED = ("status", "status_desc", "error_type", "error_desc")


class TrackedClient(BreadcrumbSender, Protocol):
    """
    A sender with the runs that it reports.
    """

    @property
    def runs(self) -> Runs:
        """
        The runs that have not ended.
        """


class Tracker(Service):
    """
    Reports the beginning and the end of runs. It is a decorator, a context manager and
    a service.

    A run begins with a breadcrumb of status ``R`` and ends with exactly one more:

    - ``C`` when it ends normally, when the program stops the reactor, and for
      ``sys.exit()`` and ``sys.exit(0)``;
    - ``F`` when an exception ends it, and for any other exit;
    - ``S`` when SIGINT or SIGTERM ends it.

    After :meth:`report_exit` a tracker that nothing uses reports the whole process.

    Nested and overlapping uses of the same project and version are one run. Tracking
    raises nothing, and delays nothing but the reactor's stop: that waits for the last
    breadcrumb, at most for ``MIGAS_TIMEOUT``.

    :param client: returns the client when a run begins; ``None`` tracks nothing.
    :param project: ``owner/repo``.
    :param version: the project's version.
    :param error_handlers: see :meth:`txstathat.migas.client.MigasClient.track`.
    :param fields: more fields of both breadcrumbs.
    :param init_ping: whether to send the breadcrumb at the beginning.
    """

    #: The projects and versions that the end of this process reports: each once.
    _reported: ClassVar[set[tuple[str, str]]] = set()

    def __init__(
        self,
        client: Callable[[], TrackedClient | None],
        project: str,
        version: str,
        error_handlers: ErrorHandlers | None = None,
        fields: Mapping[str, Any] | None = None,
        init_ping: bool = True,
    ) -> None:
        self._client = client
        self._key = (project, version)
        self._handlers = _checked_handlers(error_handlers)
        self._init_ping = init_ping
        self._reports_exit = False
        self._began_process = False
        self._fields = dict(fields or {})
        self._used: TrackedClient | None = None

    def __call__(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        """
        Track every call of a function, until it has its result: for a coroutine until
        its end, for a Deferred until it fires.

        :param function: the function.
        """
        if not self._began_process:
            self._stop_reporting()
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
        self._enter(outlives_reactor=True)
        self._hand_over()
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
        self._enter(outlives_reactor=False)
        self._hand_over()

    def stopService(self) -> Deferred[Any] | None:
        """
        End the run.

        :returns: a new Deferred that fires when the last breadcrumb was answered or has
            failed; ``None`` if this does not end a run. It does not fail.
        """
        super().stopService()
        run = self._leave(None)
        return None if run is None else run.settled()

    def setServiceParent(self, parent: Any) -> None:
        """
        See :meth:`twisted.application.service.IService.setServiceParent`.
        """
        if not self._began_process:
            self._stop_reporting()
        super().setServiceParent(parent)

    def report_exit(self) -> None:
        """
        Report the end of the process, unless the tracker is used otherwise before.

        If a reactor is installed, the run begins when it runs, and ends when it stops.
        If none runs, only the last breadcrumb is sent, when Python exits: ``F`` after
        an exception that nothing handled, ``S`` after :exc:`KeyboardInterrupt`, and
        otherwise ``C``, also after :func:`sys.exit`.
        """
        self._reports_exit = True
        atexit.register(self._exiting)
        reactor = installed_reactor()
        if reactor is not None:
            # One turn later: by then the tracker may be in use.
            reactor.callFromThread(self._begin_process)

    def _begin_process(self) -> None:
        if self._reports_exit:
            self._began_process = True
            self._enter(outlives_reactor=False)

    def _hand_over(self) -> None:
        """
        Stop reporting the process. If its run has begun, the caller has entered it.
        """
        began = self._began_process
        self._stop_reporting()
        if began and self._used is not None:
            _in_reactor(self._used, lambda client: client.runs.leave(self._key))

    def _stop_reporting(self) -> None:
        if self._reports_exit:
            self._reports_exit = self._began_process = False
            atexit.unregister(self._exiting)

    def _exiting(self) -> None:
        error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
        if self._began_process:
            # Nothing is sent if the reactor has reported it.
            self._leave(error)
            return
        client = self._client()
        if client is not None:
            try:
                self._send_exit(client, error)
            except Exception as problem:
                client.settings.warn("tracking failed: {error!r}", error=problem)

    def _send_exit(self, client: TrackedClient, error: BaseException | None) -> None:
        if self._key in self._reported:
            return
        self._reported.add(self._key)
        outcome = self._outcome(client, error)
        reactor = installed_reactor()
        if reactor is not None and was_signalled(reactor):
            outcome = SUSPENDED
        send_in_child(client, *self._key, {**self._fields, **outcome})

    def _enter(self, outlives_reactor: bool) -> None:
        client = self._client()
        if client is None or client.settings.opted_out:
            return
        self._used = client
        _in_reactor(client, self._begin, outlives_reactor)

    def _begin(self, client: TrackedClient, outlives_reactor: bool) -> None:
        before = outlives_reactor and not client.reactor.running
        client.runs.enter(client, self._key, self._fields, before, self._init_ping)

    def _leave(self, error: BaseException | None) -> Run | None:
        """
        :returns: the run that this ended.
        """
        # The client of the beginning: setup() may have been called again since.
        if self._used is None:
            return None
        ended: Run | None = _in_reactor(self._used, self._end, error)
        return ended

    def _leave_with(self, result: Any) -> Any:
        self._leave(result.value if isinstance(result, Failure) else None)
        return result

    def _end(self, client: TrackedClient, error: BaseException | None) -> Run | None:
        if isinstance(error, GeneratorExit) and client.reactor.running:
            # A coroutine whose Deferred is gone is collected as garbage. The program
            # goes on, and so does the run.
            client.runs.abandon(self._key)
            return None
        run = client.runs.leave(self._key)
        if run is not None:
            run.end(self._outcome(client, error))
        return run

    def _outcome(
        self, client: TrackedClient, error: BaseException | None
    ) -> Mapping[str, Any]:
        outcome = _outcome_of(error)
        handled = [kind for kind in type(error).__mro__ if kind in self._handlers]
        if not handled:
            return outcome
        try:
            fields = self._handlers[handled[0]](error)
            known = {name: fields[name] for name in _HANDLED if name in fields}
            return {**outcome, **check_fields(known)}
        except Exception as problem:
            client.settings.warn(
                "the error handler of {kind} failed: {problem!r}",
                kind=handled[0].__name__,
                problem=problem,
            )
            return outcome


def _outcome_of(error: BaseException | None) -> Mapping[str, Any]:
    """
    The fields that describe how a run ended.
    """
    if isinstance(error, (KeyboardInterrupt, BdbQuit)):
        return SUSPENDED
    if error is None or isinstance(error, GeneratorExit):
        return COMPLETED
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return COMPLETED
    return {
        "status": "F",
        "status_desc": "Errored",
        "error_type": type(error).__name__[: MAX_TEXT["error_type"]],
        "error_desc": describe_error(error),
    }


def handlers_by_name(
    functions: Mapping[str, Callable[[Any, Any, Any], Mapping[str, str]]],
) -> ErrorHandlers:
    """
    Make error handlers of migas-py's functions.

    :param functions: by the name of an exception class. A function gets the class, the
        text and the traceback.
    """

    def handle(error: BaseException) -> Mapping[str, str]:
        function = functions.get(type(error).__name__)
        if function is None:
            return {}
        text = error.args[0] if error.args else str(error)
        return function(type(error), text, error.__traceback__)

    return {BaseException: handle}


def _checked_handlers(handlers: Any) -> dict[type[BaseException], Any]:
    if handlers is None or isinstance(handlers, Mapping):
        return dict(handlers or {})
    Settings().warn(
        "error_handlers must be functions by exception class, not {handlers!r}",
        handlers=handlers,
    )
    return {}


def _in_reactor(client: TrackedClient, function: Callable[..., Any], *args: Any) -> Any:
    """
    Call a function in the reactor's thread: at once if this is that thread. A failure
    is logged.
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
