"""
Every answer that a server may give, to every way of sending: the result is right, and
the server's own ledger holds what was counted, nothing lost and nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.answering_server import (
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
    Arrival,
    answers,
    url_of,
)
from tests.virtual_time import URL, VirtualCase
from txstathat import (
    Count,
    StatHatAPIError,
    StatHatService,
    Value,
    txStatHat,
    txStatHatClassic,
)
from txstathat.cli.journal import Journal
from txstathat.cli.points_file import RequestFailed, Sender
from txstathat.cli.sources import LinesSource
from txstathat.outcome import Verdict

#: An hour and a half: whatever can be settled is settled by then.
LONG = 5_400.0
#: Twice the slowest pace, for each of several points.
SLOWLY = 1_800.0
#: How many wrong rows a failure shows.
MOST_SHOWN = 25

SINGLE = (Count("signups", 7),)
BATCH = (
    Count("signups", 7, 1_700_000_000),
    Count("paid", Decimal("0.1"), 1_700_000_001),
    Value("load", 0.25, 1_700_000_002),
)


@dataclass(frozen=True)
class Api:
    """
    One way to send points.

    :ivar name: what a failing test calls it.
    :ivar client: the client's class.
    :ivar points: what is sent.
    :ivar requests: how many requests that takes.
    """

    name: str
    client: Callable[..., Any]
    points: tuple[Count | Value, ...]
    requests: int

    @property
    def totals(self) -> dict[str, Decimal]:
        """What the server's ledger must hold once all is taken."""
        return {each.stat: Decimal(str(_amount(each))) for each in self.points}


APIS = (
    Api("EZ single", txStatHat, SINGLE, 1),
    Api("EZ batch", txStatHat, BATCH, 1),
    Api("Classic single", txStatHatClassic, SINGLE, 1),
    Api("Classic batch", txStatHatClassic, BATCH, 3),
)


def _amount(point: Count | Value) -> Any:
    return point.count if isinstance(point, Count) else point.value


class Rows:
    """
    Runs a test for many rows, and fails with the names of all that are wrong.
    """

    def __init__(self, case: SynchronousTestCase) -> None:
        self._case = case
        self._count = 0
        self._problems: list[str] = []

    @contextmanager
    def row(self, api: Api, answer: Answer) -> Iterator[None]:
        """One row."""
        self._count += 1
        try:
            yield
        except Exception as error:
            words = str(error).partition("\n")[0]
            self._problems.append(
                f"{api.name}; {answer.name}: {type(error).__name__}: {words}"
            )

    def check(self, least: int) -> None:
        """Fail if a row is wrong, or if there were suspiciously few."""
        self._case.assertGreaterEqual(self._count, least)
        if self._problems:
            self._case.fail(
                f"{len(self._problems)} of {self._count} rows are wrong:\n"
                + "\n".join(self._problems[:MOST_SHOWN])
            )


class ClientTests(TestCase):
    """
    The clients, over sockets, on connections that they use again.
    """

    timeout = 60

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
        counted: Deferred[bool] = client.count(point.stat, _amount(point), **options)
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

            def second(arrival: Arrival, answer: Answer = answer) -> Answer:
                return answer if len(self.server.arrivals) == 2 else OK

            self.server.answer = second
            taken = self.successResultOf(client.post(points))
            self.assertIs(taken, False, answer.name)


class ServiceTests(VirtualCase):
    """
    Services, with a spool and without.
    """

    def setUp(self) -> None:
        super().setUp()
        self.rows = Rows(self)

    def record(self, service: StatHatService, api: Api) -> None:
        """Count and measure."""
        for point in api.points:
            add = service.count if isinstance(point, Count) else service.value
            self.assertIs(
                self.successResultOf(add(point.stat, _amount(point), t=point.t)), True
            )

    def each(
        self,
        rows: Iterable[Answer],
        check: Callable[[StatHatService, Api, Answer], None],
        honours_ids: bool = False,
        **settings: Any,
    ) -> None:
        """Start a service for each row, count, and see what becomes of it."""
        checked = 0
        for api in APIS:
            for answer in rows:
                for spooled in (False, True):
                    name = f"{answer.name}{', with a spool' if spooled else ''}"
                    with self.rows.row(api, replace(answer, name=name)):
                        self.begin(honours_ids=honours_ids)
                        self.server.always(answer)
                        spool = self.new_folder() if spooled else None
                        service = self.start(api.client, spool=spool, **settings)
                        self.record(service, api)
                        check(service, api, answer)
                        self.stop(service)
                    checked += 1
        self.rows.check(checked)

    def check_delivered(self, service: StatHatService, api: Api) -> None:
        """All was delivered, and the server has it once."""
        self.assertEqual(self.server.totals, api.totals)
        self.assertEqual(len(self.server.ledger), len(api.points))
        health = service.health
        self.assertEqual((health.delivered, health.lost), (len(api.points), 0))

    def test_taken(self) -> None:
        """What the server takes is delivered, and not sent again."""

        def check(service: StatHatService, api: Api, answer: Answer) -> None:
            flushed = service.flush()
            self.run_clock(1)
            result = self.successResultOf(flushed)
            self.assertTrue(result)
            self.assertEqual(
                (result.delivered, result.rejected, result.dropped, result.queued),
                (len(api.points), 0, 0, 0),
            )
            self.run_clock(LONG)
            self.assertEqual(len(self.server.arrivals), api.requests)
            self.check_delivered(service, api)

        self.each(answers(TAKEN), check)

    def test_refused(self) -> None:
        """
        What is refused for good is rejected: one point by one attempt, a batch once
        each of its points was refused by itself.
        """

        def check(service: StatHatService, api: Api, answer: Answer) -> None:
            flushed = service.flush()
            self.run_clock(60)
            result = self.successResultOf(flushed)
            self.assertFalse(result)
            self.assertEqual((result.delivered, result.queued), (0, 0))
            self.assertEqual((result.rejected, result.dropped), (len(api.points), 0))
            self.run_clock(LONG)
            self.assertEqual(service.health.rejected, len(api.points))
            self.assertEqual(self.server.totals, {})
            most = 2 * len(api.points) + 1 if api.name == "EZ batch" else api.requests
            self.assertLessEqual(len(self.server.arrivals), most)

        self.each(answers(REFUSED), check)

    def test_again(self) -> None:
        """What the server cannot take now is tried again, and arrives once."""

        def check(service: StatHatService, api: Api, answer: Answer) -> None:
            self.run_clock(20)
            self.assertEqual(service.health.pending, len(api.points))
            times = self.agent.times
            self.assertGreater(len(times), 1)
            self.assertLess(len(times), 20)
            if "Retry-After" in dict(answer.headers):
                soon = [t for t in times if 0 < t - times[0] < 5]
                self.assertEqual(soon, [])
            self.server.always(OK)
            self.run_clock(120)
            self.check_delivered(service, api)

        self.each(answers(AGAIN), check)

    def check_slow(self, service: StatHatService, api: Api, answer: Answer) -> None:
        """For a minute the answer is this one: each request is made once in it."""
        self.run_clock(60)
        self.assertEqual(service.health.pending, len(api.points))
        self.assertEqual(service.health.lost, 0)
        self.assertLessEqual(len(self.server.arrivals), api.requests)
        self.server.always(OK)
        self.run_clock(SLOWLY)
        self.check_delivered(service, api)

    def test_page(self) -> None:
        """What something else answered loses nothing, and is tried at a slow pace."""
        self.each(answers(PAGE), self.check_slow)

    def test_key(self) -> None:
        """A refusal of the key loses nothing, and is tried at a slow pace."""
        self.each(answers(KEY), self.check_slow)

    def test_stays_in_the_spool(self) -> None:
        """What could not be delivered is delivered once by the next process."""
        rows = answers(PAGE, KEY, AGAIN)
        for api in APIS:
            for answer in rows:
                with self.rows.row(api, answer):
                    self.begin()
                    self.server.always(answer)
                    spool = self.new_folder()
                    service = self.start(api.client, spool=spool)
                    self.record(service, api)
                    flushed = service.flush()
                    self.stop(service)
                    result = self.successResultOf(flushed)
                    self.assertFalse(result)
                    self.assertEqual(result.queued, len(api.points))
                    self.assertEqual(self.server.totals, {})
                    self.server.always(OK)
                    service = self.start(api.client, spool=spool)
                    self.run_clock(SLOWLY)
                    self.assertEqual(service.health.recovered, len(api.points))
                    self.check_delivered(service, api)
                    self.stop(service)
        self.rows.check(4 * len(rows))

    def test_unknown_once(self) -> None:
        """After an answer that nobody understands, points go again, slowly."""

        def check(service: StatHatService, api: Api, answer: Answer) -> None:
            self.check_slow(service, api, answer)

        self.each(answers(UNKNOWN), check, on_ambiguous="resend")

    def test_unknown_for_ever(self) -> None:
        """
        Points of which nobody knows are sent four times in all, then dropped; a server
        that knows ids has them once all the same.
        """

        def check(service: StatHatService, api: Api, answer: Answer) -> None:
            self.run_clock(2 * LONG)
            self.assertEqual(len(self.server.arrivals), 4 * api.requests)
            self.assertEqual(service.health.dropped, {"ambiguous": len(api.points)})
            self.assertEqual(self.server.totals, api.totals)

        self.each(
            [replace(answer, takes=True) for answer in answers(UNKNOWN)],
            check,
            honours_ids=True,
            on_ambiguous="resend",
        )

    def test_unknown_dropped(self) -> None:
        """With ``'drop'`` they are dropped at once, and the server has them once."""

        def check(service: StatHatService, api: Api, answer: Answer) -> None:
            flushed = service.flush()
            self.run_clock(1 if api.requests == 1 else LONG)
            result = self.successResultOf(flushed)
            self.assertFalse(result)
            self.assertEqual((result.dropped, result.delivered), (len(api.points), 0))
            self.run_clock(LONG)
            self.assertEqual(service.health.dropped, {"ambiguous": len(api.points)})
            self.assertEqual(len(self.server.arrivals), api.requests)
            self.assertEqual(self.server.totals, api.totals)

        self.each(
            [replace(answer, takes=True) for answer in answers(UNKNOWN)],
            check,
            on_ambiguous="drop",
        )


class ImportTests(VirtualCase):
    """
    ``txstathat import``: a file of points, and the note of how far it has come.
    """

    def setUp(self) -> None:
        super().setUp()
        self.rows = Rows(self)

    apis = tuple(api for api in APIS if api.client is txStatHat)
    lines = {
        "EZ single": "stat,count,t\nsignups,7,1700000000\n",
        "EZ batch": "stat,count,value,t\n"
        "signups,7,,1700000000\npaid,0.1,,1700000001\nload,,0.25,1700000002\n",
    }

    def send(self) -> Exception | None:
        """Run the import once; why it stopped."""
        journal = Journal.read(self.progress) or Journal(URL, "")
        client = self.client(txStatHat)
        sender = Sender(LinesSource(self.file), journal, self.progress)
        sent = Deferred.fromCoroutine(sender.send(client, self.clock, self.told.append))
        self.run_clock(LONG)
        stopped: Exception | None = self.successResultOf(
            sent.addErrback(lambda failed: failed.value)
        )
        self.assertFalse(self.server.faults, self.server.faults[:1])
        return stopped

    def each(
        self,
        meanings: tuple[str, ...],
        check: Callable[[Api, Answer], None],
        **options: Any,
    ) -> None:
        """Import a file, for each of the answers."""
        rows = answers(*meanings)
        for api in self.apis:
            for answer in rows:
                with self.rows.row(api, answer):
                    self.begin(**options)
                    self.server.always(answer)
                    self.told: list[int] = []
                    folder = Path(self.new_folder())
                    folder.mkdir()
                    self.file = folder / "past"
                    self.progress = folder / "past.imported"
                    self.file.write_text(self.lines[api.name])
                    check(api, answer)
        self.rows.check(2 * len(rows))

    def check_once(self, api: Api) -> None:
        """All is there once, and the import says so."""
        self.assertEqual(self.server.totals, api.totals)
        self.assertEqual(len(self.server.ledger), len(api.points))
        self.assertEqual(sum(self.told), len(api.points))

    def test_taken(self) -> None:
        """What is taken is sent once, also when the import runs again."""

        def check(api: Api, answer: Answer) -> None:
            self.assertIsNone(self.send())
            self.assertIsNone(self.send())
            self.assertEqual(len(self.server.arrivals), 1)
            self.check_once(api)

        self.each((TAKEN,), check)

    def test_not_taken(self) -> None:
        """
        What is not taken stops the import and is not called accepted; it is sent when
        the import runs again, and then it counts once.
        """

        def check(api: Api, answer: Answer) -> None:
            self.assertIsInstance(self.send(), RequestFailed)
            self.assertEqual(self.told, [])
            self.assertEqual(self.server.totals, {})
            self.server.always(OK)
            self.assertIsNone(self.send())
            self.check_once(api)

        self.each((REFUSED, KEY, LARGE, AGAIN, PAGE), check)

    def test_again(self) -> None:
        """What the server cannot take at first is tried again in the same run."""

        def check(api: Api, answer: Answer) -> None:
            self.server.answer = lambda arrival: (
                answer if len(self.server.arrivals) == 1 else OK
            )
            self.assertIsNone(self.send())
            self.assertEqual(len(self.server.arrivals), 2)
            self.check_once(api)

        self.each((AGAIN,), check)

    def test_refused_at_once(self) -> None:
        """A refusal, or a page, is not asked for again in the same run."""

        def check(api: Api, answer: Answer) -> None:
            self.assertIsInstance(self.send(), RequestFailed)
            self.assertEqual(len(self.server.arrivals), 1)

        self.each((REFUSED, KEY), check)

    def test_unknown(self) -> None:
        """
        After an answer that nobody understands, the import does not call the points
        accepted, and does not send them again: that server may know no ids.
        """

        def check(api: Api, answer: Answer) -> None:
            self.server.always(replace(answer, takes=True))
            self.assertIsInstance(self.send(), RequestFailed)
            self.assertEqual(self.told, [])
            self.assertEqual(len(self.server.arrivals), 1)
            self.assertEqual(self.server.totals, api.totals)
            journal = Journal.read(self.progress)
            self.assertIsNotNone(journal and journal.sending)

        self.each((UNKNOWN,), check)
