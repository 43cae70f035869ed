"""
Which notices are tried: the decision itself.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures.stores import NOW
from txstathat.collector.alerts.alert_record import AlertRecord
from txstathat.collector.alerts.model import AlertDefinition
from txstathat.collector.alerts.notices import LONGEST_DELAY, AlertNotice
from txstathat.collector.alerts.operator_webhooks import Webhooks
from txstathat.collector.alerts.sending.queue import Failing, choose, queued
from txstathat.collector.alerts.sending.targets import KnownTargets
from txstathat.collector.channels import parse_channel

CHANNELS = {
    name: parse_channel({"name": name, "kind": "ntfy", "topic": "t"}) for name in "cd"
}


def known(*unreadable: str) -> KnownTargets:
    """The channels ``c`` and ``d``."""
    return KnownTargets(CHANNELS, Webhooks(), frozenset(unreadable))


def record(id: str, *notices: AlertNotice) -> AlertRecord:
    """An alert with notices that wait."""
    alert = AlertDefinition(id, "i", "a", "data", "5m")
    return AlertRecord(alert, notices=notices)


def notice(at: float, channel: str = "c", **fields: Any) -> AlertNotice:
    """A notice."""
    return AlertNotice("fired", 1, NOW + at, 1, channel=channel, **fields)


def even(low: float, high: float) -> float:
    """No randomness."""
    return (low + high) / 2


class QueueTests(SynchronousTestCase):
    """
    Notices of several alerts for one channel or two.
    """

    def chosen(
        self, records: list[AlertRecord], failing: dict[str, Failing] | None = None
    ) -> list[tuple[str, str]]:
        """The alerts and channels of the notices that are tried now."""
        waiting = queued(records, known())
        return [each.id for each in choose(waiting, failing or {}, NOW)]

    def test_order(self) -> None:
        """All first notices are tried, by time; none overtakes an older one."""
        records = [
            record("x", notice(-5), notice(-4)),
            record("y", notice(-6), notice(-6, "d")),
            record("z", notice(-3)),
        ]
        # The second one of x comes before that of z.
        self.assertEqual(self.chosen(records), [("y", "c"), ("x", "c"), ("y", "d")])
        records = [record("x", notice(-5)), records[2]]
        self.assertEqual(self.chosen(records), [("x", "c"), ("z", "c")])

    def test_not_due(self) -> None:
        """One that is tried elsewhere, or was set into the future by a clock, waits or not."""
        for next_at, due in (
            (NOW + 10, False),
            (NOW, True),
            (NOW + LONGEST_DELAY + 1, True),
        ):
            records = [
                record("x", notice(-5, next_at=next_at)),
                record("y", notice(-4)),
            ]
            expected = [("x", "c")] * due + [("y", "c")]
            self.assertEqual(self.chosen(records), expected)

    def test_failing(self) -> None:
        """While a channel fails, one is tried when its pause is over; others go on."""
        records = [
            record("x", notice(-5, attempts=1, next_at=NOW + 9, failed=True)),
            record("y", notice(-4), notice(-4, "d")),
        ]
        state = Failing()
        state.fail(NOW - 16, even)
        self.assertEqual(self.chosen(records, {"c": state}), [("x", "c"), ("y", "d")])
        state.fail(NOW - 16, even)
        self.assertEqual(self.chosen(records, {"c": state}), [("y", "d")])
        # The third attempt is for the one that was tried least.
        state.next_at = NOW
        self.assertEqual(self.chosen(records, {"c": state}), [("y", "c"), ("y", "d")])
        state.is_back = True
        self.assertEqual(
            self.chosen(records, {"c": state}), [("x", "c"), ("y", "c"), ("y", "d")]
        )

    def test_one_that_always_fails(self) -> None:
        """It waits for its own next attempt when the channel is back."""
        records = [
            record("x", notice(-5, attempts=9, next_at=NOW + 99, failed=True)),
            record("y", notice(-4)),
        ]
        state = Failing(failures=2, is_back=True)
        self.assertEqual(self.chosen(records, {"c": state}), [("y", "c")])

    def test_unreadable(self) -> None:
        """What is for a channel that this version cannot read is left alone."""
        waiting = queued([record("x", notice(0), notice(0, "d"))], known("c"))
        self.assertEqual([each.id for each in waiting], [("x", "d")])

    def test_pauses(self) -> None:
        """Pauses grow with each failure, and begin anew after the channel was back."""
        state, pauses = Failing(), []
        for _ in range(7):
            state.fail(NOW, even)
            pauses.append(state.next_at - NOW)
        self.assertEqual(pauses, [15, 30, 60, 120, 240, 300, 300])
        self.assertFalse(state.is_due(NOW + 299))
        self.assertTrue(state.is_due(NOW + 300))
        # The clock was set back.
        self.assertTrue(state.is_due(NOW - 3600))
        state.is_back = True
        state.fail(NOW, even)
        self.assertEqual((state.failures, state.next_at - NOW), (1, 15))

    @given(
        st.lists(
            st.lists(
                st.tuples(st.integers(-9, 9), st.sampled_from("cd"), st.booleans()),
                max_size=5,
            ),
            max_size=6,
        ),
        st.dictionaries(st.sampled_from("cd"), st.integers(1, 5)),
    )
    def test_any_queue(self, drawn: Any, failures: dict[str, int]) -> None:
        """
        Never two notices of one alert for a channel, never more than one for a channel
        that fails, and something for each other channel whose first notice is due.
        """
        records = [
            record(
                f"{number}",
                *(
                    notice(at, name, attempts=int(failed), failed=failed)
                    for at, name, failed in sorted(notices)
                ),
            )
            for number, notices in enumerate(drawn)
        ]
        failing = {name: Failing(count) for name, count in failures.items()}
        waiting = queued(records, known())
        chosen = choose(waiting, failing, NOW)
        ids = [each.id for each in chosen]
        self.assertEqual(len(ids), len(set(ids)))
        for name in "cd":
            own = [each for each in chosen if each.key == name]
            others = [each for each in waiting if each.key == name]
            self.assertEqual(bool(own), bool(others))
            if name in failing:
                self.assertLessEqual(len(own), 1)
            orders = [each.order for each in own]
            self.assertEqual(orders, sorted(orders))
            self.assertTrue(all(each.is_first for each in own))
