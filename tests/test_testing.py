"""
The fakes that ship with the package.
"""

from __future__ import annotations

from decimal import Decimal

from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.trial.reporter import TestResult
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IAgent
from zope.interface.verify import verifyObject

from txstathat import Count, InvalidPoint, StatHatAPIError, Value, txStatHat
from txstathat.testing import FakeStatHat, MemoryStatHat


class MemoryStatHatTests(SynchronousTestCase):
    """
    The fake that records points.
    """

    def test_remembers(self) -> None:
        """Counts summed, values listed, points in order."""
        memory = MemoryStatHat()
        for call in (
            memory.tick("signups"),
            memory.value("load", 0.42),
            memory.count("signups", 2, t=5),
            memory.count("hits~a,b", 3),
        ):
            self.assertIs(self.successResultOf(call), True)
        self.assertEqual(memory.counts, {"signups": 3, "hits a": 3, "hits b": 3})
        self.assertEqual(memory.values, {"load": [0.42]})
        self.assertEqual(
            memory.points[:3],
            [Count("signups"), Value("load", 0.42), Count("signups", 2, 5)],
        )

    def test_refuses_what_the_client_refuses(self) -> None:
        """Bad points fail by default, and are swallowed if errors are ignored."""
        memory = MemoryStatHat()
        self.failureResultOf(memory.value("a", float("nan")), InvalidPoint)
        self.assertIs(self.successResultOf(memory.count("", ignore_errors=True)), False)
        lenient = MemoryStatHat(ignore_errors=True)
        self.assertIs(self.successResultOf(lenient.count("")), False)
        self.failureResultOf(lenient.count("", ignore_errors=False), InvalidPoint)
        self.assertEqual(memory.points + lenient.points, [])

    def test_nonsense_that_nobody_notices_fails_the_test(self) -> None:
        """A program that counts nonsense and drops the Deferred fails its own test."""

        class ProgramTest(SynchronousTestCase):
            def test(self) -> None:
                MemoryStatHat().count("")

        result = TestResult()
        ProgramTest("test").run(result)
        ((_, failure),) = result.errors
        self.assertIn("stat: must not be empty", str(failure))

    def test_stands_in_for_a_client(self) -> None:
        """It has the methods of a client, including close."""
        memory = MemoryStatHat()
        stat = memory.stat("load")
        self.successResultOf(stat.value(Decimal("0.5")))
        self.successResultOf(
            memory.post([Count("a", Decimal("0.5")), Count("a", 0.25)])
        )
        self.assertEqual(memory.counts, {"a": 0.75})
        self.failureResultOf(memory.post([Count("b"), Count("")]), InvalidPoint)
        self.assertNotIn("b", memory.counts)
        self.assertIsNone(self.successResultOf(memory.close()))


class FakeStatHatTests(SynchronousTestCase):
    """
    The fake behind an agent.
    """

    def test_scripted_troubles_come_in_order(self) -> None:
        """Each trouble is for the next requests; after them, requests succeed."""
        fake = FakeStatHat()
        clock = Clock()
        sh = txStatHat("key", agent=fake.agent, reactor=clock, ignore_errors=False)
        fake.answer(503, "down", times=2)
        fake.fail(ConnectionRefusedError())
        fake.hang()
        for _ in range(2):
            failure = self.failureResultOf(sh.count("a"), StatHatAPIError)
            self.assertEqual(failure.value.status, 503)
        self.failureResultOf(sh.count("a"), ConnectionRefusedError)
        hanging = sh.count("a")
        self.assertNoResult(hanging)
        hanging.cancel()
        self.failureResultOf(hanging)
        self.assertIs(self.successResultOf(sh.count("b")), True)
        self.assertEqual(fake.points, [Count("b")])
        self.assertEqual(len(fake.requests), 5)
        fake.verify()

    def test_the_fake_is_an_agent(self) -> None:
        """A client takes the fake itself as its agent, as well as fake.agent."""
        fake = FakeStatHat()
        for agent in (fake, fake.agent):
            sh = txStatHat("key", agent=agent, ignore_errors=False)
            self.assertIs(self.successResultOf(sh.count("a")), True)
        self.assertEqual(fake.totals, {"a": 2})
        self.assertTrue(verifyObject(IAgent, fake))

    def test_fail_takes_a_class(self) -> None:
        """A class is as good as an exception; each request gets one of its own."""
        fake = FakeStatHat()
        sh = txStatHat("key", agent=fake, ignore_errors=False)
        fake.fail(ConnectionRefusedError, times=2)
        errors = [
            self.failureResultOf(sh.count("a"), ConnectionRefusedError).value
            for _ in range(2)
        ]
        self.assertIsNot(errors[0], errors[1])
        for wrong in ("refused", 7, int, None):
            error = self.assertRaises(TypeError, fake.fail, wrong)
            self.assertIn("pass an exception or its class", str(error))

    def test_verify(self) -> None:
        """Troubles that never happened fail the test, by name."""
        fake = FakeStatHat()
        fake.answer(503)
        fake.fail(ConnectionRefusedError, times=2)
        fake.hang()
        sh = txStatHat("key", agent=fake)
        self.successResultOf(sh.count("a"))
        self.successResultOf(sh.count("a"))
        error = self.assertRaises(AssertionError, fake.verify)
        self.assertIn("fail(ConnectionRefusedError), hang()", str(error))
        self.assertNotIn("answer", str(error))

    def test_totals(self) -> None:
        """Sums by stat; a summary has the kind and the number of points too."""
        fake = FakeStatHat()
        sh = txStatHat("key", agent=fake)
        self.successResultOf(sh.count("a", 2))
        self.successResultOf(sh.count("a", 40))
        self.successResultOf(sh.value("b", 0.5))
        self.successResultOf(sh.value("b", 0.25))
        self.assertEqual(fake.totals, {"a": 42, "b": 0.75})
        self.assertEqual(fake.summaries["b"].points, 2)

    def test_requests_show_what_was_sent(self) -> None:
        """Method, path, headers and body; the body is not in the repr."""
        fake = FakeStatHat()
        sh = txStatHat("canary-key", agent=fake.agent)
        self.successResultOf(sh.count("a"))
        (request,) = fake.requests
        self.assertEqual((request.method, request.path), ("POST", "/ez"))
        self.assertEqual(
            request.headers.getRawHeaders("Content-Type"),
            ["application/x-www-form-urlencoded"],
        )
        self.assertIn(b"canary-key", request.body)
        self.assertNotIn("canary", repr(request))
        self.assertEqual(repr(fake), "<FakeStatHat with 1 points of 1 requests>")

    def test_memory_says_what_it_is(self) -> None:
        """The repr of a MemoryStatHat has the number of its points."""
        stats = MemoryStatHat()
        self.successResultOf(stats.count("a"))
        self.assertEqual(repr(stats), "<MemoryStatHat with 1 points>")

    def test_many_calls_at_once(self) -> None:
        """Thousands of calls need no reactor either."""
        fake = FakeStatHat()
        sh = txStatHat("key", agent=fake.agent)
        for call in [sh.count("a") for _ in range(1000)]:
            self.assertIs(self.successResultOf(call), True)
        self.assertEqual(fake.totals["a"], 1000)
