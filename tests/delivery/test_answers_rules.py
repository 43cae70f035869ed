"""
What a service does with points that a server does not take: keep them, split the
batch, reject the bad ones, or drop them; and how many requests that costs.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from tests.fixtures.answering_server import (
    AGAIN,
    BAD_STAT,
    KEY,
    OK,
    PAGE,
    PROXY_413,
    REFUSED,
    SERVER_JSON_413,
    TAKEN,
    Answer,
    AnsweringServer,
    Reservation,
    answers,
)
from tests.fixtures.delivery import FULL as DRILLS_IN_FULL
from tests.fixtures.support import logged
from tests.fixtures.virtual_time import VirtualCase
from txstathat import Count, StatHatService, txStatHat, txStatHatClassic

#: How many points a full batch has.
FULL = 1_000
#: An hour: the slowest pace fits into it many times.
HOUR = 3_600.0
APIS = (txStatHat, txStatHatClassic)

NOT_FOUND_PAGE = Answer(
    "a proxy's 404", PAGE, 404, b"<html><body>404 Not Found</body></html>", "text/html"
)


def refusal(msg: str, http: int = 400, inner: int = 400) -> Answer:
    """An answer in StatHat's JSON that refuses for good."""
    body = b'{"status": %d, "msg": "%b"}' % (inner, msg.encode())
    return Answer(msg, REFUSED, http, body, "application/json")


@dataclass
class Picky:
    """
    A server's choice: it refuses what holds a bad stat.

    :ivar bad: the bad stats.
    :ivar answer: how it refuses.
    :ivar names_index: whether it says which one of the points is the first bad one.
    """

    bad: Collection[str]
    answer: Answer = BAD_STAT
    names_index: bool = False

    def __call__(self, arrival: Reservation) -> Answer:
        for index, point in enumerate(arrival.points):
            if point.stat in self.bad:
                if self.names_index and len(arrival.points) > 1:
                    return refusal(f"data[{index}]: is a value stat, not a counter")
                return self.answer
        return OK


class RulesCase(VirtualCase):
    """
    A service, and a server that may refuse.
    """

    def setUp(self) -> None:
        super().setUp()
        self.begin()
        self.rejected: list[Count] = []

    def reject(self, points: Any, error: Exception) -> None:
        """Note what the service says it rejected."""
        self.rejected += points

    def send_many(self, number: int = FULL, **settings: Any) -> StatHatService:
        """Count many stats, each another amount, in one batch."""
        self.amounts = {f"s{n}": Decimal(n + 1) for n in range(number)}
        service = self.start(txStatHat, on_rejected=self.reject, **settings)
        for stat, amount in self.amounts.items():
            service.count(stat, int(amount))
        return service

    def check_settled(self, service: StatHatService, bad: Collection[str]) -> None:
        """The bad were rejected, the others delivered, each once."""
        good = {stat: n for stat, n in self.amounts.items() if stat not in bad}
        self.assertEqual(self.server.totals, good)
        self.assertEqual(len(self.server.ledger), len(good))
        health = service.health
        self.assertEqual((health.delivered, health.rejected), (len(good), len(bad)))
        self.assertEqual({point.stat for point in self.rejected}, set(bad))
        self.assertEqual(len(self.rejected), len(bad))


class SearchTests(RulesCase):
    """
    Finding the bad points of a batch.
    """

    def search(
        self, label: str, bad: Collection[str], choice: Picky, most: int
    ) -> None:
        """A batch with bad points costs a bounded number of requests."""
        self.begin()
        self.rejected = []
        self.server.answer = choice
        service = self.send_many()
        flushed = service.flush()
        self.run_clock(60)
        self.check_settled(service, bad)
        self.assertLessEqual(len(self.server.arrivals), most, label)
        result = self.successResultOf(flushed)
        self.assertFalse(result, label)
        self.assertEqual(
            (result.delivered, result.rejected, result.dropped, result.queued),
            (FULL - len(bad), len(bad), 0, 0),
        )
        self.stop(service)

    def test_one_bad(self) -> None:
        """One bad point in 1,000: 999 are delivered within 25 requests."""
        for place in (0, 1, 499, 500, 768, 999):
            for answer in (
                BAD_STAT,
                refusal("bad stat"),
                refusal("bad stat", 422, 422),
                answers(REFUSED)[-1],
            ):
                bad = {f"s{place}"}
                self.search(f"{place}, {answer.name}", bad, Picky(bad, answer), 25)

    def test_two_bad(self) -> None:
        """Two bad points in 1,000 cost at most 45 requests, wherever they are."""
        draw = random.Random(2)
        places = [(0, 999), (499, 500), (0, 1), (250, 750), (124, 875)]
        places += [tuple(draw.sample(range(FULL), 2)) for _ in range(5)]  # type: ignore[misc]
        for pair in places:
            bad = {f"s{place}" for place in pair}
            self.search(str(pair), bad, Picky(bad), 45)

    def test_named(self) -> None:
        """A point that the answer names is taken out; the others go together."""
        for place in (0, 17, 999):
            bad = {f"s{place}"}
            choice = Picky(bad, refusal("wrong"), names_index=True)
            self.search(str(place), bad, choice, 3)

    def test_several_named(self) -> None:
        """Each answer names one more; all are found, and nothing else is rejected."""
        bad = {"s3", "s400", "s401", "s998"}
        self.search("four", bad, Picky(bad, refusal("wrong"), names_index=True), 12)

    def test_named_wrongly(self) -> None:
        """An index that no point has is not believed."""
        bad = {"s500"}
        for words in ("data[1000]: bad", "data[-1]: bad", "data[99999999999]: bad"):
            self.search(words, bad, Picky(bad, refusal(words)), 26)

    def test_all_bad(self) -> None:
        """A server that refuses every point costs at most 40 requests."""
        for answer in answers(REFUSED):
            everything = {f"s{n}" for n in range(FULL)}
            self.search(answer.name, everything, Picky(everything, answer), 40)

    def test_many_bad(self) -> None:
        """However many are bad in one row, no good point is rejected with them."""
        for label, bad in (
            ("first half", {f"s{n}" for n in range(FULL // 2)}),
            ("all but the last", {f"s{n}" for n in range(FULL - 1)}),
        ):
            self.search(label, bad, Picky(bad), 2 * FULL)


class TooLargeTests(RulesCase):
    """
    HTTP status 413.
    """

    def test_batch(self) -> None:
        """A batch that is too large is split until it fits, whether a proxy or StatHat refuses it."""
        for answer in (SERVER_JSON_413, PROXY_413, replace(PROXY_413, body=b"")):
            self.begin()
            self.rejected = []

            def choose(arrival: Reservation, answer: Answer = answer) -> Answer:
                return answer if len(arrival.points) > 100 else OK

            self.server.answer = choose
            service = self.send_many()
            self.run_clock(60)
            self.check_settled(service, ())
            self.assertLessEqual(len(self.server.arrivals), 31, answer.name)
            self.stop(service)

    def test_one_point_refused(self) -> None:
        """A single point that StatHat's JSON calls too large is rejected."""
        for make in APIS:
            self.begin()
            self.server.always(SERVER_JSON_413)
            service = self.start(make)
            service.count("signups", 7)
            self.run_clock(HOUR)
            self.assertEqual(service.health.rejected, 1)
            self.assertEqual(len(self.server.arrivals), 1)
            self.stop(service)

    def test_one_point_kept(self) -> None:
        """A single point that a proxy calls too large is stored, and arrives later."""
        for make in APIS:
            self.begin()
            self.server.always(PROXY_413)
            service = self.start(make)
            service.count("signups", 7)
            self.run_clock(60)
            self.assertEqual(len(self.server.arrivals), 1)
            self.assertEqual((service.health.pending, service.health.lost), (1, 0))
            self.server.always(OK)
            self.run_clock(HOUR)
            self.assertEqual(self.server.totals, {"signups": 7})
            self.stop(service)


class PageTests(RulesCase):
    """
    Answers that are not a StatHat server's.
    """

    def test_for_a_minute(self) -> None:
        """A page that is up for a minute loses none of 20 counts, and splits nothing."""
        for make in APIS:
            for row, answer in enumerate(answers(PAGE)):
                self.begin()
                # With a spool and without, in turns.
                spool = self.new_folder() if row % 2 else None
                service = self.start(make, spool=spool, interval=1)
                self.server.always(answer)
                for n in range(20):
                    service.count(f"s{n % 5}")
                    self.run_clock(3)
                self.assertEqual(service.health.pending, 20, answer.name)
                self.assertLessEqual(len(self.server.arrivals), 8, answer.name)
                self.server.always(OK)
                self.run_clock(HOUR)
                self.assertEqual(service.health.delivered, 20, answer.name)
                self.assertEqual(
                    self.server.totals, {f"s{n}": 4 for n in range(5)}, answer.name
                )
                self.stop(service)

    def test_large_batch(self) -> None:
        """A batch of 1,000 is not split because of a page: it is sent twice in all."""
        for answer in answers(PAGE):
            self.begin()
            self.server.always(answer)
            service = self.send_many()
            self.run_clock(60)
            self.server.always(OK)
            self.run_clock(HOUR)
            self.check_settled(service, ())
            self.assertEqual(len(self.server.arrivals), 2, answer.name)
            self.stop(service)

    def test_said_once(self) -> None:
        """
        ``health`` and one line in the log name the status, and say that the URL may be
        wrong; for how long it lasts does not matter.
        """
        with logged() as log:
            service = self.start(txStatHat)
            self.server.always(NOT_FOUND_PAGE)
            for _ in range(24):
                service.count("signups")
                self.run_clock(300)
        self.assertIn("404", service.health.last_error or "")
        lines = [line for line in log.at_level("warn") if "404" in line]
        self.assertEqual(len(lines), 1, lines)
        self.assertIn("URL", lines[0])
        self.assertEqual(service.health.pending, 24)
        self.assertNotIn("canary-key", log.text + repr(service.health))
        self.server.always(OK)
        self.run_clock(HOUR)
        self.assertEqual(self.server.totals, {"signups": 24})
        self.stop(service)


class KeyTests(RulesCase):
    """
    Refusals of a key.
    """

    def test_one_stat_key(self) -> None:
        """
        Classic API: one wrong stat key among 100 slows only its own points; once it is
        right they arrive too.
        """
        for answer in answers(KEY):
            self.begin()
            service = self.start(txStatHatClassic, interval=1)
            self.server.answer = Picky({"k50"}, answer)
            for _ in range(3):
                for n in range(100):
                    service.count(f"k{n}")
                self.run_clock(10)
            # A window is open for a second.
            self.run_clock(5)
            good = {f"k{n}": 3 for n in range(100) if n != 50}
            self.assertEqual(self.server.totals, good, answer.name)
            self.assertEqual(service.health.pending, 3, answer.name)
            self.assertEqual(service.health.lost, 0, answer.name)
            self.run_clock(HOUR)
            asked = [a for a in self.server.arrivals if a.stats == {"k50"}]
            # Not faster than one point after the other, each at the slowest pace.
            self.assertLessEqual(len(asked), 3 * (HOUR / 240 + 1), answer.name)
            self.server.always(OK)
            self.run_clock(HOUR)
            self.assertEqual(self.server.totals, {**good, "k50": 3}, answer.name)
            self.stop(service)

    def test_all_keys(self) -> None:
        """Whatever the API, a wrong key costs a few requests an hour, and no point."""
        for make in APIS:
            for answer in answers(KEY):
                self.begin()
                service = self.start(make, max_batch=10)
                self.server.always(answer)
                service.count("signups", 7)
                self.run_clock(HOUR)
                self.assertLessEqual(len(self.server.arrivals), 16, answer.name)
                self.assertGreater(len(self.server.arrivals), 8, answer.name)
                self.assertEqual(service.health.pending, 1, answer.name)
                self.server.always(OK)
                self.run_clock(HOUR)
                self.assertEqual(self.server.totals, {"signups": 7}, answer.name)
                self.stop(service)

    def test_name_in_a_message(self) -> None:
        """
        A stat's name in a refusal does not make it one of the key: messages are
        compared as a whole.
        """
        for words in (
            "no stat is called invalid keys",
            "invalid keys: no such stat",
            "stat 'no ezkey specified' is a counter",
            "invalid ezkey count",
        ):
            for make in APIS:
                self.begin()
                service = self.start(make)
                self.server.always(refusal(words, 200, 500))
                service.count("signups")
                self.run_clock(60)
                self.assertEqual(service.health.rejected, 1, words)
                self.assertEqual(len(self.server.arrivals), 1, words)
                self.stop(service)


class FlushTests(RulesCase):
    """
    What ``flush()`` fires with.
    """

    def flush(
        self, choose: Callable[[AnsweringServer], Any], **settings: Any
    ) -> tuple[bool, tuple[int, int, int, int]]:
        """Three counts of two stats, flushed; the service ends after a minute."""
        self.begin()
        choose(self.server)
        service = self.start(txStatHat, shutdown_timeout=1, **settings)
        service.count("good")
        service.count("bad")
        service.count("bad")
        flushed = service.flush()
        self.run_clock(60)
        self.stop(service)
        result = self.successResultOf(flushed)
        counts = (result.delivered, result.rejected, result.dropped, result.queued)
        return bool(result), counts

    def test_results(self) -> None:
        """It is true only when all was delivered; its numbers are of calls."""

        def picky(server: AnsweringServer) -> None:
            server.answer = Picky({"bad"})

        def page(server: AnsweringServer) -> None:
            server.always(NOT_FOUND_PAGE)

        self.assertEqual(self.flush(lambda server: None), (True, (3, 0, 0, 0)))
        self.assertEqual(self.flush(picky), (False, (1, 2, 0, 0)))
        spool = self.new_folder()
        self.assertEqual(self.flush(page, spool=spool), (False, (0, 0, 0, 3)))

    def test_nothing(self) -> None:
        """With nothing to deliver, all is delivered."""
        service = self.start(txStatHat)
        result = self.successResultOf(service.flush())
        self.assertTrue(result)
        self.assertEqual((result.delivered, result.queued), (0, 0))
        self.stop(service)


class WeatherTests(RulesCase):
    """
    All of it at once, in random order.
    """

    def weather(self, draw: random.Random, bad: Collection[str]) -> Any:
        """A server's mood for a while."""
        picky = Picky(bad, draw.choice(answers(REFUSED)), draw.random() < 0.5)
        most = draw.choice((1, 3, 50))
        passing = draw.choice(answers(AGAIN, PAGE, KEY))
        taken = draw.choice(answers(TAKEN))

        def fine(arrival: Reservation) -> Answer:
            answer = picky(arrival)
            return taken if answer is OK else answer

        def small(arrival: Reservation) -> Answer:
            if len(arrival.points) > most:
                return draw.choice((SERVER_JSON_413, PROXY_413))
            return fine(arrival)

        return draw.choice((fine, small, lambda arrival: passing))

    def test_any_weather(self) -> None:
        """
        Whatever a server answers in between, and whenever the process starts again, at
        last each good count is on the server once, and each bad one was rejected.
        """
        for seed in range(400 if DRILLS_IN_FULL else 12):
            draw = random.Random(seed)
            self.begin()
            make = APIS[seed % 2]
            bad = {f"s{n}" for n in draw.sample(range(40), draw.choice((0, 1, 3)))}
            settings = {"spool": self.new_folder(), "interval": 2}
            service = self.start(make, **settings)
            counted: Counter[str] = Counter()
            rejected = 0
            for _ in range(25):
                self.server.answer = self.weather(draw, bad)
                for n in draw.sample(range(40), draw.randrange(20)):
                    service.count(f"s{n}", n + 1)
                    counted[f"s{n}"] += n + 1
                self.run_clock(draw.choice((1, 5, 60, 400)))
                if draw.random() < 0.2:
                    self.stop(service)
                    rejected += service.health.rejected
                    service = self.start(make, **settings)
            self.server.answer = Picky(bad)
            self.run_clock(4 * HOUR)
            health = service.health
            self.assertEqual((health.pending, health.dropped), (0, {}), seed)
            good = {stat: n for stat, n in counted.items() if stat not in bad}
            self.assertEqual(self.server.totals, good, seed)
            rejected += health.rejected
            self.assertEqual(bool(rejected), bool(bad & counted.keys()), seed)
            self.stop(service)
