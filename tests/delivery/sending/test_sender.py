"""
What the service does about each kind of answer.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from tests.fixtures.delivery import LOSE_REPLY, OK, DeliveryTestCase, MemoryServer, run
from tests.fixtures.support import logged
from txstathat import Count, FlushResult, StatHatService, txStatHatClassic
from txstathat.client.payload import Payload
from txstathat.delivery.backlog import MAX_WAITING
from txstathat.delivery.batch import SealedBatch
from txstathat.points.wire import json_points

JSON = {"Content-Type": "application/json"}
NO_CONTENT = (204, b"", {})
ERROR = (200, b'{"status": "error", "msg": "no"}', JSON)
UNCLEAR = (202, b"queued", {})
PAGE = (404, b"<html>Not here</html>", {})


def refusal(msg: str = "no", status: int = 400) -> Any:
    """A refusal such as the collector's."""
    return status, b'{"status": %d, "msg": "%b"}' % (status, msg.encode()), JSON


class AnswersTestCase(DeliveryTestCase):
    """
    Services, and a server that dislikes some stats.
    """

    def classic(self, **settings: Any) -> StatHatService:
        client = txStatHatClassic("ukey", agent=self.server, reactor=self.clock)
        return self.make(client=client, **settings)

    def dislike(self, is_bad: Callable[[str], bool], answer: Any = None) -> None:
        """Refuse every request in which one stat is bad."""

        def mood() -> Any:
            bad = any(map(is_bad, self.server.stats[-1]))
            return (answer or refusal()) if bad else OK

        self.server.mood = mood

    def make(self, started: bool = True, **settings: Any) -> StatHatService:
        """A service that seals a thousand points as one batch."""
        return super().make(started, **{"max_batch": 1500, **settings})

    def count(self, service: StatHatService, stats: int) -> Any:
        """Count each of some stats once, and send them."""
        for i in range(stats):
            service.count(f"s{i:03}")
        return service.flush()


class SearchTests(AnswersTestCase):
    """
    Finding what the server does not take.
    """

    def check(self, stats: int, is_bad: Callable[[str], bool], most: int) -> None:
        """Check that exactly the bad points are rejected, with few enough requests."""
        for spool in (None, self.mktemp()):
            self.server = MemoryServer(self.clock)
            reported: list[str] = []
            service = self.make(
                on_rejected=lambda points, e, reported=reported: reported.extend(
                    point.stat for point in points
                ),
                spool=spool,
            )
            self.dislike(is_bad)
            result = self.successResultOf(self.count(service, stats))
            names = [f"s{i:03}" for i in range(stats)]
            bad = list(filter(is_bad, names))
            self.assertEqual(sorted(reported), bad)
            good = stats - len(bad)
            self.assertEqual(result, FlushResult(delivered=good, rejected=len(bad)))
            self.assertEqual(self.server.sums, dict.fromkeys(set(names) - set(bad), 1))
            self.assertLessEqual(len(self.server.ids), most)
            self.assertEqual(len(set(self.server.ids)), len(self.server.ids))

    def test_one_bad_point(self) -> None:
        """One bad point of a thousand costs at most 25 requests, wherever it is."""
        for bad in ("s000", "s031", "s500", "s999"):
            self.check(1000, bad.__eq__, 25)

    def test_two_bad_points(self) -> None:
        """Two cost at most 45."""
        for pair in (("s000", "s999"), ("s031", "s093"), ("s250", "s751")):
            self.check(1000, pair.__contains__, 45)

    def test_all_bad(self) -> None:
        """All of a thousand cost at most 40."""
        self.check(1000, lambda stat: True, 40)

    def test_all_but_one_bad(self) -> None:
        """A good point among many bad ones arrives, if it is one of those tried."""
        self.check(300, lambda stat: stat != "s019", 600)

    def test_half_bad(self) -> None:
        """Many bad points of many are all found, and no other is rejected."""
        self.check(300, lambda stat: stat < "s150", 340)
        self.check(300, lambda stat: int(stat[1:]) % 2 == 0, 620)

    def test_few_points(self) -> None:
        """Of a small batch each point is tried before it is rejected."""
        for stats in (2, 3, 15, 16, 17):
            self.check(stats, lambda stat: True, 2 * stats)
            self.check(stats, lambda stat: stat > "s000", 2 * stats + 1)

    def test_error_in_words(self) -> None:
        """A refusal whose status is "error" is searched too."""
        service = self.make()
        self.dislike("s007".__eq__, ERROR)
        result = self.successResultOf(self.count(service, 100))
        self.assertEqual(result, FlushResult(delivered=99, rejected=1))

    def test_named(self) -> None:
        """A point that the server names costs three requests."""
        service = self.make()

        def mood() -> Any:
            stats = self.server.stats[-1]
            if "s617" not in stats:
                return OK
            return refusal(f"data[{stats.index('s617')}]: stat: no")

        self.server.mood = mood
        result = self.successResultOf(self.count(service, 1000))
        self.assertEqual(result, FlushResult(delivered=999, rejected=1))
        self.assertEqual(len(self.server.ids), 3)

    def test_named_all(self) -> None:
        """A server that names one point after the other gets few requests."""
        service = self.make()
        self.server.mood = lambda: refusal("data[0]: stat: no")
        result = self.successResultOf(self.count(service, 1000))
        self.assertEqual(result, FlushResult(rejected=1000))
        self.assertLessEqual(len(self.server.ids), 40)

    def test_named_wrongly(self) -> None:
        """A point that is named, but accepted when sent alone, is not rejected."""
        service = self.make()
        named = [refusal("data[5]: no")]
        self.server.mood = lambda: named.pop() if named else OK
        result = self.successResultOf(self.count(service, 100))
        self.assertEqual(result, FlushResult(delivered=100))
        self.dislike("s031".__eq__, refusal("data[99999]: no"))
        result = self.successResultOf(self.count(service, 100))
        self.assertEqual(result, FlushResult(delivered=99, rejected=1))

    def test_refused_for_different_reasons(self) -> None:
        """Single points that are refused for different reasons prove nothing."""
        service = self.make()

        def mood() -> Any:
            stats = self.server.stats[-1]
            if "s999" in stats or "s031" in stats or "s093" in stats:
                return refusal(f"reason {'a' if 's031' in stats else 'b'}")
            return OK

        self.server.mood = mood
        result = self.successResultOf(self.count(service, 1000))
        self.assertEqual(result, FlushResult(delivered=997, rejected=3))

    def test_trouble_while_searching(self) -> None:
        """An outage in the middle of the search loses and doubles nothing."""
        for trouble in ((503, b"", {}), LOSE_REPLY, PAGE, UNCLEAR):
            for on_ambiguous in ("resend", "drop"):
                for when in (1, 2, 3, 4, 7):
                    self.server = MemoryServer(self.clock)
                    service = self.make(on_ambiguous=on_ambiguous)

                    def mood(when: int = when, trouble: Any = trouble) -> Any:
                        bad = "s049" in self.server.stats[-1]
                        if len(self.server.ids) == when and not (
                            bad and trouble == LOSE_REPLY
                        ):
                            return trouble
                        return refusal() if bad else OK

                    self.server.mood = mood
                    self.count(service, 100)
                    run(self.clock, 1400, 5)
                    health = service.health
                    self.assertEqual(health.pending, 0, (trouble, when))
                    lost = sum(health.dropped.values()) if on_ambiguous == "drop" else 0
                    self.assertEqual(
                        health.delivered + health.rejected + lost, 100, (trouble, when)
                    )
                    self.assertLessEqual(health.rejected, 1)
                    self.assertLessEqual(max(self.server.sums.values(), default=0), 1)

    def test_stopped_while_searching(self) -> None:
        """A search that did not end before the service is in the spool."""
        place = self.mktemp()
        service = self.make(spool=place)
        answers = [refusal(), refusal()]
        self.server.mood = lambda: answers.pop() if answers else (503, b"", {})
        self.count(service, 1000)
        service.stopService()
        run(self.clock, 8)
        self.assertEqual(service.health.pending, 1000)
        self.dislike("s031".__eq__)
        successor = self.make(spool=place)
        run(self.clock, 400)
        self.assertEqual(successor.health.delivered, 999)
        self.assertEqual(successor.health.rejected, 1)


class TooLargeTests(AnswersTestCase):
    """
    413, whoever says it.
    """

    def test_halved(self) -> None:
        """A batch that is too large is halved until it fits."""
        for answer in ((413, b"", {}), (413, b"<html>", {}), refusal("big", 413)):
            self.server = MemoryServer(self.clock)
            service = self.make()

            def mood(answer: Any = answer) -> Any:
                return answer if len(self.server.stats[-1]) > 130 else OK

            self.server.mood = mood
            result = self.successResultOf(self.count(service, 1000))
            self.assertEqual(result, FlushResult(delivered=1000))
            self.assertEqual(len(self.server.ids), 15)

    def test_one_point(self) -> None:
        """One point is rejected if a StatHat server says so; otherwise it waits."""
        service = self.make()
        self.server.mood = lambda: refusal("big", 413)
        self.assertEqual(
            self.successResultOf(self.count(service, 1)), FlushResult(rejected=1)
        )
        self.server.mood = lambda: (413, b"<html>", {})
        self.assertEqual(
            self.successResultOf(self.count(service, 1)), FlushResult(queued=1)
        )
        self.server.mood = lambda: OK
        run(self.clock, 301)
        self.assertEqual(service.health.delivered, 1)


class WaitingTests(AnswersTestCase):
    """
    What only a person can put right: everything waits.
    """

    def test_no_stathat_server(self) -> None:
        """Nothing is rejected or split; one line in the log, and health, say so."""
        for answer in (
            PAGE, (400, b"<html>", {}), (302, b"", {"Location": "/login"}),
            (200, b"<html>Soon</html>", {}), (405, b'{"error": "method"}', {}),
        ):  # fmt: skip
            for make in (self.make, self.classic):
                self.server = MemoryServer(self.clock)
                service = make()
                self.server.mood = lambda answer=answer: answer
                with logged() as log:
                    flushed = self.count(service, 5)
                    run(self.clock, 900)
                    service.count("later")
                self.assertLessEqual(len(self.server.ids), 4)
                result = self.successResultOf(flushed)
                self.assertEqual(result, FlushResult(queued=5))
                (line,) = log.at_level("warn")
                for text in (line, str(service.health.blocked)):
                    self.assertIn(str(answer[0]), text)
                    self.assertIn("the URL may be wrong", text)
                self.server.mood = lambda: OK
                run(self.clock, 310)
                self.assertIsNone(service.health.blocked)
                self.assertEqual(len(self.server.sums), 6)
                self.assertEqual(service.health.delivered, 6)
                self.assertEqual(service.health.lost, 0)

    def test_wrong_ez_key(self) -> None:
        """A refused key blocks everything until it is corrected."""
        for answer in (
            refusal("this ezkey is not known here", 403), (401, b"", {}),
            (200, b'{"status": 500, "msg": "no ezkey specified"}', {}),
            (200, b'{"status": "error", "msg": "invalid ezkey"}', {}),
        ):  # fmt: skip
            self.server = MemoryServer(self.clock)
            service = self.make()
            self.server.mood = lambda answer=answer: answer
            flushed = self.count(service, 5)
            run(self.clock, 900)
            self.assertLessEqual(len(self.server.ids), 4)
            self.assertEqual(self.successResultOf(flushed), FlushResult(queued=5))
            self.assertIsNotNone(service.health.blocked)
            self.server.mood = lambda: OK
            with logged() as log:
                run(self.clock, 310)
            self.assertEqual(service.health.delivered, 5)
            self.assertEqual(log.at_level("warn"), ["batches are accepted again"])

    def test_one_wrong_stat_key(self) -> None:
        """With the Classic API a wrong stat key slows the points of its stat only."""
        for spool in (None, self.mktemp()):
            self.server = MemoryServer(self.clock)
            service = self.classic(spool=spool)
            self.dislike(
                "s050".__eq__, (200, b'{"status": 500, "msg": "invalid keys"}', {})
            )
            with logged() as log:
                for _ in range(8):
                    for i in range(100):
                        service.count(f"s{i:03}")
                    run(self.clock, 40)
            others = {f"s{i:03}": 8 for i in range(100) if i != 50}
            self.assertEqual(self.server.sums, others)
            self.assertLessEqual(self.server.stats.count(["s050"]), 4)
            self.assertEqual(service.health.pending, 8)
            self.assertEqual(service.health.refused_keys, 1)
            self.assertIsNone(service.health.blocked)
            (line,) = log.at_level("warn")
            self.assertIn("invalid keys", line)
            # A stat's key is a secret.
            self.assertNotIn("s050", log.text)
            result = self.successResultOf(service.flush())
            self.assertEqual(result, FlushResult(delivered=792, queued=8))
            self.server.mood = lambda: OK
            run(self.clock, 310)
            self.assertEqual(self.server.sums["s050"], 8)
            self.assertEqual(service.health.refused_keys, 0)
            self.assertEqual(service.health.delivered, 800)

    def test_messages_that_look_like_it(self) -> None:
        """A stat named "invalid keys" does not make a refusal one of the key."""
        service = self.make()
        self.server.mood = lambda: refusal("stat: 'invalid keys'")
        service.count("invalid keys")
        result = self.successResultOf(service.flush())
        self.assertEqual(result, FlushResult(rejected=1))

    def test_stop(self) -> None:
        """The end does not wait where nothing can be delivered."""
        for make, answer in ((self.make, PAGE), (self.classic, refusal("no", 403))):
            service = make()
            self.server.mood = lambda answer=answer: answer
            self.count(service, 3)
            run(self.clock, 10)
            self.successResultOf(service.stopService())
            self.assertEqual(service.health.dropped, {"shutdown": 3})

    def test_held_batches_are_bounded(self) -> None:
        """Batches that wait for a stat's key are dropped when there are too many."""
        service = self.classic()
        self.dislike("bad".__eq__, refusal("invalid keys", 500))
        self.server.mood = lambda: (
            (200, b'{"status": 500, "msg": "invalid keys"}', {})
            if self.server.stats[-1] == ["bad"]
            else OK
        )
        for t in range(MAX_WAITING + 10):
            service.count("bad", t=t)
        for t in range(30):
            service.count("good", t=t)
        service.flush()
        run(self.clock, 10)
        self.assertEqual(self.server.sums, {"good": 30})
        self.assertEqual(service.health.dropped, {"full": 10})
        self.assertEqual(service.health.pending, MAX_WAITING)


class UnclearTests(AnswersTestCase):
    """
    A success of which nobody knows what it means.
    """

    def test_resend(self) -> None:
        """It is sent again three times, minutes apart, then dropped as ambiguous."""
        for make in (self.make, self.classic):
            for answer in (UNCLEAR, (200, b"", {}), (200, b'{"ok": true}', {})):
                self.server = MemoryServer(self.clock)
                service = make()
                self.server.mood = lambda answer=answer: answer
                flushed = self.count(service, 1)
                run(self.clock, 230)
                self.assertEqual(len(self.server.ids), 1)
                result = self.successResultOf(flushed)
                self.assertEqual(result, FlushResult(queued=1))
                run(self.clock, 2000, 5)
                self.assertEqual(len(self.server.ids), 4)
                self.assertEqual(len(set(self.server.ids)), 1)
                self.assertEqual(service.health.dropped, {"ambiguous": 1})
                times = self.server.times
                gaps = [b - a for a, b in pairwise(times)]
                self.assertGreaterEqual(min(gaps), 240)

    def test_batch(self) -> None:
        """A batch of several points likewise, whole."""
        service = self.make()
        self.server.mood = lambda: UNCLEAR
        self.count(service, 5)
        run(self.clock, 2000, 5)
        self.assertEqual(len(self.server.ids), 4)
        self.assertEqual(service.health.dropped, {"ambiguous": 5})

    def test_drop(self) -> None:
        """With on_ambiguous='drop' it is sent once."""
        service = self.make(on_ambiguous="drop")
        self.server.mood = lambda: UNCLEAR
        result = self.successResultOf(self.count(service, 5))
        self.assertEqual(result, FlushResult(dropped=5))
        run(self.clock, 2000, 5)
        self.assertEqual(len(self.server.ids), 1)
        self.assertEqual(service.health.dropped, {"ambiguous": 5})

    def test_a_clear_answer_ends_it(self) -> None:
        """A clear answer to a later attempt counts."""
        service = self.make()
        answers = [OK, UNCLEAR, UNCLEAR]
        self.server.mood = answers.pop
        self.count(service, 5)
        run(self.clock, 700)
        self.assertEqual(service.health.delivered, 5)
        self.assertEqual(service.health.dropped, {})

    def test_stop_does_not_send_it_again(self) -> None:
        """The end of the service does not send it sooner."""
        service = self.make()
        self.server.mood = lambda: UNCLEAR
        self.count(service, 1)
        run(self.clock, 10)
        self.successResultOf(service.stopService())
        self.assertEqual(len(self.server.ids), 1)
        self.assertEqual(service.health.dropped, {"shutdown": 1})


class SuccessTests(AnswersTestCase):
    """
    Each success is one request.
    """

    def test_once(self) -> None:
        """204, "ok" and 200 are counted once, single or batch, EZ or Classic."""
        for answer in (
            NO_CONTENT, (200, b'{"status": "ok", "msg": "ok"}', {}),
            (200, b'{"status": 200, "msg": "ok"}', {}),
        ):  # fmt: skip
            for make, stats, requests in (
                (self.make, 1, 1), (self.make, 5, 1), (self.classic, 5, 5),
            ):  # fmt: skip
                self.server = MemoryServer(self.clock)
                service = make()
                self.server.mood = lambda answer=answer: answer
                result = self.successResultOf(self.count(service, stats))
                self.assertTrue(result)
                self.assertEqual(result, FlushResult(delivered=stats))
                run(self.clock, 1000, 5)
                self.assertEqual(len(self.server.ids), requests)

    def test_not_now_inside(self) -> None:
        """A busy status in StatHat's JSON is retried after Retry-After."""
        service = self.make()
        busy = (503, b'{"status": 503, "msg": "busy"}', {"Retry-After": "30"})
        answers = [OK, busy, (200, b'{"status": 503, "msg": "busy"}', {})]
        self.server.mood = answers.pop
        flushed = self.count(service, 5)
        run(self.clock, 60)
        self.assertEqual(self.successResultOf(flushed), FlushResult(delivered=5))
        self.assertGreaterEqual(self.server.times[2] - self.server.times[1], 30)


class OldSpoolTests(AnswersTestCase):
    """
    What was spooled before single points became forms.
    """

    def test_list_of_one(self) -> None:
        """A single point that was sealed as JSON is sent, and can be rejected."""
        reported: list[Any] = []
        service = self.make(on_rejected=lambda points, error: reported.append(points))
        payload = Payload("/ez", "application/json", 1, json_points([Count("a", 3, 7)]))
        for mood in (OK, refusal()):
            self.server.mood = lambda mood=mood: mood
            service._loop.backlog.add(
                [SealedBatch(0, self.clock.seconds(), payload, [1])]
            )
            service._loop.ledger.sealed += 1
            self.successResultOf(service.flush())
        self.assertEqual(self.server.sums, {"a": 3})
        self.assertEqual(reported, [[Count("a", 3, 7)]])

    def test_another_client(self) -> None:
        """Files that a client of the other API left are not touched, and are counted."""
        place = self.mktemp()
        self.server.mood = lambda: (503, b"", {})
        for make in (self.make, self.classic):
            left = make(spool=place)
            self.count(left, 3)
            left.stopService()
            run(self.clock, 8)
        self.server.mood = lambda: OK
        service = self.make(spool=place)
        run(self.clock, 100)
        service.count("mine")
        result = self.successResultOf(service.flush())
        self.assertEqual(result, FlushResult(delivered=4))
        self.assertEqual(service.health.foreign_files, 1)
        classic = self.classic(spool=place)
        run(self.clock, 100)
        self.assertEqual(classic.health.delivered, 3)
