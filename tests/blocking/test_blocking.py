"""
The blocking clients, as scripts use them: real processes against a real server.
"""

from __future__ import annotations

import inspect
import os
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

import txstathat
from tests.fixtures import ROOT
from tests.fixtures.support import Authority, reactor
from txstathat import InvalidPoint, blocking
from txstathat.collector.web.site import CollectorSite
from txstathat.testing import FakeStatHat


class Held(Resource):
    """
    Answers when it is told to, if ever.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Any] = []
        self.came: Deferred[None] = Deferred()
        self.lost: list[Any] = []

    def render(self, request: Any) -> Any:
        self.waiting.append(request)
        request.notifyFinish().addErrback(self.lost.append)
        if not self.came.called:
            self.came.callback(None)
        return NOT_DONE_YET

    def answer(self) -> None:
        for request in self.waiting:
            request.write(b'{"status":200,"msg":"ok"}')
            request.finish()


class ServerTestCase(TestCase):
    """
    A StatHat on this reactor; scripts that count there in other processes.
    """

    timeout = 60

    def setUp(self) -> None:
        self.received = FakeStatHat(lambda api, key: key != "wrong")
        self.url = self.listen(self.received.resource)

    def listen(self, root: Resource, options: Any = None) -> str:
        site = CollectorSite(root, reactor)
        if options is None:
            port = reactor.listenTCP(0, site, interface="127.0.0.1")
        else:
            port = reactor.listenSSL(0, site, options, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        scheme = "http" if options is None else "https"
        return f"{scheme}://localhost:{port.getHost().port}"

    async def script(self, code: str, **environ: str) -> tuple[str, str]:
        """Run a script; what it printed and complained of."""
        environ = {
            **os.environ, "PYTHONPATH": str(ROOT), "TXSTATHAT_EZKEY": "canary-key",
            "TXSTATHAT_URL": self.url, **environ,
        }  # fmt: skip
        head = "import os, sys, threading, time\nfrom txstathat import blocking\n"
        out, err, status = await getProcessOutputAndValue(
            sys.executable, ["-c", head + textwrap.dedent(code)], env=environ
        )
        self.assertEqual(status, 0, err.decode())
        self.assertNotIn(b"canary", out + err)
        return out.decode(), err.decode()

    def sum(self, stat: str) -> Any:
        return self.received.totals.get(stat, 0)


class ScriptTests(ServerTestCase):
    """
    Whole scripts.
    """

    def test_calls(self) -> Any:
        """Each call waits and returns True; the program's reactor is not installed."""

        async def check() -> None:
            out, err = await self.script("""
                import txstathat
                client = blocking.stathat_from_env()
                print(client.count("a"), client.count("a", 2, t=5), client.tick("a"))
                print(client.value("v", 0.5), client.stat("a").count(4))
                print(client.post([txstathat.Count("b"), txstathat.Value("v", 1)]))
                print(client.send([txstathat.Count("b")], "id").accepted)
                print(client.health.accepted, client.close(), client.close())
                print("twisted.internet.reactor" in sys.modules, repr(client)[:20])
            """)
            self.assertEqual(
                out.splitlines(),
                [
                    "True True True",
                    "True True",
                    "True",
                    "True",
                    "6 None None",
                    "False <blocking txStatHat ",
                ],
            )
            self.assertEqual(err, "")
            self.assertEqual((self.sum("a"), self.sum("b"), self.sum("v")), (8, 2, 1.5))

        return ensureDeferred(check())

    def test_shortcuts(self) -> Any:
        """The calls that count once, with and without a key."""

        async def check() -> None:
            out, err = await self.script("""
                url = {"url": os.environ["TXSTATHAT_URL"]}
                print(blocking.ez_count("k", "a", 2, **url), end=" ")
                print(blocking.ez_value("k", "v", 3, **url), end=" ")
                print(blocking.classic_count("k", "c", 4, **url), end=" ")
                print(blocking.classic_value("k", "d", 5, **url), end=" ")
                with blocking.stathat_from_env({}) as null:
                    print(null.count("a"), null.stat("a").value(1), null.post([]))
            """)
            self.assertEqual((out, err), ("True " * 6 + "True\n", ""))
            sums = [self.sum(stat) for stat in ("a", "v", "c", "d")]
            self.assertEqual(sums, [2, 3, 4, 5])

        return ensureDeferred(check())

    def test_tls(self) -> Any:
        """Over HTTPS the certificate is verified, and no reactor is installed either."""

        async def check() -> None:
            authority = Authority()
            options = authority.server_options("localhost")
            url = self.listen(self.received.resource, options)
            roots = self.mktemp()
            Path(roots).write_bytes(authority.pem)
            code = """
                client = blocking.stathat_from_env()
                print(client.count("a"), "twisted.internet.reactor" in sys.modules)
            """
            out, err = await self.script(
                code, TXSTATHAT_URL=url, SSL_CERT_FILE=os.path.abspath(roots)
            )
            self.assertEqual((out, err), ("True False\n", ""))
            out, err = await self.script(code, TXSTATHAT_URL=url)
            self.assertEqual(out, "False False\n")
            self.assertIn("certificate verify failed", err)
            self.assertEqual(self.sum("a"), 1)

        return ensureDeferred(check())

    def test_importing_starts_nothing(self) -> Any:
        """Nor does making a client; the thread comes with the first call."""

        async def check() -> None:
            out, _ = await self.script("""
                client = blocking.stathat_from_env()
                before = threading.active_count()
                client.count("a")
                after = [t.name for t in threading.enumerate() if t.daemon]
                print(before, "txstathat-blocking" in after)
                from twisted.internet import asyncioreactor
                asyncioreactor.install()
            """)
            self.assertEqual(out, "1 True\n")

        return ensureDeferred(check())

    def test_beside_the_programs_reactor(self) -> Any:
        """A program with a reactor of its own counts from a thread of its own."""

        async def check() -> None:
            out, _ = await self.script("""
                from twisted.internet.task import react
                from twisted.internet.threads import deferToThread
                client = blocking.stathat_from_env()
                client.count("a")
                react(lambda reactor: deferToThread(client.count, "a").addCallback(print))
            """)
            self.assertEqual((out, self.sum("a")), ("True\n", 2))

        return ensureDeferred(check())


class FailureTests(ServerTestCase):
    """
    What scripts see when it fails.
    """

    def test_swallowed(self) -> Any:
        """False is returned, and Python's logging prints when it begins and ends."""

        async def check() -> None:
            out, err = await self.script("""
                client = blocking.txStatHat("wrong", url=os.environ["TXSTATHAT_URL"])
                print(client.count("a"), client.count("a"), client.count(""))
                print(sorted(client.health.swallowed.items()))
            """)
            self.assertEqual(
                out,
                "False False False\n[('InvalidPoint', 1), ('StatHatAPIError', 2)]\n",
            )
            self.assertEqual(len(err.splitlines()), 1, err)
            self.assertIn("points were not accepted: StatHatAPIError: status=", err)

        return ensureDeferred(check())

    def test_raised(self) -> Any:
        """With ignore_errors=False every failure is a StatHatError."""

        async def check() -> None:
            out, err = await self.script("""
                url = os.environ["TXSTATHAT_URL"]
                def fail(client, *call, **options):
                    try:
                        client.count(*call, **options)
                    except blocking.StatHatError as error:
                        print(type(error).__name__, type(error.__cause__).__name__)
                fail(blocking.txStatHat("wrong", False, url=url), "a")
                fail(blocking.txStatHat("k", url=url), "", ignore_errors=False)
                fail(blocking.txStatHat("k", False, url="http://127.0.0.1:1"), "a")
                fail(blocking.txStatHat("k", False, url="http://name.invalid"), "a")
                closed = blocking.txStatHat("k", False, url=url)
                closed.close()
                fail(closed, "a")
                used = blocking.txStatHatClassic("k", False, url=url)
                used.count("a")
                used.close()
                fail(used, "a")
            """)
            self.assertEqual(
                out.splitlines(),
                [
                    "StatHatAPIError NoneType",
                    "InvalidPoint NoneType",
                    "StatHatNetworkError ConnectionRefusedError",
                    "StatHatNetworkError DNSLookupError",
                    "StatHatClosed NoneType",
                    "StatHatClosed NoneType",
                ],
            )
            self.assertEqual(err, "")

        return ensureDeferred(check())

    def test_time_limit(self) -> Any:
        """A call does not take longer than the time limit."""

        async def check() -> None:
            url = self.listen(Held())
            out, _ = await self.script(
                """
                client = blocking.stathat_from_env(timeout=0.3, ignore_errors=False)
                begun = time.monotonic()
                try:
                    client.count("a")
                except blocking.StatHatNetworkError as error:
                    print(type(error.__cause__).__name__, time.monotonic() - begun < 5)
                """,
                TXSTATHAT_URL=url,
            )
            self.assertEqual(out, "TimeoutError True\n")

        return ensureDeferred(check())

    def test_ctrl_c(self) -> Any:
        """An interruption ends the wait, and the client can be used further."""

        async def check() -> None:
            held = Held()
            url = self.listen(held)
            out, _ = await self.script(
                """
                import signal
                client = blocking.stathat_from_env(timeout=50)
                held = blocking.stathat_from_env(
                    {**os.environ, "TXSTATHAT_URL": os.environ["HELD"]}, timeout=50
                )
                signal.setitimer(signal.ITIMER_REAL, 1)
                signal.signal(signal.SIGALRM, signal.default_int_handler)
                try:
                    held.count("a")
                except KeyboardInterrupt:
                    print(client.count("a"))
                """,
                HELD=url,
            )
            self.assertEqual((out, self.sum("a")), ("True\n", 1))

        return ensureDeferred(check())


class ThreadsAndForksTests(ServerTestCase):
    """
    Threads, forks and the end.
    """

    def test_threads(self) -> Any:
        """Many threads share a client at a short switch interval: all is counted."""

        async def check() -> None:
            out, err = await self.script("""
                sys.setswitchinterval(1e-6)
                client = blocking.stathat_from_env()
                results = []
                def work():
                    for _ in range(50):
                        results.append(client.count("a"))
                threads = [threading.Thread(target=work) for _ in range(6)]
                for thread in threads: thread.start()
                for thread in threads: thread.join()
                print(len(results), all(results), client.health.accepted)
            """)
            self.assertEqual((out, err), ("300 True 300\n", ""))
            self.assertEqual(self.sum("a"), 300)

        return ensureDeferred(check())

    def test_fork(self) -> Any:
        """A client used before a fork is refused in the child; a new one works there."""

        async def check() -> None:
            out, err = await self.script("""
                used = blocking.stathat_from_env()
                unused = blocking.stathat_from_env()
                print(used.count("parent"), flush=True)
                child = os.fork()
                if not child:
                    print(used.count("child"), unused.count("child"))
                    try:
                        used.count("child", ignore_errors=False)
                    except blocking.StatHatForked as error:
                        print(error)
                    used.close()
                    print(blocking.stathat_from_env().count("child"))
                    sys.exit()
                os.waitpid(child, 0)
                print(used.count("parent"))
            """)
            lines = out.splitlines()
            self.assertEqual(lines[:2], ["True", "False True"])
            self.assertIn("make a client in each process, after the fork", lines[2])
            self.assertEqual(lines[3:], ["True", "True"])
            self.assertIn("StatHatForked", err)
            self.assertEqual((self.sum("parent"), self.sum("child")), (2, 2))

        return ensureDeferred(check())

    def test_exit_sends_what_is_under_way(self) -> Any:
        """The interpreter's exit waits for calls of daemon threads, and no longer."""

        async def check() -> None:
            held = Held()
            came = os.path.abspath(self.mktemp())
            script = Deferred.fromCoroutine(
                self.script(
                    """
                    client = blocking.stathat_from_env(timeout=20)
                    threading.Thread(target=client.count, args="a", daemon=True).start()
                    while not os.path.exists(os.environ["CAME"]):
                        time.sleep(0.01)
                    """,
                    TXSTATHAT_URL=self.listen(held),
                    CAME=came,
                )
            )
            await held.came
            Path(came).touch()
            reactor.callLater(0.5, held.answer)
            self.assertEqual(await script, ("", ""))
            self.assertEqual((len(held.waiting), held.lost), (1, []))

        return ensureDeferred(check())

    def test_counting_at_exit(self) -> Any:
        """What the program does in its own exit handlers may still count."""

        async def check() -> None:
            out, err = await self.script("""
                import atexit
                client = blocking.stathat_from_env()
                atexit.register(lambda: print(client.count("a")))
                client.count("a")
            """)
            self.assertEqual((out, err, self.sum("a")), ("True\n", "", 2))

        return ensureDeferred(check())

    def test_exit_does_not_hang(self) -> Any:
        """What is not answered within the time limit does not keep the program."""

        async def check() -> None:
            held = Held()
            came = os.path.abspath(self.mktemp())
            script = Deferred.fromCoroutine(
                self.script(
                    """
                    client = blocking.stathat_from_env(timeout=1)
                    threading.Thread(target=client.count, args="a", daemon=True).start()
                    while not os.path.exists(os.environ["CAME"]):
                        time.sleep(0.01)
                    """,
                    TXSTATHAT_URL=self.listen(held),
                    CAME=came,
                )
            )
            await held.came
            begun = time.monotonic()
            Path(came).touch()
            await script
            self.assertLess(time.monotonic() - begun, 8)
            self.assertEqual(len(held.lost), 1)

        return ensureDeferred(check())


class HereTests(ServerTestCase):
    """
    In a thread of this process.
    """

    def test_a_broken_iterable(self) -> Any:
        """What raises in the caller's own points is wrapped, or swallowed."""

        def points() -> Any:
            yield txstathat.Count("a")
            raise KeyError("canary")

        def work() -> Any:
            client = blocking.txStatHat("key", url=self.url)
            with self.assertLogs("txstathat.blocking", "WARNING"):
                self.assertIs(client.post(points()), False)
            with self.assertRaises(InvalidPoint) as caught:
                client.post(points(), ignore_errors=False)
            self.assertIsInstance(caught.exception.__cause__, KeyError)
            self.assertFalse(client.send(points()).accepted)
            client.close()

        return deferToThread(work)


class SignatureTests(SynchronousTestCase):
    """
    The names and signatures are those of the clients on a reactor.
    """

    def parameters(self, call: Any) -> list[tuple[str, Any, Any]]:
        own = ("reactor", "agent", "settings")
        signature = inspect.signature(call)
        return [
            (each.name, each.kind, each.default)
            for each in signature.parameters.values()
            if each.name not in own
        ]

    def test_signatures(self) -> None:
        """All are the same, but for the reactor and the agent."""
        for name in ("txStatHat", "txStatHatClassic"):
            ours, theirs = getattr(blocking, name), getattr(txstathat, name)
            self.assertEqual(self.parameters(ours), self.parameters(theirs))
            for method in ("count", "value", "tick", "post", "send", "stat", "close"):
                self.assertEqual(
                    self.parameters(getattr(ours, method)),
                    self.parameters(getattr(theirs, method)),
                    method,
                )
        for name in ("ez_count", "ez_value", "classic_count", "classic_value"):
            ours, theirs = getattr(blocking, name), getattr(txstathat, name)
            self.assertEqual(self.parameters(ours), self.parameters(theirs))

    def test_bad_settings(self) -> None:
        """A bad setting is refused when the client is made, without showing the key."""
        for make in (blocking.txStatHat, blocking.txStatHatClassic):
            self.assertRaises(ValueError, make, "")
            error = self.assertRaises(ValueError, make, "canary", timeout=0)
            self.assertNotIn("canary", str(error))
            self.assertNotIn("canary", repr(make("canary")))
