"""
The client of a migas server.

:mod:`~txstathat.migas.wire.breadcrumb` checks and encodes a call, which becomes one
HTTP exchange; :mod:`~txstathat.migas.wire.answers` reads the reply. Only
:meth:`MigasClient._report` turns failures into answers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TextIO

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import TimeoutError

from txstathat.errors import MigasError
from txstathat.http.exchange import Transport
from txstathat.http.responses import Reply
from txstathat.http.urls import check_url
from txstathat.interfaces import HTTPAgent
from txstathat.migas.collected import COLLECTED, environment_fields
from txstathat.migas.runs.runs import Runs
from txstathat.migas.runs.tracking import ErrorHandlers, Tracker
from txstathat.migas.settings import DEFAULT_TIMEOUT, Settings
from txstathat.migas.userid import clear_user_id, load_user_id, user_id_path
from txstathat.migas.wire.answers import (
    DISABLED,
    REFUSED,
    Answer,
    UnknownOperation,
    explain,
    failed,
    read_breadcrumb_answer,
    read_graphql_answer,
)
from txstathat.migas.wire.breadcrumb import (
    add_project_request,
    breadcrumb_request,
    check_fields,
    check_project_request,
    usage_request,
)

__all__ = ["ENDPOINT", "MigasClient"]

#: The URL of the hosted migas server.
ENDPOINT = "https://migas.nipreps.org"

#: How many requests may be in flight.
MAX_CONNECTIONS = 2
#: How many more calls may wait for them.
MAX_WAITING = 100
#: After how many seconds a server that did not have ``add_project`` is asked again.
OPERATION_RETRY = 3600.0


class MigasClient:
    """
    A client of one migas server.

    Its methods raise nothing. The answer to a failed call is ``{'success': False,
    'message': ...}``. If the user has opted out, every call has such an answer, with
    :data:`~txstathat.migas.wire.answers.DISABLED` as the message, and nothing is
    collected, read, written or sent.

    :param endpoint: the server's URL, with or without ``/graphql`` at its end; by
        default that of the hosted server.
    :param user_id: the UUID of the user; by default that in the user id file.
    :param session_id: a UUID shared by the breadcrumbs of one run; none by default.
    :param user_type: ``'general'``, ``'dev'`` or ``'ci'``; not sent by default.
    :param ignore_errors: ``False`` makes Deferreds fail, with
        :class:`~txstathat.errors.InvalidTelemetry`,
        :class:`~txstathat.errors.MigasError`,
        :class:`~twisted.internet.error.TimeoutError` or a network error.
    :param reactor: the reactor; by default the global one, imported at the first use.
    :param agent: sends the requests; by default a new
        :class:`~txstathat.http.connections.pool.PooledAgent`.
    :param environ: the environment; ``os.environ`` by default.
    :raises ValueError: for a bad endpoint, id or user type.

    :ivar runs: the tracked runs that have not ended.
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
        self._defaults = check_fields(
            {"user_id": user_id, "session_id": session_id, "user_type": user_type}
        )
        self._ignore_errors = ignore_errors
        self._settings = Settings(environ)
        self._user_id: str | None = None
        # When to ask again for an operation that the server did not have.
        self._retry_add_project: float | None = None
        self.runs = Runs()

    def __repr__(self) -> str:
        return f"<MigasClient at {self.endpoint}>"

    @property
    def endpoint(self) -> str:
        """
        The URL of the server.
        """
        return self._transport.url

    @property
    def reactor(self) -> Any:
        """
        The reactor.
        """
        return self._transport.reactor

    @property
    def settings(self) -> Settings:
        """
        The settings of the environment.
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
        Report the use of a project.

        :param project: ``owner/repo``, as registered with the server; 1 to 140
            characters.
        :param version: the project's version; it is cut to 24 characters, which is what
            the server stores.
        :param wait: whether the server answers only after it has stored the breadcrumb.
        :param status: ``'R'`` running, ``'C'`` completed, ``'F'`` failed or ``'S'``
            suspended.
        :param fields: any of the fields of
            :data:`~txstathat.migas.collected.COLLECTED`, to replace the collected
            values. File paths in ``status_desc`` and ``error_desc`` are redacted, and
            both are cut if the request would be too large.
        :returns: a new Deferred that fires with ``{'success': True, 'message': ''}``,
            or with the answer to a failed call (see :class:`MigasClient`). Cancelling
            it aborts the request; it then fails with
            :class:`~twisted.internet.defer.CancelledError`.
        """
        fields = {"status": status, **fields}
        return self._call(self._add_breadcrumb, project, version, fields, wait)

    def add_project(
        self, project: str, version: str, **fields: Any
    ) -> Deferred[Answer]:
        """
        Report the use of a project, and check its version.

        To a server without this operation, which is an older one, this sends a
        breadcrumb and then the query of :meth:`check_project`.

        :param project: as for :meth:`add_breadcrumb`.
        :param version: as for :meth:`add_breadcrumb`.
        :param fields: as for :meth:`add_breadcrumb`.
        :returns: a new Deferred that fires with ``bad_versions`` (a list), ``cached``,
            ``latest_version`` (``None`` if the server knows none), ``message`` (never
            empty without success) and ``success``; otherwise as for
            :meth:`add_breadcrumb`. With ``ignore_errors=False`` it fails if the server
            refuses, such as for a project that is not registered.
        """
        return self._call(self._add_project, project, version, fields)

    def check_project(self, project: str, version: str) -> Deferred[Answer]:
        """
        Check a version of a project.

        :param project: as for :meth:`add_breadcrumb`.
        :param version: as for :meth:`add_breadcrumb`.
        :returns: a new Deferred that fires with ``success``, ``flagged`` (whether the
            developers warn of this version), ``latest`` (the latest version) and
            ``message``; otherwise as for :meth:`add_breadcrumb`.
        """
        return self._call(self._check_project, project, version)

    def get_usage(
        self, project: str, start: Any, end: Any = None, unique: bool = False
    ) -> Deferred[Answer]:
        """
        Query how often a project was used.

        :param project: as for :meth:`add_breadcrumb`.
        :param start: the beginning: a :class:`~datetime.date`, an aware
            :class:`~datetime.datetime`, ``YYYY-MM-DD`` or ``YYYY-MM-DDTHH:MM:SSZ``.
        :param end: the end, in the same forms; by default the present.
        :param unique: whether to count users instead of uses.
        :returns: a new Deferred that fires with ``hits``, ``message``, ``unique`` and
            ``success``; otherwise as for :meth:`add_breadcrumb`.
        """
        return self._call(self._get_usage, project, start, end, unique)

    def track(
        self,
        project: str,
        version: str,
        error_handlers: ErrorHandlers | None = None,
        *,
        init_ping: bool = True,
        **fields: Any,
    ) -> Tracker:
        """
        Report the beginning and the end of a run; see
        :class:`~txstathat.migas.runs.tracking.Tracker`.

        :param project: as for :meth:`add_breadcrumb`.
        :param version: as for :meth:`add_breadcrumb`.
        :param error_handlers: functions by exception class. The function of the most
            specific class gets the exception, and returns a mapping with any of
            ``status``, ``status_desc``, ``error_type`` and ``error_desc``.
        :param init_ping: whether to send a breadcrumb at the beginning.
        :param fields: more fields of both breadcrumbs, as for :meth:`add_breadcrumb`.
        """
        return Tracker(
            lambda: self, project, version, error_handlers, fields, init_ping
        )

    def print_config(self, file: TextIO | None = None) -> None:
        """
        Print what the client would send, and why.

        :param file: a text file; standard output by default.
        """
        file = sys.stdout if file is None else file
        for line in self._config_lines():
            file.write(line + "\n")

    def clear_user_id(self) -> bool:
        """
        Delete the user id, also if the user has opted out. The next breadcrumb has a
        new one.

        :returns: whether this deleted a user id file.
        """
        self._user_id = None
        return clear_user_id(self._settings)

    def close(self) -> Deferred[None]:
        """
        Close all connections. Calls in flight have one second to finish.

        :returns: a new Deferred that fires with ``None`` when all connections are
            closed. It does not fail.
        """
        return self._transport.close()

    def breadcrumb_body(self, project: str, version: str, **fields: Any) -> bytes:
        """
        Encode the body of the request that :meth:`add_breadcrumb` would send; the
        parameters are the same.

        :raises InvalidTelemetry: for a bad field.
        """
        return breadcrumb_request(self._all_fields(project, version, fields))

    def post_breadcrumb(self, body: bytes) -> Deferred[Answer]:
        """
        Send the body of a breadcrumb's request.

        :param body: what :meth:`breadcrumb_body` returned.
        :returns: as :meth:`add_breadcrumb`.
        """
        return self._call(self._post_breadcrumb, body, False)

    async def _add_breadcrumb(
        self, project: object, version: object, fields: Mapping[str, Any], wait: bool
    ) -> Answer:
        body = breadcrumb_request(self._all_fields(project, version, fields))
        return await self._post_breadcrumb(body, wait)

    async def _post_breadcrumb(self, body: bytes, wait: bool) -> Answer:
        path = "/api/breadcrumb?wait=true" if wait else "/api/breadcrumb"
        return read_breadcrumb_answer(await self._post(path, body))

    async def _add_project(
        self, project: object, version: object, fields: Mapping[str, Any]
    ) -> Answer:
        checked = self._all_fields(project, version, fields)
        answer = await self._add_by_any_way(checked)
        if answer["success"]:
            return answer
        message = answer.get("message") or REFUSED
        if not self._ignore_errors:
            raise MigasError(200, message)
        return {**answer, "message": message}

    async def _add_by_any_way(self, fields: dict[str, Any]) -> Answer:
        now = self.reactor.seconds()
        if self._retry_add_project is None or now >= self._retry_add_project:
            try:
                return await self._query("add_project", add_project_request(fields))
            except UnknownOperation:
                self._retry_add_project = now + OPERATION_RETRY
        return await self._add_and_check(fields)

    async def _add_and_check(self, fields: dict[str, Any]) -> Answer:
        """
        Do what ``add_project`` did, with the operations of current servers.
        """
        project, version = fields["project"], fields["project_version"]
        try:
            await self._post_breadcrumb(breadcrumb_request(fields), wait=False)
        except MigasError as error:
            if error.status != 400 or not self._ignore_errors:
                raise
            # add_project has an answer for a project that is not registered, too.
            checked = failed(error.msg)
        else:
            checked = await self._check_project(project, version)
        return {
            "bad_versions": [version] if checked.get("flagged") else [],
            "cached": False,
            "latest_version": checked.get("latest"),
            "message": checked.get("message") or "",
            "success": checked["success"],
        }

    async def _check_project(self, project: object, version: object) -> Answer:
        return await self._query(
            "check_project", check_project_request(project, version)
        )

    async def _get_usage(
        self, project: object, start: object, end: object, unique: object
    ) -> Answer:
        return await self._query(
            "get_usage", usage_request(project, start, end, unique)
        )

    async def _query(self, operation: str, body: bytes) -> Answer:
        return read_graphql_answer(await self._post("/graphql", body), operation)

    async def _post(self, path: str, body: bytes) -> Reply:
        timeout = self._settings.timeout
        if timeout == 0:
            raise TimeoutError()
        self._settings.debug("POST {path} {body}", path=path, body=body)
        headers = {"Content-Type": "application/json"}
        return await self._transport.exchange(
            "POST", path, headers=headers, body=body, timeout=timeout
        )

    def _all_fields(
        self, project: object, version: object, fields: Mapping[str, Any]
    ) -> dict[str, Any]:
        """
        The fields to send: those that were passed, and collected values for the rest.
        """
        checked = check_fields(
            {
                "project": project,
                "project_version": version,
                **environment_fields(self._settings.environ),
                **self._defaults,
                **fields,
            }
        )
        if "user_id" not in checked:
            checked["user_id"] = self._stored_user_id()
        return checked

    def _stored_user_id(self) -> str:
        if self._user_id is None:
            self._user_id = load_user_id(self._settings)
        return self._user_id

    def _call(
        self, work: Callable[..., Coroutine[Any, Any, Answer]], *args: Any
    ) -> Deferred[Answer]:
        return Deferred.fromCoroutine(self._report(work, *args))

    async def _report(
        self, work: Callable[..., Coroutine[Any, Any, Answer]], *args: Any
    ) -> Answer:
        """
        Do some work, and turn its failure into an answer, unless the client lets
        failures through.
        """
        if self._settings.opted_out:
            return failed(DISABLED)
        try:
            answer = await work(*args)
        except CancelledError:
            raise
        except Exception as error:
            if not self._ignore_errors:
                raise
            message = explain(error, self._settings.timeout)
            self._settings.info(
                "{client}: {message}", client=repr(self), message=message
            )
            return failed(message)
        self._settings.debug("answered {answer}", answer=answer)
        return answer

    def _config_lines(self) -> list[str]:
        lines = [f"endpoint: {self.endpoint}"]
        if self._settings.opted_out:
            return [*lines, f"{DISABLED}: nothing is collected or sent"]
        lines.append(f"user id file: {user_id_path(self._settings)}")
        values = {
            **environment_fields(self._settings.environ),
            "user_id": self._defaults.get("user_id") or self._stored_user_id(),
            **self._defaults,
        }
        for field in COLLECTED:
            value = values.get(field.name)
            shown = f"({field.what})" if value is None else value
            lines.append(f"{field.name}: {shown} - {field.why}")
        return lines
