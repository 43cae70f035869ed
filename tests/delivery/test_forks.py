"""
Services and processes: forks, exits, and systems without fork or file locks.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any
from unittest import SkipTest

from twisted.internet.defer import ensureDeferred
from twisted.internet.threads import deferToThread

from tests.fixtures.children import ROOT, ChildrenTestCase
from tests.fixtures.delivery import FULL, DeliveryTestCase, run
from tests.fixtures.drills import report
from tests.fixtures.support import logged
from txstathat import FlushResult, StatHatClosed

#: The first process of a container: it runs a command, and ends after all others.
FIRST_PROCESS = """
import os, subprocess, sys
command = subprocess.Popen(sys.argv[1:])
try:
    while True:
        os.wait()
except ChildProcessError:
    pass
"""


class ForkDrills(ChildrenTestCase):
    """
    Real forks, and a real server.
    """

    async def fork(self, *, before: Any = (), **config: Any) -> tuple[str, str]:
        """Run the program, below the command ``before``; return its output and log."""
        config = {"url": self.url, **config}
        done = await deferToThread(
            subprocess.run,
            [
                *before,
                sys.executable,
                "-m",
                "tests.fixtures.forking_program",
                json.dumps(config),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=50,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        return done.stdout, done.stderr

    def test_35_after_the_start(self) -> Any:
        """A child's calls fire with False, with one warning; the parent's arrive once."""

        async def check() -> None:
            for spool in (None, self.spool):
                out, err = await self.fork(
                    when="after", children=4, kill=True, spool=spool
                )
                self.assertEqual(out.count("before [True]"), 1)
                self.assertEqual(out.count("before [False]"), 3)
                self.assertEqual(out.count("child [False]"), 3)
                self.assertEqual(out.count("stopped"), 3)
                self.assertEqual(out.count("flushed FlushResult"), 3)
                self.assertEqual(err.count("is a fork of the one that started"), 3)
            self.assertEqual(self.sum("before"), 20)
            self.assertEqual(self.sum("parent"), 2)
            self.assertEqual(self.sum("child"), 0)

        return ensureDeferred(check())

    def test_35_before_the_start(self) -> Any:
        """What was counted before a fork is delivered once, by the process that did."""

        async def check() -> None:
            rounds = 10 if FULL else 1
            for _ in range(rounds):
                for spool in (None, self.spool):
                    out, _ = await self.fork(
                        when="before",
                        children=4,
                        kill=True,
                        parent_starts=True,
                        spool=spool,
                    )
                    self.assertEqual(out.count("child [True]"), 4)
                    self.assertEqual(out.count("ended"), 3)
            self.assertEqual(self.sum("before"), 20 * rounds)
            self.assertEqual(self.sum("parent"), 2 * rounds)
            # One was killed in its first window.
            self.assertEqual(self.sum("child"), 6 * rounds)
            report(
                35,
                f"{2 * rounds} x 4 children forked before the start, one killed: "
                "counted twice 0, lost in silence 0",
            )

        return ensureDeferred(check())

    def test_35_a_parent_that_never_starts(self) -> Any:
        """It says at its end what was left; its children do not deliver that."""

        async def check() -> None:
            for log in (True, False):
                _, err = await self.fork(when="before", children=2, log=log)
                (line,) = [line for line in err.splitlines() if "not started" in line]
                self.assertIn(
                    "a StatHatService was not started: calls that were not delivered: "
                    "11,",
                    line,
                )
            self.assertEqual(self.sum("before"), 0)
            self.assertEqual(self.sum("child"), 4)

        return ensureDeferred(check())

    def test_35_a_daemon(self) -> Any:
        """A daemon delivers what was counted before it became one."""

        async def check() -> None:
            out, _ = await self.fork(when="before", children=1, daemon=True)
            self.assertIn("ended", out)
            self.assertEqual(self.sum("before"), 10)
            self.assertEqual(self.sum("child"), 1)

        return ensureDeferred(check())

    def test_35_a_daemon_in_a_container(self) -> Any:
        """It does so too where its first session is numbered 0, as in a container."""
        # A namespace whose first process belongs to a session outside.
        container = ["unshare", "--user", "--map-root-user", "--pid", "--fork"]
        shows = [sys.executable, "-c", "import os; print(os.getsid(0))"]
        try:
            session = subprocess.run(
                [*container, *shows], capture_output=True, text=True
            )
        except OSError as error:
            raise SkipTest(f"needs unshare: {error}") from None
        if session.stdout != "0\n":
            raise SkipTest(f"this system makes no namespace: {session.stderr}")

        async def check() -> None:
            out, _ = await self.fork(
                before=[*container, sys.executable, "-c", FIRST_PROCESS],
                when="before",
                children=1,
                daemon=True,
            )
            self.assertIn("ended", out)
            self.assertEqual(self.sum("before"), 10)

        return ensureDeferred(check())


NEVER_STOPPED = """
import sys
from twisted.internet import reactor
from txstathat import StatHatService, txStatHat
stats = StatHatService(txStatHat("canary-key", url="http://127.0.0.1:9"))
stats.startService()
for _ in range(12):
    stats.count("a")
reactor.callLater(0.1, reactor.stop)
reactor.run()
"""

#: A system without the modules and calls of POSIX that Windows lacks.
ON_WINDOWS = """
import os, sys, tempfile

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name == "fcntl":
            raise ImportError("hidden")

sys.meta_path.insert(0, Hide())
sys.modules.pop("fcntl", None)
for name in ("register_at_fork", "fork", "geteuid", "getsid", "O_CLOEXEC",
             "O_NOFOLLOW", "posix_fallocate"):
    delattr(os, name)

import txstathat
from twisted.internet.task import Clock
from tests.fixtures.delivery import MemoryServer, make_service, run
assert txstathat.delivery.spool.locks.fcntl is None

clock = Clock()
server = MemoryServer(clock)
service = make_service(clock, server)
service.startService()
service.count("a")
run(clock, 6)
assert server.sums == {"a": 1}, server.sums
service.stopService()

service = make_service(clock, server, spool=os.path.join(tempfile.mkdtemp(), "spool"))
service.startService()
service.count("b")
run(clock, 12)
assert server.sums == {"a": 1, "b": 1}, server.sums
assert "this system has no file locks" in service.health.spool_error
service.stopService()
run(clock, 6)
print("fine")
"""


#: A child that is told of the fork, for each of several objects.
NOTIFIED = """
import os
from txstathat.delivery.process.forks import notify_in_child

class Aware:
    calls = 0
    def after_fork(self):
        self.calls += 1

objects = [Aware() for _ in range(3)]
for each in objects:
    notify_in_child(each)
if os.fork():
    os.wait()
else:
    print([each.calls for each in objects])
"""

#: A program that counts in threads, and forks before it starts the service.
THREADS_OF_A_FORK = """
import os
from txstathat import StatHatService, txStatHat

stats = StatHatService(txStatHat("canary-key", url="http://127.0.0.1:1"))
threads = stats.from_threads()
assert threads.count("a")
if os.fork():
    os.wait()
else:
    print(threads.count("a"), flush=True)
    os._exit(0)
"""


class ExitTests(DeliveryTestCase):
    """
    Services at the end of a process, or on another system.
    """

    def python(self, program: str) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout, done.stderr

    def test_never_stopped(self) -> None:
        """A service that was not stopped says what was left, in one line."""
        _, err = self.python(NEVER_STOPPED)
        (line,) = err.splitlines()
        self.assertIn("a StatHatService was not stopped", line)
        self.assertIn("calls that were not delivered: 12", line)
        self.assertNotIn("canary-key", line)

    def test_no_word_when_nothing_is_left(self) -> None:
        """A service that was stopped, or has nothing left, says nothing at the end."""
        program = NEVER_STOPPED.replace('    stats.count("a")', "    pass")
        self.assertNotEqual(program, NEVER_STOPPED)
        self.assertEqual(self.python(program), ("", ""))
        service = self.make()
        service.count("a")
        self.successResultOf(service.stopService())
        with logged() as log:
            service.report_exit()
        self.assertEqual(log.text, "")

    def test_notified_once(self) -> None:
        """A child notifies each object once, however many there are."""
        out, _ = self.python(NOTIFIED)
        self.assertEqual(out, "[1, 1, 1]\n")

    def test_threads_of_a_fork(self) -> None:
        """In a child that is forked before the start, threads count on."""
        out, _ = self.python(THREADS_OF_A_FORK)
        self.assertEqual(out, "True\n")

    def test_without_posix(self) -> None:
        """Without fcntl and forks it can be imported and used; a spool is refused."""
        out, _ = self.python(ON_WINDOWS)
        self.assertEqual(out, "fine\n")

    def test_flush_before_the_start(self) -> None:
        """A flush fires at once, with what is queued; later it is delivered."""
        service = self.make(started=False)
        service.count("a", 2)
        service.count("a", 2)
        self.assertEqual(self.successResultOf(service.flush()), FlushResult(queued=2))
        service.startService()
        run(self.clock, 6)
        self.assertEqual(self.server.sums, {"a": 4})

    def test_words(self) -> None:
        """After the end the error says that the service has stopped; one line is logged."""
        service = self.make()
        self.successResultOf(service.stopService())
        with logged() as log:
            for _ in range(3):
                failed = service.count("a", ignore_errors=False)
                error = self.failureResultOf(failed, StatHatClosed).value
                run(self.clock, 100, 10)
        self.assertEqual(str(error), "the service has stopped")
        self.assertEqual(len(log.at_level("warn")), 1)

    def test_health_in_words(self) -> None:
        """Printed health shows refusals and the last error."""
        service = self.make()
        self.server.mood = lambda: (403, b'{"status": 403, "msg": "no such key"}', {})
        service.count("a")
        service.count("")
        run(self.clock, 6)
        text = str(service.health)
        self.assertIn("1 pending", text)
        self.assertIn("1 refused", text)
        self.assertIn("last error: StatHatAPIError: ", text)
        self.assertIn("no such key", text)

    def test_no_reactor_before_the_start(self) -> None:
        """Counting installs no reactor."""
        out, _ = self.python(
            "import sys\n"
            "from txstathat import StatHatService, txStatHat\n"
            "stats = StatHatService(txStatHat('canary-key'))\n"
            "stats.count('a'); stats.value('v', 1); stats.flush()\n"
            "print('twisted.internet.reactor' in sys.modules)\n"
        )
        self.assertEqual(out, "False\n")
