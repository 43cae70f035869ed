"""
The fakes that ship with the package.
"""

from __future__ import annotations

from decimal import Decimal

from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txstathat import Count, InvalidPoint, StatHatAPIError, Value, txStatHat
from txstathat.testing import FakeStatHat, MemoryStatHat


class MemoryStatHatTests(SynchronousTestCase):
    """
    The one that remembers.
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
        """A test that counts nonsense sees it, as in production."""
        memory = MemoryStatHat()
        self.assertIs(self.successResultOf(memory.count("")), False)
        self.failureResultOf(memory.count("", ignore_errors=False), InvalidPoint)
        strict = MemoryStatHat(ignore_errors=False)
        self.failureResultOf(strict.value("a", float("nan")), InvalidPoint)
        self.assertEqual(memory.points + strict.points, [])

    def test_stands_in_for_a_client(self) -> None:
        """What a program does with a client it can do with this, closing included."""
        memory = MemoryStatHat()
        stat = memory.stat("load")
        self.successResultOf(stat.value(Decimal("0.5")))
        self.successResultOf(
            memory.post([Count("a", Decimal("0.5")), Count("a", 0.25)])
        )
        self.assertEqual(memory.counts, {"a": 0.75})
        self.assertIs(self.successResultOf(memory.post([Count("b"), Count("")])), False)
        self.assertNotIn("b", memory.counts)
        self.assertIsNone(self.successResultOf(memory.close()))


class FakeStatHatTests(SynchronousTestCase):
    """
    The one behind an agent.
    """

    def test_scripted_troubles_come_in_order(self) -> None:
        """Each trouble is for the requests that come next; then all is well."""
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
        self.assertEqual(fake.totals["a"].sum, 1000)
