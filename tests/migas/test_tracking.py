"""
Tracking: a breadcrumb when a run begins, and one when it ends.
"""

from __future__ import annotations

import gc
import signal
import sys
import time
from pathlib import Path
from typing import Any

from treq.testing import RequestTraversalAgent
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.fixtures import ROOT
from tests.fixtures.delivery import slack
from tests.fixtures.migas_server import PROJECT, MigasServer
from tests.fixtures.python_programs import PythonReactor
from tests.fixtures.support import Authority, logged, reactor
from txstathat.migas import MigasClient

USER = "6d8f6d6b-3f0d-4c43-9d3e-0a7b8a1d1a11"

#: What every child begins with.
_HEAD = """
import os, signal, sys
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react
from txstathat import migas
migas.setup(os.environ["ENDPOINT"], "6d8f6d6b-3f0d-4c43-9d3e-0a7b8a1d1a11")
track = migas.track("owner/repo", "1")
def ready():
    print("ready", flush=True)
"""

_REACT = """
@track
async def main(reactor):
    await deferLater(reactor, 0.05, ready)
    {}
react(main)
"""

_AROUND = """
with track:
    reactor.callLater(0.05, ready)
    {}
    reactor.run()
    {}
"""

_SERVICE = """
from twisted.application import app, service
application = service.Application("tracked")
track.setServiceParent(application)
app.startApplication(application, False)
reactor.callLater(0.05, ready)
{}
reactor.run()
"""

_SCRIPT = """
with track:
    ready()
    {}
"""

# What the program does, its status, and its exit status.
_ENDS = {
    "react, normal end": (_REACT.format("pass"), "RC", 0),
    "react, exception": (_REACT.format("raise KeyError('/home/jane/x')"), "RF", 1),
    "react, sys.exit(0)": (_REACT.format("sys.exit(0)"), "RC", 0),
    "react, sys.exit(3)": (_REACT.format("sys.exit(3)"), "RF", 3),
    "react, reactor.stop()": (
        _REACT.format("reactor.stop(); await Deferred()"),
        "RC",
        0,
    ),
    "around, normal end": (
        _AROUND.format("reactor.callLater(.1, reactor.stop)", ""),
        "RC",
        0,
    ),
    "around, exception": (
        _AROUND.format("reactor.callLater(.1, reactor.stop)", "1 / 0"),
        "RF",
        1,
    ),
    "around, sys.exit(0)": (
        _AROUND.format("reactor.callLater(.1, reactor.stop)", "sys.exit(0)"),
        "RC",
        0,
    ),
    "around, sys.exit(3)": (
        _AROUND.format("reactor.callLater(.1, reactor.stop)", "sys.exit(3)"),
        "RF",
        3,
    ),
    "service, reactor.stop()": (
        _SERVICE.format("reactor.callLater(.1, reactor.stop)"),
        "RC",
        0,
    ),
    "script, normal end": (_SCRIPT.format("pass"), "C", 0),
    "script, exception": (_SCRIPT.format("raise KeyError('x')"), "F", 1),
    "script, sys.exit(3)": (_SCRIPT.format("sys.exit(3)"), "F", 3),
    "script, own SIGINT": (
        _SCRIPT.format("os.kill(os.getpid(), signal.SIGINT)"),
        "S",
        None,
    ),
    "nested": (
        _SCRIPT.format("track(lambda: 1)(); migas.track('owner/repo', '1')(len)([])"),
        "C",
        0,
    ),
}

# What begins a program that only calls track().
_ALONE = """
import os, signal, sys
from txstathat import migas
migas.setup(os.environ["ENDPOINT"], "6d8f6d6b-3f0d-4c43-9d3e-0a7b8a1d1a11")
migas.track("owner/repo", "1")
migas.track("owner/repo", "1")
def ready():
    print("ready", flush=True)
"""
_ALONE_RUNNING = """
from twisted.internet import reactor
migas.track("owner/repo", "2")
reactor.callLater(0.05, ready)
{}
reactor.run()
"""

# The same for programs that only call track(), or track_exit().
_ENDS_ALONE = {
    "normal end": ("ready()", "C", 0),
    "exception": ("ready(); raise KeyError('/home/jane/x')", "F", 1),
    "SIGINT": ("os.kill(os.getpid(), signal.SIGINT)", "S", None),
    "debugger left": ("import bdb; raise bdb.BdbQuit", "S", 1),
    "used after all": ("with migas.track('owner/repo', '1'): pass", "CC", 0),
    "track_exit": ("migas.track_exit('owner/repo', '2')", "CC", 0),
    "opted out": ("os.environ['MIGAS_OPTOUT'] = ''", "", 0),
    "reactor": (
        _ALONE_RUNNING.format("reactor.callLater(.1, reactor.stop)"),
        "RCC",
        0,
    ),
    "reactor, SIGTERM": (
        _ALONE_RUNNING.format(
            "reactor.callLater(.1, os.kill, os.getpid(), signal.SIGTERM)"
        ),
        "RSS",
        0,
    ),
    "reactor, no first breadcrumb": (
        _ALONE_RUNNING.format("reactor.callLater(.1, reactor.stop)").replace(
            '"2")', '"2", init_ping=False)'
        ),
        "CC",
        0,
    ),
}

# Programs that wait for a signal.
_WAITING = {
    "react": _REACT.format("await Deferred()"),
    "around": _AROUND.format("", ""),
    "around, then sys.exit(3)": _AROUND.format("", "sys.exit(3)"),
    "service": _SERVICE.format(""),
}


class Child(ProcessProtocol):
    """
    A tracked program in a process of its own.
    """

    def __init__(
        self, script: str, endpoint: str, home: str, head: str = _HEAD, **environ: str
    ) -> None:
        self.ready: Deferred[None] = Deferred()
        self.ended: Deferred[int | None] = Deferred()
        self.errors = b""
        self.process: Any = PythonReactor.spawnProcess(
            self,
            sys.executable,
            [sys.executable, "-c", head + script],
            env={
                "HOME": home,
                "PYTHONPATH": str(ROOT),
                "ENDPOINT": endpoint,
                **environ,
            },
        )

    def outReceived(self, data: bytes) -> None:
        if not self.ready.called:
            self.ready.callback(None)

    def errReceived(self, data: bytes) -> None:
        self.errors += data

    def processEnded(self, reason: Any) -> None:
        if not self.ready.called:
            self.ready.callback(None)
        status = reason.value
        signalled = isinstance(status, ProcessTerminated) and status.signal
        self.ended.callback(None if signalled else status.exitCode)

    def kill(self, number: int) -> None:
        self.process.signalProcess(number)

    def clean_up(self) -> Deferred[Any] | None:
        if self.ended.called:
            return None
        self.kill(signal.SIGKILL)
        return self.ended


class ChildTests(TestCase):
    """
    Real programs that end in every way, against a server on the loopback interface.
    """

    timeout = 600

    def setUp(self) -> None:
        self.server = MigasServer()
        port = reactor.listenTCP(0, self.server.site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.endpoint = f"http://127.0.0.1:{port.getHost().port}"
        home = Path(self.mktemp()).absolute()
        home.mkdir()
        self.home = str(home)

    def start(self, script: str, **environ: str) -> Child:
        child = Child(script, self.endpoint, self.home, **environ)
        self.addCleanup(child.clean_up)
        return child

    def statuses(self) -> str:
        self.assertEqual(self.server.violations, [])
        found = "".join(crumb["status"] for crumb in self.server.crumbs)
        self.server.crumbs.clear()
        return found

    @inlineCallbacks
    def test_ends(self) -> Any:
        """
        Exactly one last breadcrumb with the right status, whichever way a program
        ends by itself, and the exit status that it would have had anyhow.
        """
        for name, (script, expected, code) in _ENDS.items():
            child = self.start(script)
            exit_code = yield child.ended
            self.assertEqual(self.statuses(), expected, (name, child.errors))
            self.assertEqual(exit_code, code, (name, child.errors))
            self.assertNotIn(b"Unhandled", child.errors, name)

    @inlineCallbacks
    def test_ends_alone(self) -> Any:
        """
        A call of track() alone reports how the process ends: when the reactor stops,
        or without one when Python exits. Several calls report it once.
        """
        for name, (script, expected, code) in _ENDS_ALONE.items():
            child = self.start(script, head=_ALONE)
            exit_code = yield child.ended
            found = sorted(crumb["status"] for crumb in self.server.crumbs)
            self.assertEqual("".join(sorted(expected)), "".join(found), name)
            self.assertEqual(exit_code, code, (name, child.errors))
            self.statuses()

    @inlineCallbacks
    def test_functions_of_migas_py(self) -> Any:
        """track_exit() takes migas-py's functions, by the names of exceptions."""
        child = self.start(
            "def lost(kind, text, traceback):\n"
            "    return {'status': 'S', 'status_desc': f'{kind.__name__} {text}'}\n"
            "migas.track_exit('owner/repo', '2', {'KeyError': lost})\n"
            "raise KeyError('k')"
        )
        yield child.ended
        # The track() in the head of the program, which it does not use, reports too.
        described = {c["project_version"]: c["status_desc"] for c in self.server.crumbs}
        self.assertEqual(described, {"1": "Errored", "2": "KeyError k"})

    @inlineCallbacks
    def test_signals(self) -> Any:
        """SIGTERM and SIGINT end a run with one S, also when they come twice."""
        for name, script in _WAITING.items():
            for number, times in ((signal.SIGTERM, 1), (signal.SIGINT, 2)):
                child = self.start(script)
                yield child.ready
                for _ in range(times):
                    child.kill(number)
                yield child.ended
                self.assertEqual(self.statuses(), "RS", (name, number, child.errors))

    @inlineCallbacks
    def test_second_signal_while_it_is_sent(self) -> Any:
        """A second signal while the last breadcrumb is sent changes nothing."""
        child = self.start(_WAITING["react"])
        yield child.ready
        # The program does not wait for the answer to its first breadcrumb.
        while not self.server.crumbs:
            yield _soon(0.02)
        self.server.held = held = []
        child.kill(signal.SIGTERM)
        while not held:
            yield _soon(0.02)
        child.kill(signal.SIGTERM)
        yield _soon(0.1)
        self.server.held = None
        self.assertEqual(len(held), 1)
        body = held[0].content.getvalue()
        self.assertIn(b'"status":"S"', body)
        held[0].setHeader("X-Backend-Server", "migas@0")
        held[0].setResponseCode(202)
        held[0].finish()
        yield child.ended
        self.assertEqual(self.statuses(), "R")
        self.assertEqual(len(self.server.requests), 2)

    @inlineCallbacks
    def test_exit_within_the_limit(self) -> Any:
        """A server that does not answer delays the exit at most by the time limit."""
        limit = 1.0
        for name, script, number in [
            ("react", _WAITING["react"], signal.SIGTERM),
            ("around", _AROUND.format("", "sys.exit(3)"), signal.SIGINT),
            ("react, normal end", _REACT.format("pass"), None),
            ("script", _SCRIPT.format("pass"), None),
        ]:
            self.server.held = []
            child = self.start(script, MIGAS_TIMEOUT=str(limit))
            yield child.ready
            if number is not None:
                child.kill(number)
            before = time.monotonic()
            yield child.ended
            took = time.monotonic() - before
            # The rest is Python's own end.
            self.assertLess(took, limit + slack(0.5), (name, child.errors))
            self.assertEqual(self.server.crumbs, [])

    @inlineCallbacks
    def test_no_server(self) -> Any:
        """Without a server a program ends as usual, at once and without output."""
        self.endpoint = "http://127.0.0.1:9"
        for script, code in [
            (_REACT.format("sys.exit(3)"), 3),
            (_SCRIPT.format("sys.exit(3)"), 3),
        ]:
            child = self.start(script)
            exit_code = yield child.ended
            self.assertEqual((exit_code, child.errors), (code, b""))

    @inlineCallbacks
    def test_tls(self) -> Any:
        """Both ways of sending verify the certificate of the server."""
        authority = Authority()
        port = reactor.listenSSL(
            0,
            self.server.site,
            authority.server_options("localhost"),
            interface="127.0.0.1",
        )
        self.addCleanup(port.stopListening)
        self.endpoint = f"https://localhost:{port.getHost().port}"
        roots = Path(self.home) / "roots.pem"
        roots.write_bytes(authority.pem)
        for script, expected in ((_REACT, "RC"), (_SCRIPT, "C")):
            for environ, statuses in (
                ({}, ""),
                ({"SSL_CERT_FILE": str(roots)}, expected),
            ):
                child = self.start(script.format("pass"), **environ)
                yield child.ended
                self.assertEqual(self.statuses(), statuses, child.errors)
                self.assertEqual(child.errors, b"")

    @inlineCallbacks
    def test_last_words(self) -> Any:
        """The text of an exception in the last breadcrumb has no path."""
        child = self.start(
            _SCRIPT.format("raise LookupError('no /home/jane/x.nii' + 'y' * 5000)")
        )
        yield child.ended
        [crumb] = self.server.crumbs
        self.assertEqual(crumb["error_type"], "LookupError")
        self.assertTrue(crumb["error_desc"].startswith("no <redacted>"))
        self.assertLessEqual(len(crumb["error_desc"]), 1000)
        self.assertEqual(crumb["user_id"], USER)

    @inlineCallbacks
    def test_in_the_current_folder(self) -> Any:
        """The process that sends the last breadcrumb imports nothing from its folder."""
        trap = Path(self.home) / "twisted.py"
        trap.write_text("open('sprung', 'w')")
        script = f"os.chdir({self.home!r})\n" + _SCRIPT.format("pass")
        child = self.start(script)
        yield child.ended
        self.assertEqual(self.statuses(), "C")
        self.assertFalse((Path(self.home) / "sprung").exists())


class RunTests(SynchronousTestCase):
    """
    Tracking while a reactor runs, in memory.
    """

    def setUp(self) -> None:
        self.server = MigasServer()
        self.agent = RequestTraversalAgent(self.server.resource)
        self.reactor = _Reactor()
        self.environ: dict[str, str] = {}
        self.client = MigasClient(
            "http://a.example",
            user_id=USER,
            agent=self.agent,
            reactor=self.reactor,
            environ=self.environ,
        )

    def statuses(self) -> str:
        self.agent.flush()
        self.assertEqual(self.server.violations, [])
        return "".join(crumb["status"] for crumb in self.server.crumbs)

    def hold(self) -> None:
        """
        Stop answering requests.
        """
        self.agent.flush()
        self.server.held = []

    def release(self) -> None:
        """
        Answer the request that waits.
        """
        self.agent.flush()
        assert self.server.held is not None
        [request] = self.server.held
        self.server.held = None
        self.held = request.content.getvalue().decode()
        request.setResponseCode(202)
        request.setHeader("X-Backend-Server", "migas@0")
        request.finish()
        self.agent.flush()
        self.reactor.advance(0)

    def nothing_left(self) -> None:
        self.assertEqual(len(self.client.runs), 0)
        self.assertEqual(self.reactor.waiting, [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_plain_function(self) -> None:
        """A plain function is tracked from its call to its return."""

        @self.client.track(PROJECT, "1", session_id=USER)
        def double(number: int) -> int:
            """Double."""
            return 2 * number

        self.assertEqual(double(4), 8)
        self.assertEqual(double.__doc__, "Double.")
        self.assertEqual(self.statuses(), "RC")
        self.assertEqual(self.server.crumbs[1]["session_id"], USER)
        self.nothing_left()
        double(5)
        self.assertEqual(self.statuses(), "RCRC")

    def test_exception(self) -> None:
        """An exception passes through, and is in the last breadcrumb."""

        @self.client.track(PROJECT, "1")
        def fail() -> None:
            raise KeyError("/home/jane")

        self.assertRaises(KeyError, fail)
        self.assertEqual(self.statuses(), "RF")
        self.assertEqual(self.server.crumbs[1]["error_type"], "KeyError")
        self.assertEqual(self.server.crumbs[1]["error_desc"], "'<redacted>'")
        self.nothing_left()

    def test_deferred(self) -> None:
        """A function that returns a Deferred is tracked until the Deferred fires."""
        for outcome, status in ((7, "C"), (ValueError("x"), "F")):
            self.server.crumbs.clear()
            waiting: Deferred[Any] = Deferred()
            tracked = self.client.track(PROJECT, "1")(lambda d: d)
            result = tracked(waiting)
            self.assertEqual(self.statuses(), "R")
            if isinstance(outcome, Exception):
                waiting.errback(outcome)
                self.failureResultOf(result, ValueError)
            else:
                waiting.callback(outcome)
                self.assertEqual(self.successResultOf(result), 7)
            self.assertEqual(self.statuses(), "R" + status)
            self.nothing_left()

    def test_coroutine(self) -> None:
        """A coroutine function is tracked from its first step to its end."""
        waiting: Deferred[int] = Deferred()

        @self.client.track(PROJECT, "1")
        async def wait() -> int:
            return await waiting

        coroutine = wait()
        self.assertEqual(self.statuses(), "")
        result = Deferred.fromCoroutine(coroutine)
        self.assertEqual(self.statuses(), "R")
        waiting.callback(3)
        self.assertEqual(self.successResultOf(result), 3)
        self.assertEqual(self.statuses(), "RC")
        self.nothing_left()

    def test_nested(self) -> None:
        """Nested and overlapping uses of one version are one run; two versions are two."""
        track = self.client.track(PROJECT, "1")
        with track, self.client.track(PROJECT, "1"):
            with track:
                pass
            self.assertEqual(self.statuses(), "R")
            with self.client.track(PROJECT, "2"):
                pass
            self.assertEqual(self.statuses(), "RRC")
        self.assertEqual(self.statuses(), "RRCC")
        self.nothing_left()

    def test_exits(self) -> None:
        """Exits and interrupts have the documented status."""
        for error, status in [
            (SystemExit(), "C"),
            (SystemExit(0), "C"),
            (SystemExit(3), "F"),
            (SystemExit("usage: ..."), "F"),
            (KeyboardInterrupt(), "S"),
        ]:
            self.server.crumbs.clear()
            with self.assertRaises(type(error)), self.client.track(PROJECT, "1"):
                raise error
            self.assertEqual(self.statuses(), "R" + status)

    def test_abandoned(self) -> None:
        """A coroutine that is collected as garbage ends its run with the reactor."""

        @self.client.track(PROJECT, "1")
        async def wait_for_ever() -> None:
            await Deferred()

        result = Deferred.fromCoroutine(wait_for_ever())
        self.assertEqual(self.statuses(), "R")
        del result
        gc.collect()
        self.assertEqual(self.statuses(), "R")
        self.reactor.stopping()
        self.assertEqual(self.statuses(), "RC")

    def test_error_handlers(self) -> None:
        """The error handler of the most specific class sets fields, and only known ones."""
        handlers = {
            LookupError: lambda error: {"status_desc": "lookup"},
            KeyError: lambda error: {
                "status": "S",
                "error_desc": f"key {error} in /a/b",
                "project": "evil/repo",
            },
        }
        for error, expected in [
            (KeyError("k"), ("S", "Errored", "KeyError", "key 'k' in <redacted>")),
            (IndexError("i"), ("F", "lookup", "IndexError", "i")),
            (ValueError("v"), ("F", "Errored", "ValueError", "v")),
        ]:
            self.server.crumbs.clear()
            with (
                self.assertRaises(type(error)),
                self.client.track(PROJECT, "1", handlers),
            ):
                raise error
            self.assertEqual(self.statuses()[0], "R")
            last = self.server.crumbs[1]
            names = ("status", "status_desc", "error_type", "error_desc")
            self.assertEqual(tuple(last[name] for name in names), expected)

    def test_broken_error_handlers(self) -> None:
        """An error handler that fails or sets bad fields is logged and ignored."""
        for handler in (
            lambda error: 1 / 0,
            lambda error: {"status": "X"},
            lambda error: None,
        ):
            self.server.crumbs.clear()
            with logged() as log, self.assertRaises(KeyError):
                with self.client.track(PROJECT, "1", {KeyError: handler}):
                    raise KeyError
                self.fail("unreachable")
            self.assertEqual(self.statuses(), "RF")
            [warning] = log.at_level("warn")
            self.assertIn("the error handler of KeyError failed", warning)

    def test_reactor_stops(self) -> None:
        """A run that the reactor stops ends once, and the reactor waits for it."""
        for number, status in ((None, "C"), (signal.SIGTERM, "S")):
            self.setUp()
            with self.client.track(PROJECT, "1"):
                self.hold()
                self.reactor._exitSignal = number
                [waited] = self.reactor.stopping()
                self.assertNoResult(waited)
                self.release()
                self.successResultOf(waited)
                self.assertIn(f'"status":"{status}"', self.held)
            self.assertEqual(self.statuses(), "R")

    def test_last_breadcrumb_under_way(self) -> None:
        """A stopping reactor waits for a last breadcrumb that is being sent."""
        with self.client.track(PROJECT, "1"):
            self.hold()
        # Of the run, and of the request that is in progress.
        waited = self.reactor.stopping()
        self.assertEqual(len(waited), 2)
        for each in waited:
            self.assertNoResult(each)
        self.release()
        for each in waited:
            self.successResultOf(each)
        self.assertIn('"status":"C"', self.held)

    def test_service(self) -> None:
        """A service is tracked from its start to its stop."""
        parent = MultiService()
        self.client.track(PROJECT, "1").setServiceParent(parent)
        parent.startService()
        self.assertEqual(self.statuses(), "R")
        self.hold()
        stopped = parent.stopService()
        self.assertNoResult(stopped)
        self.release()
        self.successResultOf(stopped)
        self.assertIn('"status":"C"', self.held)
        self.nothing_left()

    def test_service_before_the_reactor(self) -> None:
        """A service that starts before the reactor is reported when the reactor starts."""
        self.reactor.running = False
        service = self.client.track(PROJECT, "1")
        service.startService()
        self.assertEqual(self.statuses(), "")
        self.reactor.start()
        self.assertEqual(self.statuses(), "R")
        self.reactor.stopping()
        self.assertEqual(self.statuses(), "RC")
        service.stopService()
        self.assertEqual(self.statuses(), "RC")

    def test_around_the_reactor(self) -> None:
        """A run around the reactor outlives it, unless a signal ends it."""
        self.reactor.running = False
        with self.client.track(PROJECT, "1"):
            self.reactor.start()
            triggers = list(self.reactor.waiting)
            self.assertEqual(self.reactor.stopping(), [None])
            self.assertEqual(self.statuses(), "R")
            self.reactor.waiting += triggers
            self.reactor._exitSignal = signal.SIGINT
            self.reactor.stopping()
            self.assertEqual(self.statuses(), "RS")
        self.assertEqual(self.statuses(), "RS")

    def test_opted_out(self) -> None:
        """After opting out, nothing is sent and the reactor is not used."""
        self.environ["DO_NOT_TRACK"] = "1"
        with self.client.track(PROJECT, "1"):
            self.nothing_left()
        self.assertEqual(self.statuses(), "")

    def test_nothing_is_raised(self) -> None:
        """If tracking fails, the program goes on."""
        client = MigasClient(
            "http://a.example",
            user_id=USER,
            agent=self.agent,
            reactor=self.reactor,
            ignore_errors=False,
            environ={},
        )
        unhashable: Any = ["1"]
        for project, version, fields in [
            (PROJECT, "", {}),
            ("", "", {}),
            (PROJECT, unhashable, {}),
            (PROJECT, "1", {"colour": "red"}),
            ("a/unregistered", "1", {}),
        ]:
            with client.track(project, version, **fields):
                pass
        self.assertEqual(self.statuses(), "")

    def test_from_a_thread(self) -> None:
        """Tracking in another thread uses callFromThread."""
        from twisted.python import threadable

        self.addCleanup(setattr, threadable, "ioThread", threadable.ioThread)
        threadable.ioThread = -1
        with self.client.track(PROJECT, "1"):
            self.assertEqual(self.statuses(), "")
        self.assertEqual(len(self.reactor.from_threads), 2)
        for call in self.reactor.from_threads:
            call()
        self.assertEqual(self.statuses(), "RC")


class _Reactor(MemoryReactorClock):  # type: ignore[misc]
    """
    A reactor in memory that runs, with triggers that can be taken back.
    """

    _exitSignal: int | None = None

    def __init__(self) -> None:
        super().__init__()
        self.running = True
        self.waiting: list[Any] = []
        self.starting: list[Any] = []
        self.from_threads: list[Any] = []

    def addSystemEventTrigger(self, phase: str, event: str, function: Any) -> Any:
        assert (phase, event) == ("before", "shutdown")
        self.waiting.append(function)
        return function

    def removeSystemEventTrigger(self, trigger: Any) -> None:
        self.waiting.remove(trigger)

    def callWhenRunning(self, function: Any) -> None:
        if self.running:
            function()
        else:
            self.starting.append(function)

    def callFromThread(self, function: Any) -> None:
        self.from_threads.append(function)

    def start(self) -> None:
        self.running = True
        for function in self.starting:
            function()

    def stopping(self) -> list[Any]:
        """
        What the reactor waits for before it stops.
        """
        waiting, self.waiting = self.waiting, []
        return [function() for function in waiting]


def _soon(seconds: float) -> Deferred[None]:
    done: Deferred[None] = Deferred()
    reactor.callLater(seconds, done.callback, None)
    return done
