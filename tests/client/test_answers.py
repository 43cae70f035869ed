"""
Every answer that a server may give, to every call of the clients: the result is right,
and the server's own ledger holds what was sent, nothing lost and nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import TestCase

from tests.fixtures.answering_rows import APIS, Api, Rows, amount_of
from tests.fixtures.answering_server import (
    AGAIN,
    ANSWERS,
    KEY,
    LARGE,
    OK,
    PAGE,
    REFUSED,
    TAKEN,
    UNKNOWN,
    Answer,
    AnsweringServer,
    Reservation,
    answers,
    url_of,
)
from tests.fixtures.virtual_time import VirtualCase
from txstathat import Count, StatHatAPIError, Value, txStatHat, txStatHatClassic
from txstathat.client.outcome import Verdict


class ClientTests(TestCase):
    """
    The clients, over sockets, on connections that they use again.
    """

    timeout = 600

    def setUp(self) -> None:
        self.server = AnsweringServer()
        port = self.server.listen()
        self.url = url_of(port)
        self.addCleanup(port.stopListening)
        self.rows = Rows(self)

    def each(self, send: Callable[[Any, Api, Answer], Any], **options: Any) -> Any:
        """Send with every client, to every answer."""

        async def check() -> None:
            for api in APIS:
                client = api.client("canary-key", url=self.url, **options)
                self.addCleanup(client.close)
                for answer in ANSWERS:
                    self.server.forget()
                    self.server.always(answer)
                    with self.rows.row(api, answer):
                        await send(client, api, answer)
                        self.check_ledger(api, answer)
            self.rows.check(4 * len(ANSWERS))

        return ensureDeferred(check())

    def check_ledger(self, api: Api, answer: Answer) -> None:
        """What the server took is what was sent, once; or nothing."""
        self.assertFalse(self.server.faults, self.server.faults[:1])
        self.assertEqual(len(self.server.arrivals), api.requests)
        took = api.totals if answer.takes else {}
        self.assertEqual(self.server.totals, took)

    def post(self, client: Any, api: Api, **options: Any) -> Deferred[bool]:
        """Send the points as a program does."""
        if len(api.points) > 1:
            posted: Deferred[bool] = client.post(api.points, **options)
            return posted
        (point,) = api.points
        counted: Deferred[bool] = client.count(point.stat, amount_of(point), **options)
        return counted

    def test_fires_whether_taken(self) -> Any:
        """A call fires ``True`` exactly when the server took its points."""

        async def send(client: Any, api: Api, answer: Answer) -> None:
            taken = await self.post(client, api)
            self.assertIs(taken, answer.meaning == TAKEN)

        return self.each(send)

    def test_fails_unless_taken(self) -> Any:
        """With ``ignore_errors=False`` all but success fails, in the server's words."""

        async def send(client: Any, api: Api, answer: Answer) -> None:
            try:
                taken = await self.post(client, api)
            except StatHatAPIError as error:
                self.assertNotEqual(answer.meaning, TAKEN, error)
                if answer.msg is not None and answer.meaning in (REFUSED, KEY):
                    self.assertEqual(error.msg, answer.msg)
                self.assertNotIn("canary-key", f"{error}{error!r}")
            else:
                self.assertEqual(answer.meaning, TAKEN)
                self.assertIs(taken, True)

        return self.each(send, ignore_errors=False)

    def test_outcomes(self) -> Any:
        """``send`` fires with what the answer means, and fails for none of them."""
        verdicts = {
            TAKEN: Verdict.ACCEPTED,
            REFUSED: Verdict.REFUSED,
            KEY: Verdict.KEY_REFUSED,
            LARGE: Verdict.TOO_LARGE,
            AGAIN: Verdict.RETRY,
            PAGE: Verdict.NOT_STATHAT,
            UNKNOWN: Verdict.AMBIGUOUS,
        }

        async def send(client: Any, api: Api, answer: Answer) -> None:
            outcome = await client.send(api.points)
            verdict = verdicts[answer.meaning]
            if answer.meaning == PAGE and answer.status in (401, 403):
                # Whoever says it: a key is refused, and nothing is known of the points.
                verdict = Verdict.KEY_REFUSED
            self.assertIs(outcome.verdict, verdict)
            self.assertEqual(outcome.error is None, answer.meaning == TAKEN)
            asked = dict(answer.headers).get("Retry-After")
            self.assertEqual(outcome.retry_after, None if asked is None else 5.0)

        return self.each(send)


class PointsTests(VirtualCase):
    """
    What arrives, whatever the amounts and however many points there are.
    """

    def test_exact_amounts(self) -> None:
        """Amounts arrive as they were, in forms and in JSON."""
        amounts = (
            1, 0, -3, 2**53 + 1, 10**15 + 1, 0.1, 1e-07, 1e21, -2.5e-300,
            Decimal("0.1000000000000000055"), Decimal("12345678901234567.89"),
            Decimal("1E+3"), Decimal("-0.50"),
        )  # fmt: skip
        self.begin()
        for make in (txStatHat, txStatHatClassic):
            for kind in (Count, Value):
                points = [kind(f"s{n}", amount) for n, amount in enumerate(amounts)]
                wanted = [Decimal(str(amount)) for amount in amounts]
                client = self.client(make)
                for parts in ([points], [[point] for point in points]):
                    self.server.forget()
                    for part in parts:
                        self.assertIs(self.successResultOf(client.post(part)), True)
                    arrived = {each.stat: each.amount for each in self.server.ledger}
                    self.assertEqual([arrived[point.stat] for point in points], wanted)
                    self.assertFalse(self.server.faults, self.server.faults[:1])

    def test_any_name(self) -> None:
        """Names and keys arrive as they are, in forms and in JSON."""
        names = ("a b+c%20&d=e", "é ☃ 𝄞", "ezkey", '"quoted" \\', "a;b", "<x>")
        self.begin()
        for make in (txStatHat, txStatHatClassic):
            points = [Count(name, n + 1) for n, name in enumerate(names)]
            wanted = {point.stat: point.count for point in points}
            client = self.client(make)
            for parts in ([points], [[point] for point in points]):
                self.server.forget()
                for part in parts:
                    self.assertIs(self.successResultOf(client.post(part)), True)
                self.assertEqual(self.server.totals, wanted)

    def test_many_points(self) -> None:
        """
        No request has more than 1,000 points; the call fires ``True`` only if the
        server took all of them.
        """
        self.begin()
        points = [Count(f"s{n}", n + 1) for n in range(2_001)]
        client = self.client(txStatHat)
        self.assertIs(self.successResultOf(client.post(points)), True)
        self.assertFalse(self.server.faults, self.server.faults[:1])
        sizes = [len(each.points) for each in self.server.arrivals]
        self.assertEqual(sizes, [1_000, 1_000, 1])
        self.assertEqual(
            self.server.totals, {point.stat: point.count for point in points}
        )
        for answer in answers(REFUSED, KEY, LARGE, AGAIN, PAGE, UNKNOWN):
            self.server.forget()

            def second(arrival: Reservation, answer: Answer = answer) -> Answer:
                return answer if len(self.server.arrivals) == 2 else OK

            self.server.answer = second
            taken = self.successResultOf(client.post(points))
            self.assertIs(taken, False, answer.name)
