"""
One client for the whole process, and functions that use it.

Tests, and programs that need more than one client, use
:class:`~txstathat.migas.client.MigasClient` directly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TextIO

from twisted.internet.defer import Deferred, succeed

from txstathat.migas.client import MigasClient
from txstathat.migas.runs.tracking import ErrorHandlers, Tracker, handlers_by_name
from txstathat.migas.settings import Settings
from txstathat.migas.wire.answers import DISABLED, Answer, failed

__all__ = [
    "add_breadcrumb",
    "add_project",
    "check_project",
    "clear_user_id",
    "get_usage",
    "print_config",
    "setup",
    "track",
    "track_exit",
]

_NOT_SET_UP = "telemetry is not set up: call txstathat.migas.setup() first"


class _Process:
    """
    The client that was set up, or the reason why there is none.
    """

    client: MigasClient | None = None
    problem = _NOT_SET_UP


def setup(
    endpoint: str | None = None,
    user_id: str | None = None,
    session_id: str | None = None,
    **options: Any,
) -> None:
    """
    Set the server for the functions of this module. Nothing is sent yet.

    It does not raise. A bad value is logged, and then is the message of the answer to
    every call. Another call replaces the settings.

    :param endpoint: the server's URL; by default that of the hosted server.
    :param user_id: the UUID of the user; by default that in the user id file.
    :param session_id: a UUID shared by the breadcrumbs of one run; none by default.
    :param options: the other parameters of
        :class:`~txstathat.migas.client.MigasClient`.
    """
    try:
        _Process.client = MigasClient(
            endpoint, user_id=user_id, session_id=session_id, **options
        )
    except (TypeError, ValueError) as error:
        _Process.client = None
        _Process.problem = f"telemetry is not set up: {error}"
        Settings().warn("{problem}", problem=_Process.problem)


def _client() -> MigasClient | None:
    return _Process.client


def _call(use: Callable[[MigasClient], Deferred[Answer]]) -> Deferred[Answer]:
    client = _client()
    if client is not None:
        return use(client)
    return succeed(failed(DISABLED if Settings().opted_out else _Process.problem))


def add_breadcrumb(
    project: str, version: str, wait: bool = False, status: str = "R", **fields: Any
) -> Deferred[Answer]:
    """
    Report the use of a project; see
    :meth:`~txstathat.migas.client.MigasClient.add_breadcrumb`.
    """
    return _call(lambda c: c.add_breadcrumb(project, version, wait, status, **fields))


def add_project(project: str, version: str, **fields: Any) -> Deferred[Answer]:
    """
    Report the use of a project, and check its version; see
    :meth:`~txstathat.migas.client.MigasClient.add_project`.
    """
    return _call(lambda c: c.add_project(project, version, **fields))


def check_project(project: str, version: str) -> Deferred[Answer]:
    """
    Check a version of a project; see
    :meth:`~txstathat.migas.client.MigasClient.check_project`.
    """
    return _call(lambda c: c.check_project(project, version))


def get_usage(
    project: str, start: Any, end: Any = None, unique: bool = False
) -> Deferred[Answer]:
    """
    Query how often a project was used; see
    :meth:`~txstathat.migas.client.MigasClient.get_usage`.
    """
    return _call(lambda c: c.get_usage(project, start, end, unique))


def track(
    project: str,
    version: str,
    error_handlers: ErrorHandlers | None = None,
    *,
    init_ping: bool = True,
    **fields: Any,
) -> Tracker:
    """
    Report the beginning and the end of a run; see
    :class:`~txstathat.migas.runs.tracking.Tracker`. :func:`setup` can be called later,
    but before the run begins.

    A call alone, without a use of what it returns, reports the whole process; see
    :meth:`.Tracker.report_exit`.

    :param project: as for :func:`add_breadcrumb`.
    :param version: as for :func:`add_breadcrumb`.
    :param error_handlers: see :meth:`txstathat.migas.client.MigasClient.track`.
    :param init_ping: whether to send a breadcrumb at the beginning.
    :param fields: more fields of both breadcrumbs.
    """
    tracker = Tracker(_client, project, version, error_handlers, fields, init_ping)
    tracker.report_exit()
    return tracker


def track_exit(
    project: str,
    version: str,
    error_funcs: Mapping[str, Callable[[Any, Any, Any], Mapping[str, str]]]
    | None = None,
    **fields: Any,
) -> None:
    """
    Report the end of the process, as migas-py 0.4 does: :func:`track` without the first
    breadcrumb.

    :param project: as for :func:`add_breadcrumb`.
    :param version: as for :func:`add_breadcrumb`.
    :param error_funcs: functions by the name of an exception class. A function gets the
        class, the text and the traceback, and returns what an error handler does.
    :param fields: more fields of the breadcrumb.
    """
    handlers = handlers_by_name(error_funcs) if error_funcs else None
    track(project, version, handlers, init_ping=False, **fields)


def print_config(file: TextIO | None = None) -> None:
    """
    Print what the client would send, and why; see
    :meth:`~txstathat.migas.client.MigasClient.print_config`. Before :func:`setup` the
    defaults are used.
    """
    (_client() or MigasClient()).print_config(file)


def clear_user_id() -> bool:
    """
    Delete the user id; see
    :meth:`~txstathat.migas.client.MigasClient.clear_user_id`.
    """
    return (_client() or MigasClient()).clear_user_id()
