"""
Tracking: one breadcrumb when a run begins, and one when it ends.

A run lasts from the first entry into something tracked to the last exit from it, for
each project and version. While the reactor runs, it sends the breadcrumbs, and a
shutdown trigger makes it wait for the last one. If the reactor does not run when a run
ends (a script without one, code after ``reactor.run()``),
:mod:`~txstathat.migas.exit_report` sends the last one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from types import TracebackType
from typing import Any, ParamSpec, Protocol, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.python import threadable
from twisted.python.failure import Failure

from txstathat.migas.breadcrumb import MAX_TEXT, check_fields
from txstathat.migas.redaction import describe_error
from txstathat.migas.runs import COMPLETED, SUSPENDED, Run, Runs
from txstathat.migas.sender import BreadcrumbSender

__all__ = ["ErrorHandlers", "TrackedClient", "Tracker"]

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

    Nested and overlapping uses of the same project and version are one run. Tracking
    raises nothing, and delays nothing but the reactor's stop: that waits for the last
    breadcrumb, at most for ``MIGAS_TIMEOUT``.

    :param client: returns the client when a run begins; ``None`` tracks nothing.
    :param project: ``owner/repo``.
    :param version: the project's version.
    :param error_handlers: see :meth:`txstathat.migas.client.MigasClient.track`.
    :param fields: more fields of both breadcrumbs.
    """

    def __init__(
        self,
        client: Callable[[], TrackedClient | None],
        project: str,
        version: str,
        error_handlers: ErrorHandlers | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        self._client = client
        self._key = (project, version)
        self._handlers = dict(error_handlers or {})
        self._fields = dict(fields or {})
        self._used: TrackedClient | None = None

    def __call__(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        """
        Track every call of a function, until it has its result: for a coroutine until
        its end, for a Deferred until it fires.

        :param function: the function.
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
        self._enter(outlives_reactor=True)
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

    def stopService(self) -> Deferred[Any] | None:
        """
        End the run.

        :returns: a new Deferred that fires when the last breadcrumb was answered or has
            failed; ``None`` if this does not end a run. It does not fail.
        """
        super().stopService()
        run = self._leave(None)
        return None if run is None else run.settled()

    def _enter(self, outlives_reactor: bool) -> None:
        client = self._client()
        if client is None or client.settings.opted_out:
            return
        self._used = client
        _in_reactor(client, self._begin, outlives_reactor)

    def _begin(self, client: TrackedClient, outlives_reactor: bool) -> None:
        before = outlives_reactor and not client.reactor.running
        client.runs.enter(client, self._key, self._fields, before)

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
    if isinstance(error, KeyboardInterrupt):
        return SUSPENDED
    if error is None or isinstance(error, GeneratorExit):
        return COMPLETED
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return COMPLETED
    return {
        "status": "F",
        "status_desc": "Failed",
        "error_type": type(error).__name__[: MAX_TEXT["error_type"]],
        "error_desc": describe_error(error),
    }


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
