"""
The client of a migas server.

A call is checked and encoded by :mod:`~txstathat.migas.breadcrumb`, becomes one
exchange, and the reply is read by :mod:`~txstathat.migas.answers`. Nothing below
:meth:`MigasClient._report` swallows anything.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.error import TimeoutError
from twisted.python.failure import Failure

from txstathat.errors import MigasError
from txstathat.http.exchange import Transport
from txstathat.http.responses import Reply
from txstathat.http.urls import check_url
from txstathat.interfaces import HTTPAgent
from txstathat.migas.answers import (
    DISABLED,
    Answer,
    UnknownOperation,
    explain,
    failed,
    read_breadcrumb_answer,
    read_graphql_answer,
)
from txstathat.migas.breadcrumb import (
    add_project_request,
    breadcrumb_request,
    check_fields,
    check_project_request,
    usage_request,
)
from txstathat.migas.collected import COLLECTED, surroundings
from txstathat.migas.settings import DEFAULT_TIMEOUT, Settings
from txstathat.migas.tracking import ErrorHandlers, Run, Tracker
from txstathat.migas.userid import clear_user_id, load_user_id, user_id_path

__all__ = ["ENDPOINT", "MigasClient"]

#: Where the hosted migas server is.
ENDPOINT = "https://migas.nipreps.org"

#: How many calls may be under way, and how many more may wait for them.
MAX_CONNECTIONS = 2
MAX_WAITING = 100


class MigasClient:
    """
    A client of one migas server.

    Its methods raise nothing. A failure answers ``{'success': False, 'message': ...}``,
    and so does every call where the person who runs the program has opted out, with
    :data:`~txstathat.migas.answers.DISABLED` as the message; in that case nothing is
    collected, read, written or sent.

    :param endpoint: the server's URL, with or without ``/graphql`` at its end; the
        hosted server by default.
    :param user_id: a UUID to count as one user; by default the one in the user id file.
    :param session_id: a UUID that marks the breadcrumbs of one run; none by default.
    :param user_type: ``'general'``, ``'dev'`` or ``'test'``; not sent by default.
    :param ignore_errors: ``False`` lets failures through:
        :class:`~txstathat.errors.InvalidTelemetry`,
        :class:`~txstathat.errors.MigasError`,
        :class:`~twisted.internet.error.TimeoutError` and the network's own.
    :param reactor: the global reactor by default, looked for when first needed.
    :param agent: sends the requests; by default a
        :class:`~txstathat.http.connections.PooledAgent` of the client's own.
    :param environ: the environment; ``os.environ`` by default.
    :raises ValueError: for a bad endpoint, id or user type.

    :ivar runs: what is being tracked, by project and version.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        user_type: str | None = None,
        ignore_errors: bool = True,
        reactor: Any = None,
        agent: HTTPAgent | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        url = check_url(ENDPOINT if endpoint is None else endpoint)
        self._transport = Transport(
            url.removesuffix("/graphql").rstrip("/"),
            timeout=DEFAULT_TIMEOUT,
            max_connections=MAX_CONNECTIONS,
            max_waiting=MAX_WAITING,
            reactor=reactor,
            agent=agent,
        )
        self._given = check_fields(
            {"user_id": user_id, "session_id": session_id, "user_type": user_type}
        )
        self._ignore_errors = ignore_errors
        self._settings = Settings(environ)
        self._user_id: str | None = None
        self._has_add_project = True
        self.runs: dict[tuple[str, str], Run] = {}

    def __repr__(self) -> str:
        return f"<MigasClient at {self.endpoint}>"

    @property
    def endpoint(self) -> str:
        """
        The server's URL.
        """
        return self._transport.url

    @property
    def reactor(self) -> Any:
        """
        The reactor in use.
        """
        return self._transport.reactor

    @property
    def settings(self) -> Settings:
        """
        What the environment says.
        """
        return self._settings

    def add_breadcrumb(
        self,
        project: str,
        version: str,
        wait: bool = False,
        status: str = "R",
        **fields: Any,
    ) -> Deferred[Answer]:
        """
        Tell the server that a project is used.

        :param project: ``owner/repo``, as registered with the server; 1 to 140
            characters.
        :param version: the project's version; 1 to 48 characters.
        :param wait: whether the server is to answer only when it has stored it.
        :param status: ``'R'`` running, ``'C'`` completed, ``'F'`` failed or ``'S'``
            suspended.
        :param fields: any of the fields of
            :data:`~txstathat.migas.collected.COLLECTED`, instead of what would be
            found out. File paths in ``status_desc`` and ``error_desc`` are redacted,
            and both are cut where the request would be too large.
        :returns: a new Deferred, which fires with ``{'success': True, 'message': ''}``
            or as is said at :class:`MigasClient`. Cancelling it aborts the request and
            makes it fail with :class:`~twisted.internet.defer.CancelledError`.
        """
        return self._call(
            lambda: self._add_breadcrumb(
                self._all_fields(project, version, {"status": status, **fields}), wait
            )
        )

    def add_project(
        self, project: str, version: str, **fields: Any
    ) -> Deferred[Answer]:
        """
        Tell the server that a project is used, and ask about that version.

        A server that does not have this operation any more is sent a breadcrumb and
        the question of :meth:`check_project` instead.

        :param fields: as for :meth:`add_breadcrumb`.
        :returns: a new Deferred, which fires with ``bad_versions`` (a list),
            ``cached``, ``latest_version`` (``None`` where the server knows none),
            ``message`` and ``success``; otherwise as :meth:`add_breadcrumb`.
        """
        return self._call(
            lambda: self._add_project(self._all_fields(project, version, fields))
        )

    def check_project(self, project: str, version: str) -> Deferred[Answer]:
        """
        Ask about a version of a project.

        :returns: a new Deferred, which fires with ``success``, ``flagged`` (whether the
            project's developers warn of that version), ``latest`` and ``message``;
            otherwise as :meth:`add_breadcrumb`.
        """
        return self._call(
            lambda: self._ask("check_project", check_project_request(project, version))
        )

    def get_usage(
        self, project: str, start: Any, end: Any = None, unique: bool = False
    ) -> Deferred[Answer]:
        """
        Ask how often a project was used.

        :param start: from when on: a :class:`~datetime.date`, an aware
            :class:`~datetime.datetime`, ``YYYY-MM-DD`` or ``YYYY-MM-DDTHH:MM:SSZ``.
        :param end: until when, likewise; now by default.
        :param unique: whether to count users instead of uses.
        :returns: a new Deferred, which fires with ``hits``, ``message``, ``unique`` and
            ``success``; otherwise as :meth:`add_breadcrumb`.
        """
        return self._call(
            lambda: self._ask("get_usage", usage_request(project, start, end, unique))
        )

    def track(
        self,
        project: str,
        version: str,
        error_handlers: ErrorHandlers | None = None,
        **fields: Any,
    ) -> Tracker:
        """
        Report the beginning and the end of a run; see
        :class:`~txstathat.migas.tracking.Tracker`.

        :param error_handlers: functions by exception class; each is called with the
            exception and returns some of ``status``, ``status_desc``, ``error_type``
            and ``error_desc``. The class nearest to the exception's own counts.
        :param fields: as for :meth:`add_breadcrumb`, in both breadcrumbs.
        """
        return Tracker(lambda: self, project, version, error_handlers, fields)

    def print_config(self, file: TextIO | None = None) -> None:
        """
        Print what would be sent from here, and why.

        :param file: where to; standard output by default.
        """
        file = sys.stdout if file is None else file
        for line in self._config_lines():
            file.write(line + "\n")

    def clear_user_id(self) -> bool:
        """
        Forget the user id: the next breadcrumb has another one.

        :returns: whether there was a file, and it is gone. Who has opted out gets rid
            of it too.
        """
        self._user_id = None
        return clear_user_id(self._settings)

    def close(self) -> Deferred[None]:
        """
        End: calls under way have a second to finish, then everything is closed.

        :returns: a new Deferred, which fires with ``None`` when no connection is left
            open; it does not fail.
        """
        return self._transport.close()

    def breadcrumb_body(self, project: str, version: str, **fields: Any) -> bytes:
        """
        The body of a breadcrumb's request, as :meth:`add_breadcrumb` would send it.

        :raises InvalidTelemetry: for a bad field.
        """
        return breadcrumb_request(self._all_fields(project, version, fields))

    def post_breadcrumb(self, body: bytes, wait: bool = False) -> Deferred[Answer]:
        """
        Send what :meth:`breadcrumb_body` made; otherwise as :meth:`add_breadcrumb`.
        """
        return self._call(lambda: self._post_breadcrumb(body, wait))

    def _add_breadcrumb(self, fields: dict[str, Any], wait: bool) -> Deferred[Answer]:
        return self._post_breadcrumb(breadcrumb_request(fields), wait)

    def _post_breadcrumb(self, body: bytes, wait: bool) -> Deferred[Answer]:
        path = "/api/breadcrumb?wait=true" if wait else "/api/breadcrumb"
        return self._post(path, body).addCallback(read_breadcrumb_answer)

    def _add_project(self, fields: dict[str, Any]) -> Deferred[Answer]:
        if not self._has_add_project:
            return self._add_and_check(fields)

        def unknown(failure: Failure) -> Deferred[Answer]:
            failure.trap(UnknownOperation)
            self._has_add_project = False
            return self._add_and_check(fields)

        asked = self._ask("add_project", add_project_request(fields))
        return asked.addErrback(unknown)

    def _add_and_check(self, fields: dict[str, Any]) -> Deferred[Answer]:
        """
        What ``add_project`` did, by means of what today's servers have.
        """
        version = fields["project_version"]

        def check(_: Answer) -> Deferred[Answer]:
            body = check_project_request(fields["project"], version)
            return self._ask("check_project", body)

        def refused(failure: Failure) -> Answer:
            # That operation answers a project that is not registered with data.
            error = failure.value
            if isinstance(error, MigasError) and error.status == 400:
                return failed(error.msg)
            failure.raiseException()

        def combine(checked: Answer) -> Answer:
            return {
                "bad_versions": [version] if checked.get("flagged") else [],
                "cached": False,
                "latest_version": checked.get("latest"),
                "message": checked.get("message") or "",
                "success": checked["success"],
            }

        added = self._add_breadcrumb(fields, wait=False)
        return added.addCallbacks(check, refused).addCallback(combine)

    def _ask(self, operation: str, body: bytes) -> Deferred[Answer]:
        replied = self._post("/graphql", body)
        return replied.addCallback(read_graphql_answer, operation)

    def _post(self, path: str, body: bytes) -> Deferred[Reply]:
        timeout = self._settings.timeout
        if timeout == 0:
            raise TimeoutError()
        self._settings.debug("POST {path} {body}", path=path, body=body)
        headers = {"Content-Type": "application/json"}
        return self._transport.exchange(
            "POST", path, headers=headers, body=body, timeout=timeout
        )

    def _all_fields(
        self, project: object, version: object, fields: Mapping[str, Any]
    ) -> dict[str, Any]:
        """
        What is sent: what was said, and what is found out for the rest.
        """
        checked = check_fields(
            {
                "project": project,
                "project_version": version,
                **surroundings(self._settings.environ),
                **self._given,
                **fields,
            }
        )
        if "user_id" not in checked:
            checked["user_id"] = self._kept_user_id()
        return checked

    def _kept_user_id(self) -> str:
        if self._user_id is None:
            self._user_id = load_user_id(self._settings)
        return self._user_id

    def _call(self, work: Callable[[], Deferred[Answer]]) -> Deferred[Answer]:
        if self._settings.opted_out:
            return succeed(failed(DISABLED))
        done: Deferred[Answer] = maybeDeferred(work)
        return done.addCallbacks(self._note, self._report)

    def _note(self, answer: Answer) -> Answer:
        self._settings.debug("answered {answer}", answer=answer)
        return answer

    def _report(self, failure: Failure) -> Answer | Failure:
        """
        Turn a failure into what the caller sees: the one place that swallows.
        """
        error = failure.value
        if isinstance(error, CancelledError) or not isinstance(error, Exception):
            return failure
        if not self._ignore_errors:
            return failure
        message = explain(error, self._settings.timeout)
        self._settings.info("{client}: {message}", client=repr(self), message=message)
        return failed(message)

    def _config_lines(self) -> list[str]:
        lines = [f"endpoint: {self.endpoint}"]
        if self._settings.opted_out:
            return [*lines, f"{DISABLED}: nothing is collected or sent"]
        lines.append(f"user id file: {user_id_path(self._settings)}")
        values = {
            **surroundings(self._settings.environ),
            "user_id": self._given.get("user_id") or self._kept_user_id(),
            **self._given,
        }
        for field in COLLECTED:
            value = values.get(field.name)
            shown = f"({field.what})" if value is None else value
            lines.append(f"{field.name}: {shown} - {field.why}")
        return lines
