"""
Every answer that a server may give, to a service with a spool and without: what it
says became of the points is right, and the server has each of them once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from tests.fixtures.answering_rows import APIS, Api, Rows, amount_of
from tests.fixtures.answering_server import (
    AGAIN,
    KEY,
    OK,
    PAGE,
    REFUSED,
    TAKEN,
    UNKNOWN,
    Answer,
    answers,
)
from tests.fixtures.virtual_time import VirtualCase
from txstathat import Count, StatHatService

#: An hour and a half: whatever can be settled is settled by then.
LONG = 5_400.0
#: Twice the slowest pace, for each of several points.
SLOWLY = 1_800.0


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
                self.successResultOf(add(point.stat, amount_of(point), t=point.t)), True
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
