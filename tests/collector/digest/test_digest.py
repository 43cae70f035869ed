"""
The weekly digest: when it is due, what it says, and that it is sent once.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.fixtures.archives import batch
from tests.fixtures.collectors import in_memory
from tests.fixtures.mail_server import LoopbackMailServer
from tests.fixtures.stores import RedisHost, SqliteHost
from tests.fixtures.support import logged, reactor
from txstathat import Count, Value
from txstathat.collector.archive.archive import Archive
from txstathat.collector.channels import (
    ChannelMessage,
    Channels,
    DeliveryFailed,
    Outgoing,
    parse_channel,
)
from txstathat.collector.digest.digest import (
    DIGEST_EVERY,
    DIGEST_LEASE,
    DigestState,
    WeeklyDigest,
)
from txstathat.collector.digest.schedule import Schedule
from txstathat.collector.digest.totals import MAX_DIGEST_STATS, WeekTotal, digest_text
from txstathat.collector.records import BadRecord
from txstathat.http.connections.allowed import Networks

#: Monday, 2026-11-30, 08:00 UTC.
DUE = datetime(2026, 11, 30, 8, tzinfo=UTC).timestamp()
DAY = 86_400
MAIL = {
    "name": "mail",
    "kind": "email",
    "to": "ops@example.com",
    "from": "stats@example.com",
    "server": "localhost",
    "security": "none",
}


class ScheduleTests(SynchronousTestCase):
    """
    When a digest is due.
    """

    def test_due(self) -> None:
        """It is due once a week, at the time of its zone, also when clocks change."""
        for text, now, due in (
            ("mon 08:00", "2026-11-30T08:00+00:00", "2026-11-30T08:00+00:00"),
            ("mon 08:00", "2026-11-30T07:59+00:00", "2026-11-23T08:00+00:00"),
            ("Sun 0:30 UTC", "2026-11-30T08:00+00:00", "2026-11-29T00:30+00:00"),
            # Berlin is an hour ahead in winter, and two in summer.
            ("mon 08:00 Europe/Berlin", "2026-10-26T07:00+00:00", "2026-10-26T07:00+00:00"),
            ("mon 08:00 Europe/Berlin", "2026-10-25T23:00+00:00", "2026-10-19T06:00+00:00"),
            # It is Monday in Auckland.
            ("mon 00:10 Pacific/Auckland", "2026-11-29T12:00+00:00", "2026-11-29T11:10+00:00"),
        ):  # fmt: skip
            found = Schedule.parse(text).last_due(
                datetime.fromisoformat(now).timestamp()
            )
            self.assertEqual(
                datetime.fromtimestamp(found, UTC), datetime.fromisoformat(due)
            )

    @given(
        st.integers(0, 4_000_000_000),
        st.integers(0, 6),
        st.integers(0, 23),
        st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"]),
    )
    def test_any_time(self, now: int, day: int, hour: int, zone: str) -> None:
        """The last time lies in the week before now, but for an hour of a clock change."""
        names = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
        due = Schedule.parse(f"{names[day]} {hour}:30 {zone}").last_due(now)
        self.assertTrue(now - 7 * DAY - 3600 <= due <= now)

    def test_wrong(self) -> None:
        """A wrong time is refused, with how to write it."""
        for text in ("", "monday 8:00", "mon", "mon 24:00", "mon 8:60", "xyz 8:00"):
            with self.assertRaises(ValueError) as caught:
                Schedule.parse(text)
            self.assertIn("must be like 'mon 08:00'", str(caught.exception))
        with self.assertRaises(ValueError) as caught:
            Schedule.parse("mon 08:00 Mars/Olympus")
        self.assertIn("'Mars/Olympus' is not the name", str(caught.exception))


class RecordingChannels(Channels):
    """
    Channels that record what they send, and fail as the test says.
    """

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.sent: list[ChannelMessage] = []
        self.errors: list[DeliveryFailed] = []

    async def send(self, definition: Any, message: ChannelMessage) -> None:
        """Record the message, or fail."""
        if self.errors:
            raise self.errors.pop(0)
        self.sent.append(message)


class DigestTests(SynchronousTestCase):
    """
    A store with some weeks of points, and a digest.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(DUE - 20 * DAY)
        self.store = in_memory(self)
        self.archive = Archive(self.store)
        self.channels = RecordingChannels(self.store)
        channel = parse_channel(MAIL)
        self.now(self.channels.records.create(channel))
        self.weekly = self.digest()

    def now(self, waited: Any) -> Any:
        """The result of a coroutine that has finished."""
        return self.successResultOf(Deferred.fromCoroutine(waited))

    def digest(self, channel: str = "mail", at: str = "mon 08:00") -> WeeklyDigest:
        """The digest of a collector."""
        return WeeklyDigest(
            self.archive,
            self.channels,
            channel,
            Schedule.parse(at),
            jitter=lambda low, high: (low + high) / 2,
        )

    def run_until(self, time: float, *points: Any) -> None:
        """Let time pass by the hour, with points in each."""
        while self.clock.seconds() < time:
            self.clock.advance(3600)
            if points:
                self.successResultOf(self.archive.add(batch(*points)))
            self.now(self.weekly.run())

    def test_weeks(self) -> None:
        """The totals of whole days, beside the week before; the first one is the next."""
        midnight = DUE - 8 * 3600
        self.run_until(midnight - 14 * DAY - 3600)
        self.assertEqual(self.channels.sent, [])
        points = (Count("views", 2), Value("load", 0.5), Count("lo\x1bst", 1))
        self.run_until(midnight - 7 * DAY - 3600, *points)
        self.channels.sent.clear()
        self.run_until(
            midnight - 3600, Count("views", 3), Value("load", 1), Count("new")
        )
        self.run_until(DUE + DAY)
        _, message = self.channels.sent
        self.assertEqual(message.title, "txStatHat: 2026-11-23 to 2026-11-29")
        self.assertEqual(message.event, "digest")
        self.assertEqual(
            message.text.splitlines(),
            [
                "2026-11-23 to 2026-11-29 (UTC), beside the week before",
                "",
                "                this week  week before    change",
                "lo\N{REPLACEMENT CHARACTER}st                   0          168  -100.0 %",
                "load (average)          1          0.5  +100.0 %",
                "new                   168            0",
                "views                 504          336   +50.0 %",
            ],
        )

    def test_missed(self) -> None:
        """A collector that was down sends it when it is back, and only the last one."""
        self.run_until(DUE - 10 * DAY)
        self.assertEqual(len(self.channels.sent), 1)
        self.clock.advance(12 * DAY)
        self.weekly = self.digest()
        self.run_until(DUE + 3 * DAY)
        ids = [message.id for message in self.channels.sent]
        self.assertEqual(ids, [f"digest-{int(DUE - 14 * DAY)}", f"digest-{int(DUE)}"])

    def test_failures(self) -> None:
        """It is tried again for a day; a refusal for good is given up at once."""
        self.run_until(DUE - 3600)
        self.channels.sent.clear()
        self.channels.errors = [DeliveryFailed("away")] * 3
        with logged() as log:
            self.run_until(DUE + 6 * 3600)
        self.assertEqual(
            log.at_level("warn"),
            [
                "the weekly digest could not be sent through the channel 'mail', and "
                "is tried again: away"
            ],
        )
        self.assertEqual(len(self.channels.sent), 1)
        self.channels.errors = [DeliveryFailed("SMTP status 550", permanent=True)]
        with logged() as log:
            self.run_until(DUE + 10 * DAY)
        self.assertEqual(
            log.at_level("warn"),
            [
                "the weekly digest could not be sent through the channel 'mail', and "
                "is given up: SMTP status 550"
            ],
        )
        self.assertEqual(len(self.channels.sent), 1)
        self.channels.errors = [DeliveryFailed("away")] * 100
        with logged() as log:
            self.run_until(DUE + 18 * DAY)
        self.assertIn("is given up: away", log.text)
        self.assertLess(60, len(self.channels.errors))

    def test_wrong_channels(self) -> None:
        """A channel that does not exist, or is none for e-mail, is named in the log."""
        ntfy = parse_channel({"name": "n", "kind": "ntfy", "topic": "t"})
        self.now(self.channels.records.create(ntfy))
        for name, words in (
            ("x", "there is no channel with the name 'x'"),
            ("n", "the channel is not one for e-mail"),
        ):
            self.weekly = self.digest(name)
            with logged() as log:
                self.run_until(self.clock.seconds() + 8 * DAY)
            self.assertIn(words, log.text)
        self.assertEqual(self.channels.sent, [])

    def test_clock_steps(self) -> None:
        """
        A clock that is set back or forward by an hour sends nothing twice; after one
        that was a month ahead, the next digest comes at its time.
        """
        self.run_until(DUE + 600)
        self.channels.sent.clear()
        for step in (-3600, 3600, -7200, 7200):
            self.clock.rightNow += step
            self.now(self.weekly.run())
        self.assertEqual(self.channels.sent, [])
        self.clock.rightNow += 30 * DAY
        self.now(self.weekly.run())
        self.clock.rightNow -= 30 * DAY
        self.channels.sent.clear()
        self.run_until(DUE + 8 * DAY)
        self.assertEqual(
            [message.id for message in self.channels.sent],
            [f"digest-{int(DUE + 7 * DAY)}"],
        )

    def test_a_collector_that_dies(self) -> None:
        """Another collector sends it when the time of the first one is over."""
        self.run_until(DUE - 3600)
        self.channels.sent.clear()
        self.clock.advance(3600 + DIGEST_EVERY)
        begun = DigestState(int(DUE), False, 1, self.clock.seconds() + DIGEST_LEASE)
        self.successResultOf(self.store.put_record("digest", "digest", begun.text))
        self.clock.advance(DIGEST_LEASE - 1)
        self.now(self.weekly.run())
        self.assertEqual(self.channels.sent, [])
        self.clock.advance(1)
        self.now(self.weekly.run())
        self.assertEqual(len(self.channels.sent), 1)

    def test_records(self) -> None:
        """A record is read as it was written; one of a newer version stops the digest."""
        state = DigestState(7, True, 2, 5.5)
        self.assertEqual(DigestState.read("digest", state.text), state)
        for text in ("[]", "{}", state.text.replace("7", '"7"')):
            self.assertRaises(BadRecord, DigestState.read, "digest", text)
        newer = state.text.replace("{", '{"more": 1, ', 1)
        self.successResultOf(self.store.put_record("digest", "digest", newer))
        with logged() as log:
            self.run_until(DUE + DAY)
        self.assertIn("a newer txStatHat wrote it", log.text)
        self.assertEqual(self.channels.sent, [])

    def test_text(self) -> None:
        """Changes are in percent of what was; what is left out is counted."""
        totals = [
            WeekTotal("a" * 90, True, 1_234_567, 0),
            WeekTotal("b", True, -5, -10),
            WeekTotal("c", False, None, 2.5),
            WeekTotal("d", True, 10, 10),
        ]
        lines = digest_text(totals, 7, int(DUE)).splitlines()
        self.assertTrue(lines[3].startswith("a" * 59 + "…"))
        self.assertTrue(lines[3].endswith("1,234,567            0"))
        self.assertTrue(lines[4].endswith("-5          -10  +50.0 %"))
        self.assertTrue(lines[5].endswith("-          2.5"))
        self.assertTrue(lines[6].endswith("10           10   +0.0 %"))
        self.assertEqual(lines[-1], "7 more stats are not shown.")
        self.assertIn("No stat had points", digest_text([], 0, int(DUE)))
        self.assertGreaterEqual(MAX_DIGEST_STATS, 100)


class SeveralOnSqliteTests(TestCase):
    """
    Several collectors on one store, and a real mail server.
    """

    timeout = 120
    host: Any = SqliteHost

    @inlineCallbacks
    def test_once(self) -> Any:
        """Four collectors look at the same time; one e-mail arrives, as it was sent."""
        host = self.host(self)
        server = LoopbackMailServer("none")
        self.addCleanup(server.stop)
        stores = []
        for _ in range(4):
            stores.append((yield host.open()))
        fields = {**MAIL, "port": str(server.port)}
        all_channels = [
            Channels(store, Outgoing(Networks(["127.0.0.1", "::1"]), reactor=reactor))
            for store in stores
        ]
        yield Deferred.fromCoroutine(all_channels[0].create(fields))
        yield Archive(stores[0]).add(batch(Count("é views", 5)))
        now = host.clock.seconds()
        weekly = [
            WeeklyDigest(Archive(store), channels, "mail", Schedule.parse("mon 08:00"))
            for store, channels in zip(stores, all_channels, strict=True)
        ]
        for _ in range(2):
            yield gatherResults([Deferred.fromCoroutine(each.run()) for each in weekly])
            self.assertEqual(server.box.mails, [])
        due = Schedule.parse("mon 08:00").last_due(now + 7 * DAY)
        host.clock.advance(due - now + 1)
        for _ in range(3):
            yield gatherResults([Deferred.fromCoroutine(each.run()) for each in weekly])
        (mail,) = server.box.mails
        self.assertIn("é views", mail.get_content())
        self.assertEqual(mail["Message-ID"], f"<digest-{due}@example.com>")
        for channels in all_channels:
            yield channels.close()


class SeveralOnRedisTests(SeveralOnSqliteTests):
    """
    The same on Redis.
    """

    host = RedisHost
