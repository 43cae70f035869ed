"""
Every line of "Coming from migas-py": the new call runs, and does what the page says.

Programs that end are in ``test_migas_tracking``; migas-py itself runs beside in
``test_migas_side_by_side``.
"""

from __future__ import annotations

import inspect
import io
import json
import os
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, ClassVar

from treq.testing import RequestTraversalAgent
from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import TestCase

from tests.fixtures.migas_server import LATEST, PROJECT, MigasServer
from tests.fixtures.migration_pages import EveryLine, read_bullets
from tests.fixtures.support import logged, reactor
from txstathat import migas
from txstathat.errors import MigasError
from txstathat.http.responses import MAX_REPLY
from txstathat.migas import MigasClient
from txstathat.migas.settings import DEFAULT_TIMEOUT
from txstathat.migas.userid import user_id_path

PAGE = "migas-from-migas-py.rst"
USER = "6d8f6d6b-3f0d-4c43-9d3e-0a7b8a1d1a11"
MIGAS = {"X-Backend-Server": "migas@0.9"}


class MigasCase(TestCase):
    """A server in memory, and the functions of the module that use it."""

    def setUp(self) -> None:
        self.server = MigasServer()
        self.agent = RequestTraversalAgent(self.server.resource)
        self.environ: dict[str, str] = {}
        self.reactor = _Reactor()
        self.setup()
        # Nothing of this test is left to the functions of the module.
        self.addCleanup(migas.setup, "nothing is set up")

    def setup(self, endpoint: str = "http://a.example", **options: Any) -> None:
        options = {"user_id": USER, **options}
        migas.setup(
            endpoint,
            agent=self.agent,
            reactor=self.reactor,
            environ=self.environ,
            **options,
        )

    def answer(self, called: Deferred[Any]) -> Any:
        for _ in range(3):
            self.agent.flush()
        return self.successResultOf(called)

    def statuses(self) -> list[tuple[str, str]]:
        self.agent.flush()
        return [(c["status"], c.get("status_desc", "")) for c in self.server.crumbs]


class CallTests(EveryLine, MigasCase):
    """The table."""

    page = PAGE
    heading = "Coming from migas-py"
    lines: ClassVar[dict[str, str]] = {
        "``migas.setup(endpoint=...)``": "test_setup",
        (
            "``setup(filename=..., save_config=...)``, a file in the temporary folder "
            "that child processes read"
        ): "test_no_file",
        "``migas.add_breadcrumb(project, version, ...)``": "test_breadcrumb",
        "``migas.operations.add_project(...)``": "test_add_project",
        "``migas.check_project(...)``, ``migas.get_usage(...)``": "test_queries",
        "``migas.track_exit(project, version, error_funcs, ...)``": "test_track_exit",
        (
            "``error_funcs={'KeyError': function(type, text, traceback)}``"
        ): "test_handlers",
        "``migas.track(project, version)`` alone (development version)": "test_alone",
        "``track(..., init_ping=False)`` (development version)": "test_init_ping",
        "``track(..., signals=...)`` (development version)": "test_signals",
        (
            "``track(..., error_handlers='nipype')``, a preset (development version)"
        ): "test_preset",
        "``user_type='general'``, ``'dev'`` or ``'ci'``": "test_user_type",
        (
            "``Completed``, ``Errored``, ``Suspended``, ``Started``: the texts of a "
            "status"
        ): "test_words",
        "``migas.print_config()``": "test_print_config",
        "blocks until the server answers": "test_no_blocking",
    }

    def test_setup(self) -> None:
        """The endpoint may end in /graphql or not."""
        self.assertIn("``/graphql`` or not", self.right())
        for endpoint in ("http://a.example", "http://a.example/graphql"):
            self.setup(endpoint)
            answer = self.answer(migas.add_breadcrumb(PROJECT, "1"))
            self.assertIs(answer["success"], True)

    def test_no_file(self) -> None:
        """No settings are in files."""
        self.assertIn("no settings are shared in files", self.right())
        before = set(os.listdir(tempfile.gettempdir()))
        self.setup()
        self.answer(migas.add_breadcrumb(PROJECT, "1"))
        self.assertEqual(
            [
                n
                for n in os.listdir(tempfile.gettempdir())
                if "migas" in n and n not in before
            ],
            [],
        )

    def test_breadcrumb(self) -> None:
        """A breadcrumb; wait= waits until it is stored."""
        self.assertEqual(self.code(), "wait=")
        answer = self.answer(migas.add_breadcrumb(PROJECT, "1", wait=True))
        self.assertEqual(answer, {"success": True, "message": ""})
        self.assertEqual(self.server.requests[0][1], "/api/breadcrumb?wait=true")

    def test_add_project(self) -> None:
        """add_project works with servers without this operation, too."""
        self.assertIn("servers without this operation", self.right())
        answer = self.answer(migas.add_project(PROJECT, "0.0.2"))
        self.assertEqual(answer["latest_version"], LATEST)

    def test_queries(self) -> None:
        """Times can be texts, dates and aware datetimes."""
        self.assertIn("aware datetimes", self.right())
        self.assertIs(self.answer(migas.check_project(PROJECT, "1"))["success"], True)
        for start in ("2022-07-01", date(2022, 7, 1), datetime(2022, 7, 1, tzinfo=UTC)):
            self.assertEqual(self.answer(migas.get_usage(PROJECT, start))["hits"], 7)

    def test_track_exit(self) -> None:
        """Both functions are there, and track() has all four forms."""
        self.assertIn("alone, as a decorator, a context manager", self.right())
        parameters = list(inspect.signature(migas.track_exit).parameters)
        self.assertEqual(parameters[:3], ["project", "version", "error_funcs"])
        with migas.track(PROJECT, "1"):
            pass
        migas.track(PROJECT, "1")(lambda: None)()
        service = migas.track(PROJECT, "1")
        self.assertTrue(IService.providedBy(service))
        service.setServiceParent(MultiService())
        self.assertEqual([status for status, _ in self.statuses()], ["R", "C"] * 2)

    def test_handlers(self) -> None:
        """A handler is for a class and its subclasses, and gets the exception."""
        self.assertIn("error_handlers={KeyError: function(error)}", self.right())

        class OurKeyError(KeyError):
            pass

        handlers = {KeyError: lambda error: {"status_desc": f"no {error.args[0]}"}}
        with self.assertRaises(OurKeyError), migas.track(PROJECT, "1", handlers):
            raise OurKeyError("key")
        self.assertEqual(self.statuses()[-1], ("F", "no key"))

    @inlineCallbacks
    def test_alone(self) -> Any:
        """A call alone sends one breadcrumb at the beginning, and one at the end."""
        self.assertIn("one breadcrumb at the beginning", self.right())
        tracker = migas.track(PROJECT, "1")
        yield deferLater(reactor, 0)
        self.assertEqual(self.statuses(), [("R", "Started")])
        self.reactor.stop_running()
        self.assertEqual(self.statuses()[1:], [("C", "Completed")])
        # So that it does not report the end of the tests.
        tracker.setServiceParent(MultiService())
        tracker.startService()

    def test_init_ping(self) -> None:
        """The first breadcrumb can be left out."""
        self.assertEqual(self.right(), "the same")
        with migas.track(PROJECT, "1", init_ping=False):
            pass
        self.assertEqual(self.statuses(), [("C", "Completed")])

    def test_signals(self) -> None:
        """There is no parameter for signals, and no handler is replaced."""
        self.assertIn("no signal handler is replaced", self.right())
        import signal

        before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
        with migas.track(PROJECT, "1"):
            during = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
            self.reactor._exitSignal = signal.SIGTERM
        self.assertEqual(before, during)
        self.assertEqual(self.statuses()[-1], ("S", "Suspended"))
        self.assertNotIn("signals", inspect.signature(migas.track).parameters)

    def test_preset(self) -> None:
        """A preset is logged and ignored."""
        self.assertIn("logged and ignored", self.right())
        preset: Any = "nipype"
        with logged() as log, migas.track(PROJECT, "1", error_handlers=preset):
            pass
        self.assertIn("'nipype'", log.text)
        self.assertEqual(self.statuses()[-1], ("C", "Completed"))

    def test_user_type(self) -> None:
        """The three kinds of users are sent as they are."""
        self.assertEqual(self.right(), "the same")
        for kind in ("general", "dev", "ci"):
            self.answer(migas.add_breadcrumb(PROJECT, "1", user_type=kind))
            self.assertEqual(self.server.crumbs[-1]["user_type"], kind)
        self.assertEqual(self.server.violations, [])

    def test_words(self) -> None:
        """The texts of a status are migas-py's."""
        self.assertEqual(self.right(), "the same")
        for error in (None, KeyError("k"), KeyboardInterrupt()):
            error = error or SystemExit(0)
            with self.assertRaises(type(error)), migas.track(PROJECT, "1"):
                raise error
        words = {words for _, words in self.statuses()}
        self.assertEqual(words, {"Started", "Completed", "Errored", "Suspended"})

    def test_print_config(self) -> None:
        """It prints the purpose of each field."""
        self.assertIn("purpose of each field", self.right())
        out = io.StringIO()
        migas.print_config(out)
        self.assertRegex(out.getvalue(), "is_ci: (True|False) - to ")

    def test_no_blocking(self) -> None:
        """A call returns before the server answers."""
        self.assertIn("never blocks", self.right())
        self.server.held = []
        self.assertNoResult(migas.add_breadcrumb(PROJECT, "1"))


class DifferenceTests(MigasCase):
    """The lists below the table."""

    #: The tests, by how the items begin.
    items: ClassVar[dict[str, str]] = {
        "A breadcrumb goes to ``/api/breadcrumb``": "test_breadcrumb",
        "A breadcrumb for a project that is not registered": "test_unregistered",
        "A failure is always": "test_failures",
        "A version is cut to 24 characters, and a language to 32": "test_cut",
        "``check_project`` sends the project": "test_check_project",
        "An unknown field (``arguments=``)": "test_unknown_field",
        "A bad ``user_id`` in ``setup`` is an error": "test_bad_user_id",
        "``MIGAS_OPTOUT`` also opts out when it is empty": "test_opt_out",
        "``MIGAS_TIMEOUT`` is 5 seconds": "test_timeout",
        "Answers without ``X-Backend-Server`` are failures": "test_other_server",
        "File paths are redacted in every error text": "test_paths",
        "The user id is random and stored in a file": "test_user_id",
        "Tracking the same project and version again": "test_one_run",
    }

    def item(self) -> str:
        """The item of a list that the running test is about."""
        method = self.id().rpartition(".")[2]
        (words,) = [words for words, name in self.items.items() if name == method]
        (item,) = [item for item in read_bullets(PAGE) if item.startswith(words)]
        return item

    def test_every_item(self) -> None:
        """Each item of the lists has a test, and each test has its item."""
        found = read_bullets(PAGE)
        self.assertEqual(len(found), len(self.items))
        for item in found:
            self.assertEqual(sum(map(item.startswith, self.items)), 1, item)

    def test_breadcrumb(self) -> None:
        """A breadcrumb goes to /api/breadcrumb, and its answer has a message."""
        self.item()
        answer = self.answer(migas.add_breadcrumb(PROJECT, "1"))
        self.assertEqual(answer, {"success": True, "message": ""})
        self.assertEqual(self.server.requests[0][1], "/api/breadcrumb")

    def test_unregistered(self) -> None:
        """An unknown project has the message of the server."""
        self.item()
        answer = self.answer(migas.add_breadcrumb("no/such", "1"))
        self.assertEqual(
            answer, {"success": False, "message": "Project is not registered."}
        )

    def test_failures(self) -> None:
        """A failure has a message; that of add_project has latest_version."""
        self.item()
        answer = self.answer(migas.add_project("no/such", "1"))
        self.assertIs(answer["success"], False)
        self.assertIn("latest_version", answer)
        self.environ["MIGAS_OPTOUT"] = "1"
        answer = self.answer(migas.add_breadcrumb(PROJECT, "1"))
        self.assertEqual(sorted(answer), ["message", "success"])

    def test_cut(self) -> None:
        """A version has 24 characters at most, and a language 32."""
        self.item()
        self.answer(migas.add_breadcrumb(PROJECT, "1" * 48, language="x" * 40))
        (crumb,) = self.server.crumbs
        self.assertEqual(
            (crumb["project_version"], crumb["language"]), ("1" * 24, "x" * 32)
        )

    def test_check_project(self) -> None:
        """check_project sends the project and the version only."""
        self.item()
        self.answer(migas.check_project(PROJECT, "1"))
        self.assertEqual(
            self.server.questions,
            [("check_project", {"project": PROJECT, "project_version": "1"})],
        )

    def test_unknown_field(self) -> None:
        """What the server would drop or refuse is a failure with a message."""
        self.item()
        for fields in ({"arguments": "-v"}, {"status": "X"}):
            answer = self.answer(migas.add_breadcrumb(PROJECT, "1", **fields))
            self.assertIs(answer["success"], False)
            self.assertIn(next(iter(fields)), answer["message"])
        self.assertEqual(self.server.requests, [])

    def test_bad_user_id(self) -> None:
        """A bad user id is an error."""
        self.item()
        self.setup(user_id="me")
        answer = self.answer(migas.add_breadcrumb(PROJECT, "1"))
        self.assertIn("user_id: must be a UUID", answer["message"])

    def test_opt_out(self) -> None:
        """Two variables opt out, one of them also when it is empty."""
        self.item()
        for name, value in (("MIGAS_OPTOUT", ""), ("DO_NOT_TRACK", "1")):
            self.environ.clear()
            self.environ[name] = value
            answer = self.answer(migas.add_breadcrumb(PROJECT, "1"))
            self.assertEqual(answer["message"], "telemetry is disabled")

    def test_timeout(self) -> None:
        """MIGAS_TIMEOUT is 5 seconds, over the whole exchange."""
        item = self.item()
        self.assertIn(f"is {DEFAULT_TIMEOUT:g} seconds", item)
        self.server.held = []
        called = migas.add_breadcrumb(PROJECT, "1")
        self.reactor.advance(4.9)
        self.assertNoResult(called)
        self.reactor.advance(0.2)
        self.assertIn("within 5 seconds", self.successResultOf(called)["message"])

    def test_other_server(self) -> None:
        """An answer that is not a migas server's is a failure; so is a huge one."""
        item = self.item()
        self.assertIn("at most 64 KiB", item)
        self.assertEqual(MAX_REPLY, 64 * 1024)
        body = json.dumps({"success": True}).encode()
        for reply in ((200, body, {}), (200, body + b" " * MAX_REPLY, MIGAS)):
            self.server.reply = reply
            answer = self.answer(migas.add_breadcrumb(PROJECT, "1"))
            self.assertIs(answer["success"], False)

    def test_paths(self) -> None:
        """No error text has a file path."""
        self.item()
        with self.assertRaises(ValueError), migas.track(PROJECT, "1"):
            raise ValueError("bad /home/jane/scan.nii")
        self.statuses()
        self.assertEqual(self.server.crumbs[-1]["error_desc"], "bad <redacted>")

    def test_user_id(self) -> None:
        """The user id is random, and stored in a file."""
        self.item()
        ids = []
        for _ in range(2):
            self.environ["HOME"] = str(Path(self.mktemp()).absolute())
            for _ in range(2):
                client = MigasClient(
                    "http://a.example",
                    agent=self.agent,
                    reactor=Clock(),
                    environ=self.environ,
                )
                self.answer(client.add_breadcrumb(PROJECT, "1"))
                ids.append(self.server.crumbs[-1]["user_id"])
            path = user_id_path(client.settings)
            assert path is not None
            self.assertEqual(Path(path).read_text().strip(), ids[-1])
        self.assertEqual((ids[0] == ids[1], ids[1] == ids[2]), (True, False))

    def test_one_run(self) -> None:
        """The same project and version within a run is the same run."""
        self.item()
        with migas.track(PROJECT, "1"), migas.track(PROJECT, "1"):
            pass
        self.assertEqual([status for status, _ in self.statuses()], ["R", "C"])

    def test_ignore_errors(self) -> None:
        """With ignore_errors=False a refused add_project fails, as a breadcrumb does."""
        self.setup(ignore_errors=False)
        for function in (migas.add_project, migas.add_breadcrumb):
            called = function("no/such", "1")
            for _ in range(3):
                self.agent.flush()
            self.failureResultOf(called, MigasError)


class _Reactor(MemoryReactorClock):  # type: ignore[misc]
    """A reactor in memory that runs, and can stop."""

    _exitSignal: int | None = None

    def __init__(self) -> None:
        super().__init__()
        self.running = True
        self.before_shutdown: list[Any] = []

    def addSystemEventTrigger(self, phase: str, event: str, function: Any) -> Any:
        self.before_shutdown.append(function)
        return function

    def removeSystemEventTrigger(self, trigger: Any) -> None:
        self.before_shutdown.remove(trigger)

    def callWhenRunning(self, function: Any) -> None:
        function()

    def stop_running(self) -> None:
        triggers, self.before_shutdown = self.before_shutdown, []
        for function in triggers:
            function()
