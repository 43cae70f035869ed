"""
The requests of the migas client, and how it reads answers, with a server in memory.
"""

from __future__ import annotations

import json
import tempfile
from datetime import date, datetime, timedelta, timezone
from typing import Any

from graphql import parse
from graphql.language import ast
from hypothesis import given, settings
from hypothesis import strategies as st
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import DNSLookupError, TimeoutError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IAgent
from zope.interface import implementer

from tests.fixtures import ROOT
from tests.fixtures.migas_server import FLAGGED, LATEST, PROJECT, MigasServer
from txstathat.errors import InvalidTelemetry, MigasError
from txstathat.migas import MigasClient, process
from txstathat.migas.collected import COLLECTED
from txstathat.migas.wire.answers import DISABLED
from txstathat.migas.wire.breadcrumb import (
    MAX_REQUEST,
    MAX_TEXT,
    add_project_request,
    breadcrumb_request,
    check_fields,
    check_project_request,
    usage_request,
)
from txstathat.migas.wire.graphql import EnumValue, operation

USER = "6d8f6d6b-3f0d-4c43-9d3e-0a7b8a1d1a11"
SESSION = "0e2dfb0d-5f33-4f9f-9a6b-6a7f4c3f2b22"
MIGAS = {"X-Backend-Server": "migas@0.5.0"}

HOSTILE = st.one_of(
    st.text(max_size=140),
    st.text('"\\{}()\n\r\t#, :$u0022é\x00\ud800😀', max_size=140),
    st.sampled_from(
        [
            '"){hits} evil:get_usage(project:"x',
            '\\"){success}}mutation{add_breadcrumb(project:"',
            '"""',
            "\\u0022",
            "\\",
            "\n#",
        ]
    ),
)


class InMemory(SynchronousTestCase):
    """
    A client and a server in memory.
    """

    def start(self, old: bool = False, **options: Any) -> None:
        self.server = MigasServer(old=old)
        self.agent = RequestTraversalAgent(self.server.resource)
        self.clock = Clock()
        self.client = MigasClient(
            options.pop("endpoint", "http://migas.example"),
            user_id=options.pop("user_id", USER),
            agent=options.pop("agent", self.agent),
            reactor=self.clock,
            environ=options.pop("environ", {}),
            **options,
        )

    def answer(self, called: Deferred[Any]) -> Any:
        self.agent.flush()
        answer = self.successResultOf(called)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return answer


class RequestTests(InMemory):
    """
    Requests and their answers.
    """

    def tearDown(self) -> None:
        self.assertEqual(self.server.violations, [])

    def test_breadcrumb(self) -> None:
        """A breadcrumb without more fields has the collected fields."""
        self.start()
        answer = self.answer(self.client.add_breadcrumb(PROJECT, "1.0.0"))
        self.assertEqual(answer, {"success": True, "message": ""})
        [crumb] = self.server.crumbs
        self.assertEqual(crumb["language"], "python")
        self.assertEqual(crumb["user_id"], USER)
        self.assertEqual(crumb["status"], "R")
        self.assertNotIn("session_id", crumb)
        self.assertEqual(self.server.requests[0][1], "/api/breadcrumb")

    def test_waiting_breadcrumb(self) -> None:
        """With wait=True the server stores the breadcrumb before it answers."""
        self.start()
        called = self.client.add_breadcrumb(PROJECT, "1.0.0", wait=True, status="C")
        self.assertEqual(self.answer(called), {"success": True, "message": ""})
        self.assertEqual(self.server.requests[0][1], "/api/breadcrumb?wait=true")

    def test_every_field(self) -> None:
        """Every field of the protocol can be set, and arrives unchanged."""
        fields = {
            "language": "cpython",
            "language_version": "3.99",
            "user_id": SESSION,
            "session_id": SESSION,
            "user_type": "ci",
            "platform": "plan9",
            "container": "apptainer",
            "is_ci": True,
            "status": "F",
            "status_desc": "step 3/4",
            "error_type": "KeyError",
            "error_desc": "'nothing'",
        }
        for old in (False, True):
            self.start(old=old)
            self.answer(self.client.add_project(PROJECT, "1.0.0", **fields))
            [crumb] = self.server.crumbs
            expected = {"project": PROJECT, "project_version": "1.0.0", **fields}
            self.assertEqual(crumb, expected)
            self.assertEqual(self.server.violations, [])

    def test_nothing_else(self) -> None:
        """Requests have no other fields and headers than the documented ones."""
        self.start(session_id=SESSION, user_type="dev")
        self.answer(self.client.add_breadcrumb(PROJECT, "1", error_desc="x"))
        listed = {field.name for field in COLLECTED}
        self.assertLessEqual(set(self.server.crumbs[0]), listed)
        self.assertEqual(
            set(self.server.requests[0][2]),
            {"host", "connection", "content-length", "content-type", "accept-encoding"},
        )

    def test_endpoint_forms(self) -> None:
        """The endpoint can be a host alone, end in /graphql, and have a path."""
        for given_, url in [
            ("http://a.example", "http://a.example"),
            ("http://a.example/", "http://a.example"),
            ("http://a.example/graphql", "http://a.example"),
            ("http://a.example/graphql/", "http://a.example"),
            ("https://a.example/telemetry/graphql", "https://a.example/telemetry"),
            (None, "https://migas.nipreps.org"),
        ]:
            self.start(endpoint=given_)
            self.assertEqual(self.client.endpoint, url)

    def test_add_project_of_old(self) -> None:
        """On a server with add_project, this is one request."""
        self.start(old=True)
        self.assertEqual(
            self.answer(self.client.add_project(PROJECT, "0.0.1")),
            {
                "bad_versions": [],
                "cached": True,
                "latest_version": "0.0.4",
                "message": "",
                "success": True,
            },
        )
        self.assertEqual(len(self.server.requests), 1)

    def test_add_project_of_today(self) -> None:
        """On a server without it, two requests give the same five keys."""
        self.start()
        self.assertEqual(
            self.answer(self.client.add_project(PROJECT, FLAGGED)),
            {
                "bad_versions": [FLAGGED],
                "cached": False,
                "latest_version": LATEST,
                "message": "",
                "success": True,
            },
        )
        self.assertEqual(len(self.server.crumbs), 1)
        self.assertEqual(len(self.server.requests), 3)
        self.answer(self.client.add_project(PROJECT, "0.4.0"))
        # The server is not asked again for what it does not have,
        self.assertEqual(len(self.server.requests), 5)
        # but after an hour: it may have been replaced.
        self.clock.advance(3600)
        self.answer(self.client.add_project(PROJECT, "0.4.0"))
        self.assertEqual(len(self.server.requests), 8)

    def test_add_project_with_a_bad_argument(self) -> None:
        """A refused argument is no proof that the server has no add_project."""
        self.start(old=True)
        self.server.invalid = "dev build"
        answer = self.answer(self.client.add_project(PROJECT, "dev build"))
        self.assertIs(answer["success"], False)
        self.assertIn("Invalid version", answer["message"])
        answer = self.answer(self.client.add_project(PROJECT, "0.0.1"))
        self.assertIs(answer["cached"], True)
        self.assertEqual(len(self.server.requests), 2)

    def test_add_project_refused_without_a_reason(self) -> None:
        """A refusal always has a message; with ignore_errors=False it is a failure."""
        body = {"data": {"add_project": {"success": False, "message": ""}}}
        for ignored in (True, False):
            self.start(old=True, ignore_errors=ignored)
            self.server.reply = (200, json.dumps(body).encode(), MIGAS)
            called = self.client.add_project("no/such", "1")
            if ignored:
                answer = self.answer(called)
                self.assertIs(answer["success"], False)
                self.assertIn("registered", answer["message"])
            else:
                self.agent.flush()
                error = self.failureResultOf(called, MigasError).value
                self.assertIn("registered", str(error))

    def test_lengths(self) -> None:
        """A long version or language is cut to what the server stores."""
        self.start()
        called = self.client.add_breadcrumb(
            PROJECT, "2.1.0.dev14+g0123456789.d20260705", language="x" * 40
        )
        self.answer(called)
        self.answer(self.client.add_breadcrumb(PROJECT, "1.2.3.dev4+abcdefghijklm.d7"))
        first, second = self.server.crumbs
        self.assertEqual(first["project_version"], "2.1.0.dev14+g0123456789")
        self.assertEqual(first["language"], "x" * 32)
        self.assertEqual(second["project_version"], "1.2.3.dev4+abcdefghijklm")

    def test_add_project_unregistered(self) -> None:
        """A project that is not registered has the same answer on both servers."""
        answers = []
        for old in (False, True):
            self.start(old=old)
            answers.append(self.answer(self.client.add_project("a/b", "1")))
        self.assertEqual(answers[0], {**answers[1], "cached": False})
        self.assertEqual(answers[0]["message"], "Project is not registered.")
        self.assertIs(answers[0]["success"], False)

    def test_check_project(self) -> None:
        """The answer has the latest version, and whether this one is flagged."""
        self.start()
        self.assertEqual(
            self.answer(self.client.check_project(PROJECT, FLAGGED)),
            {"success": True, "flagged": True, "latest": LATEST, "message": ""},
        )

    def test_usage(self) -> None:
        """Usage is queried with texts, dates or aware datetimes, with or without an end."""
        self.start()
        expected = {"hits": 7, "message": "", "unique": False, "success": True}
        called = self.client.get_usage(PROJECT, "2022-07-01")
        self.assertEqual(self.answer(called), expected)
        late = datetime(2022, 8, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
        called = self.client.get_usage(PROJECT, date(2022, 7, 1), late, unique=True)
        self.assertEqual(self.answer(called), {**expected, "unique": True})
        self.assertEqual(
            self.server.questions[1],
            (
                "get_usage",
                {
                    "project": PROJECT,
                    "start": "2022-07-01",
                    "end": "2022-07-31T23:30:00Z",
                    "unique": True,
                },
            ),
        )

    def test_usage_untracked(self) -> None:
        """The answer of the server for an unknown project is passed on."""
        self.start()
        answer = self.answer(self.client.get_usage("a/b", "2022-07-01T00:00:00Z"))
        self.assertIs(answer["success"], False)
        self.assertEqual(answer["hits"], 0)

    def test_bad_arguments(self) -> None:
        """The answer to a bad argument says what is wrong; nothing is sent."""
        self.start()
        client = self.client
        naive = datetime(2022, 1, 1)
        for called, words in [
            (client.add_breadcrumb("", "1"), "project: must have 1 to 140"),
            (client.add_breadcrumb("a/" + "b" * 139, "1"), "not 141"),
            (client.add_breadcrumb(PROJECT, ""), "project_version: must have 1"),
            (client.add_breadcrumb(PROJECT, 1.0), "must be text, not float"),  # type: ignore[arg-type]
            (client.add_breadcrumb(PROJECT, "1", status="X"), "one of R, C, F, S"),
            (client.add_breadcrumb(PROJECT, "1", status=["R"]), "one of R, C"),  # type: ignore[arg-type]
            (client.add_project(PROJECT, "1", user_id="me"), "user_id: must be a UUID"),
            (client.add_project(PROJECT, "1", is_ci="no"), "must be True or False"),
            (client.add_project(PROJECT, "1", arguments="-v"), "unknown field"),
            (client.get_usage(PROJECT, "yesterday"), "start: must be a date"),
            (client.get_usage(PROJECT, "2022-13-01"), "start: must be a date"),
            (client.get_usage(PROJECT, naive), "must have a time zone"),
            (client.get_usage(PROJECT, "2022-01-01", 7), "end: must be a date"),
            (client.get_usage(PROJECT, "2022-01-01", unique="no"), "unique: must be"),  # type: ignore[arg-type]
            (client.check_project(None, "1"), "project: must be text"),  # type: ignore[arg-type]
        ]:
            answer = self.answer(called)
            self.assertEqual(set(answer), {"success", "message"})
            self.assertIs(answer["success"], False)
            self.assertIn(words, answer["message"])
        self.assertEqual(self.server.requests, [])

    def test_bad_client(self) -> None:
        """A client refuses bad parameters, and says what is wrong."""
        for options, words in [
            ({"endpoint": "ftp://x"}, "https://"),
            ({"endpoint": "http://u:p@x"}, "a user name"),
            ({"user_id": "me"}, "user_id: must be a UUID"),
            ({"session_id": "x"}, "session_id: must be a UUID"),
            ({"user_type": "vip"}, "general, dev, ci"),
        ]:
            with self.assertRaises(ValueError) as caught:
                MigasClient(**options)  # type: ignore[arg-type]
            self.assertIn(words, str(caught.exception))
        self.start()


class AnswerTests(InMemory):
    """
    Every kind of reply gives its documented answer.
    """

    def failure(self, status: int, body: bytes, headers: dict[str, str]) -> str:
        self.start()
        self.server.reply = (status, body, headers)
        messages = []
        for called in (
            self.client.add_breadcrumb(PROJECT, "1"),
            self.client.add_project(PROJECT, "1"),
            self.client.check_project(PROJECT, "1"),
            self.client.get_usage(PROJECT, "2022-01-01"),
        ):
            answer = self.answer(called)
            self.assertEqual(set(answer), {"success", "message"})
            self.assertIs(answer["success"], False)
            messages.append(answer["message"])
        self.assertEqual(len(set(messages)), 1, messages)
        return str(messages[0])

    def test_refusals(self) -> None:
        """Error statuses and their bodies become messages."""
        html = {"Content-Type": "text/html", **MIGAS}
        problem = {"type": "missing", "loc": ["body", "x"], "msg": "Field required"}
        for status, body, headers, message in [
            (429, b"", MIGAS, "the server has too many requests; try again later"),
            (413, b"{}", MIGAS, "the request is too large for the server"),
            (
                422,
                json.dumps({"detail": [problem]}).encode(),
                MIGAS,
                "x: Field required",
            ),
            (
                500,
                b"Internal Server Error",
                MIGAS,
                "the server answered with HTTP status 500 and no message",
            ),
            (
                200,
                b"<html>",
                {},
                "no migas server answered (HTTP status 200, without its "
                "X-Backend-Server header)",
            ),
            (
                503,
                b'{"success": true}',
                {"X-Backend-Server": "nginx"},
                "no migas server answered (HTTP status 503, without its "
                "X-Backend-Server header)",
            ),
            (418, b'{"detail": "\xc3\xa9\\n\\u001b[1m"}', MIGAS, "é  [1m"),
            (
                418,
                b"[" * 60_000,
                html,
                "the server answered with HTTP status 418 and no message",
            ),
            (
                400,
                b"7",
                MIGAS,
                "the server answered with HTTP status 400 and no message",
            ),
            (200, b"x" * 70_000, MIGAS, "the reply is too large"),
            (
                301,
                b"",
                {**MIGAS, "Location": "http://e.example/"},
                "the server answered with HTTP status 301 and no message",
            ),
        ]:
            self.assertEqual(self.failure(status, body, headers), message)

    def test_unregistered(self) -> None:
        """The message of a 400 is passed on."""
        self.start()
        self.assertEqual(
            self.answer(self.client.add_breadcrumb("a/b", "1")),
            {"success": False, "message": "Project is not registered."},
        )

    def test_accepted(self) -> None:
        """A 202 is a success, whatever its body is."""
        for body in (b"", b"null", b'{"success": true, "message": ""}'):
            self.start()
            self.server.reply = (202, body, MIGAS)
            self.assertEqual(
                self.answer(self.client.add_breadcrumb(PROJECT, "1")),
                {"success": True, "message": ""},
            )

    def test_html_under_200(self) -> None:
        """An HTML page with status 200 is no success, with or without the header."""
        message = "the server's answer does not say whether it succeeded"
        self.start()
        self.server.reply = (200, b"<html>", MIGAS)
        answer = self.answer(self.client.add_breadcrumb(PROJECT, "1"))
        self.assertEqual(answer, {"success": False, "message": message})
        answer = self.answer(self.client.get_usage(PROJECT, "2022-01-01"))
        self.assertIs(answer["success"], False)

    def test_graphql_error(self) -> None:
        """The message of a GraphQL error with status 200 is passed on."""
        self.start()
        body = {"data": None, "errors": [{"message": "no", "path": ["get_usage"]}]}
        self.server.reply = (200, json.dumps(body).encode(), MIGAS)
        answer = self.answer(self.client.get_usage(PROJECT, "2022-01-01"))
        self.assertEqual(answer, {"success": False, "message": "no"})

    def test_graphql_error_while_running(self) -> None:
        """
        add_project that broke while it ran is not sent by the other way: it may have
        counted.
        """
        self.start(old=True)
        body = {"data": None, "errors": [{"message": "no", "path": ["add_project"]}]}
        self.server.reply = (200, json.dumps(body).encode(), MIGAS)
        answer = self.answer(self.client.add_project(PROJECT, "1"))
        self.assertEqual(answer, {"success": False, "message": "no"})
        self.assertEqual(len(self.server.requests), 1)

    def test_slow(self) -> None:
        """A request without an answer fails after MIGAS_TIMEOUT seconds."""
        for environ, seconds in (({}, 5.0), ({"MIGAS_TIMEOUT": "0.5"}, 0.5)):
            self.start(environ=environ)
            self.server.held = []
            called = self.client.add_breadcrumb(PROJECT, "1")
            self.agent.flush()
            self.clock.advance(seconds - 0.01)
            self.assertNoResult(called)
            self.clock.advance(0.02)
            self.assertEqual(
                self.answer(called),
                {
                    "success": False,
                    "message": f"the server did not answer within {seconds:g} seconds",
                },
            )

    def test_no_time(self) -> None:
        """With MIGAS_TIMEOUT=0 nothing is sent."""
        self.start(environ={"MIGAS_TIMEOUT": "0"})
        answer = self.answer(self.client.add_breadcrumb(PROJECT, "1"))
        self.assertEqual(
            answer["message"], "the server did not answer within 0 seconds"
        )
        self.assertEqual(self.server.requests, [])

    def test_network_failures(self) -> None:
        """Network errors become messages too."""

        @implementer(IAgent)
        class Broken:
            def request(self, *_: Any) -> Deferred[Any]:
                from twisted.internet.defer import fail

                return fail(self.error)

        for error, message in [
            (DNSLookupError("x"), "the server's name was not found"),
            (OSError("no luck"), "the server was not reached: OSError: no luck"),
        ]:
            broken = Broken()
            broken.error = error  # type: ignore[attr-defined]
            self.start(agent=broken)
            answer = self.answer(self.client.add_breadcrumb(PROJECT, "1"))
            self.assertEqual(answer, {"success": False, "message": message})

    def test_failures_let_through(self) -> None:
        """With ignore_errors=False Deferreds fail, with the class of the failure."""
        self.start(ignore_errors=False)
        called = self.client.add_breadcrumb("a/b", "1")
        self.agent.flush()
        error = self.failureResultOf(called, MigasError).value
        self.assertEqual(
            (error.status, str(error)), (400, "Project is not registered.")
        )
        called = self.client.add_breadcrumb("", "1")
        self.assertEqual(
            self.failureResultOf(called, InvalidTelemetry).value.field, "project"
        )
        self.server.held = []
        called = self.client.check_project(PROJECT, "1")
        self.clock.advance(5)
        self.failureResultOf(called, TimeoutError)

    def test_cancelled(self) -> None:
        """A cancelled call fails, also with ignore_errors=True."""
        self.start()
        self.server.held = []
        called = self.client.add_breadcrumb(PROJECT, "1")
        called.cancel()
        self.failureResultOf(called, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closed(self) -> None:
        """After close() the answer to every call is that the client is closed."""
        self.start()
        self.successResultOf(self.client.close())
        answer = self.answer(self.client.add_breadcrumb(PROJECT, "1"))
        self.assertEqual(answer, {"success": False, "message": "the client is closed"})


class DocumentationTests(SynchronousTestCase):
    """
    The documented messages.
    """

    def test_messages(self) -> None:
        """The page about telemetry has the messages that are tested here."""
        page = (ROOT / "docs" / "migas.rst").read_text()
        for message in (
            DISABLED,
            "the server has too many requests; try again later",
            "the request is too large for the server",
            "the server answered with HTTP status 500 and no message",
            "the server did not answer within 5 seconds",
            "the server's name was not found",
            "the server's answer does not say whether it succeeded",
            "the reply is too large",
        ):
            self.assertIn(f"``{message}``", page)


class EncodingTests(SynchronousTestCase):
    """
    Texts are escaped, and requests are small enough.
    """

    def only_field(self, body: bytes) -> dict[str, Any]:
        """
        The arguments of the only field of a GraphQL request.
        """
        document = parse(json.loads(body)["query"])
        [definition] = document.definitions
        assert isinstance(definition, ast.OperationDefinitionNode)
        [field] = definition.selection_set.selections
        assert isinstance(field, ast.FieldNode)
        return {a.name.value: _plain(a.value) for a in field.arguments}

    @given(HOSTILE, HOSTILE)
    @settings(max_examples=150, deadline=None)
    def test_questions(self, project: str, version: str) -> None:
        """A project and a version can be read back from a query unchanged."""
        try:
            body = check_project_request(project, version)
        except InvalidTelemetry:
            self.assertFalse(
                0 < len(project) <= MAX_TEXT["project"] and len(version) > 0
            )
            return
        self.assertLessEqual(len(body), MAX_REQUEST)
        asked = self.only_field(body)
        self.assertEqual(asked["project"], _encodable(project))
        cut = _encodable(version)[: MAX_TEXT["project_version"]]
        self.assertTrue(cut.startswith(asked["project_version"]))
        self.assertEqual(cut[len(asked["project_version"]) :].strip(".+-_"), "")
        usage = self.only_field(usage_request(project, "2022-01-01", None, False))
        self.assertEqual(usage["project"], _encodable(project))

    @given(st.text(max_size=100), HOSTILE)
    @settings(max_examples=100, deadline=None)
    def test_times(self, start: str, end: str) -> None:
        """A time has one of two forms, or is refused."""
        for pair in ((start, "2022-01-01"), ("2022-01-01", end)):
            with self.assertRaises(InvalidTelemetry):
                usage_request(PROJECT, *pair, False)

    @given(
        HOSTILE,
        HOSTILE,
        HOSTILE.map(lambda text: text * 30),
        st.text(max_size=2000),
        st.sampled_from("RCFS"),
    )
    @settings(max_examples=100, deadline=None)
    def test_breadcrumbs(
        self, project: str, version: str, error: str, description: str, status: str
    ) -> None:
        """
        Both forms of a breadcrumb hold the fields and nothing else, in at most 2,500
        bytes, and a server that checks them finds nothing wrong.
        """
        project, version = "a" + project[:139], "1" + version[:47]
        fields = check_fields(
            {
                "project": project,
                "project_version": version,
                "user_id": USER,
                "status": status,
                "error_desc": error,
                "error_type": error[:200],
                "status_desc": description,
            }
        )
        crumb = breadcrumb_request(fields)
        mutation = add_project_request(fields)
        self.assertLessEqual(len(crumb), MAX_REQUEST)
        self.assertLessEqual(len(mutation), MAX_REQUEST)
        body = json.loads(crumb)
        flat = {**body, **body.pop("ctx"), **body.pop("proc")}
        flat.pop("ctx"), flat.pop("proc")
        for sent in (flat, self.only_field(mutation)["p"]):
            self.assertLessEqual(set(sent), set(fields))
            self.assertEqual(sent["project"], _encodable(project))
            self.assertTrue(_encodable(version).startswith(sent["project_version"]))
            self.assertEqual(sent["status"], status)
        server = MigasServer(old=True)
        status_code, _ = server.graphql(json.loads(mutation), False)
        server.breadcrumb(json.loads(crumb), False)
        self.assertEqual((status_code, server.violations), (200, []))

    def test_error_texts_are_cut_first(self) -> None:
        """In a request that is too large, error_desc is cut first, as little as needed."""
        fields = check_fields(
            {
                "project": "a/" + "é" * 138,
                "project_version": "1",
                "status_desc": "s" * 250,
                "error_type": "t" * 200,
                "error_desc": "😀" * 1000,
            }
        )
        body = breadcrumb_request(fields)
        sent = json.loads(body)["proc"]
        self.assertEqual(sent["status_desc"], "s" * 250)
        self.assertEqual(sent["error_type"], "t" * 200)
        self.assertRegex(sent["error_desc"], "^😀+…$")
        self.assertLessEqual(MAX_REQUEST - 4, len(body))
        self.assertLessEqual(len(body), MAX_REQUEST)

    def test_what_is_too_large_anyhow(self) -> None:
        """A request that is too large without descriptions is refused."""
        fields = check_fields(
            {name: "\x01" * MAX_TEXT[name] for name in ("project", "project_version")}
            | {"language": "\x01" * 32, "platform": "\x01" * 64, "error_desc": "x"}
            | {"language_version": "\x01" * 64, "user_id": USER, "session_id": USER}
            | {"status": "F", "container": "apptainer", "is_ci": True}
        )
        with self.assertRaises(InvalidTelemetry) as caught:
            add_project_request(fields)
        self.assertIn("2500 are allowed", str(caught.exception))

    def test_enum_and_nested(self) -> None:
        """Enums have no quotes, booleans are words, objects have braces."""
        self.assertEqual(
            operation(
                "mutation", "f", {"p": {"a": EnumValue("R"), "b": True}, "c": "x"}, "d"
            ),
            'mutation{f(p:{a:R,b:true},c:"x"){d}}',
        )


class ProcessTests(SynchronousTestCase):
    """
    The functions that use the client of the process.
    """

    def setUp(self) -> None:
        def reset(client: Any, problem: str) -> None:
            process._Process.client, process._Process.problem = client, problem

        self.addCleanup(reset, process._Process.client, process._Process.problem)
        reset(None, process._NOT_SET_UP)
        self.patch_environ({"HOME": tempfile.gettempdir()})

    def patch_environ(self, environ: dict[str, str]) -> None:
        import os

        before = dict(os.environ)
        for name in ("MIGAS_OPTOUT", "DO_NOT_TRACK"):
            os.environ.pop(name, None)
        os.environ.update(environ)

        def restore() -> None:
            os.environ.clear()
            os.environ.update(before)

        self.addCleanup(restore)

    def test_before_setup(self) -> None:
        """Before setup() the answer to every call says so, and tracking does nothing."""
        for called in (
            process.add_breadcrumb(PROJECT, "1"),
            process.add_project(PROJECT, "1"),
            process.check_project(PROJECT, "1"),
            process.get_usage(PROJECT, "2022-01-01"),
        ):
            answer = self.successResultOf(called)
            self.assertIs(answer["success"], False)
            self.assertIn("call txstathat.migas.setup() first", answer["message"])
        with process.track(PROJECT, "1"):
            pass

    def test_setup_and_use(self) -> None:
        """After setup() the functions do what the methods of the client do."""
        server = MigasServer()
        agent = RequestTraversalAgent(server.resource)
        process.setup("http://x.example", USER, SESSION, agent=agent, reactor=Clock())
        calls = [
            process.add_breadcrumb(PROJECT, "1", status="C"),
            process.add_project(PROJECT, "1"),
            process.check_project(PROJECT, "1"),
            process.get_usage(PROJECT, "2022-01-01"),
        ]
        for _ in range(5):
            agent.flush()
        for called in calls:
            self.assertIs(self.successResultOf(called)["success"], True)
        self.assertEqual(server.crumbs[0]["session_id"], SESSION)
        self.assertEqual(server.violations, [])

    def test_bad_setup(self) -> None:
        """A bad value raises nothing: the answer to every call says what is wrong."""
        for options, words in [
            ({"endpoint": "gopher://x"}, "must begin with https://"),
            ({"user_id": "me"}, "user_id: must be a UUID"),
            ({"colour": "red"}, "colour"),
        ]:
            process.setup(**options)
            answer = self.successResultOf(process.add_breadcrumb(PROJECT, "1"))
            self.assertIs(answer["success"], False)
            self.assertIn(words, answer["message"])

    def test_opted_out(self) -> None:
        """After opting out, the answer is the same before and after setup()."""
        self.patch_environ({"MIGAS_OPTOUT": ""})
        disabled = {"success": False, "message": "telemetry is disabled"}
        called = process.add_breadcrumb(PROJECT, "1")
        self.assertEqual(self.successResultOf(called), disabled)
        process.setup(ignore_errors=False)
        called = process.add_project(PROJECT, "1")
        self.assertEqual(self.successResultOf(called), disabled)


def _plain(node: Any) -> Any:
    """
    The value of a literal in a GraphQL document.
    """
    if isinstance(node, ast.ObjectValueNode):
        return {field.name.value: _plain(field.value) for field in node.fields}
    assert isinstance(
        node, (ast.StringValueNode, ast.EnumValueNode, ast.BooleanValueNode)
    )
    return node.value


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
