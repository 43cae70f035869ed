"""
When an alert fires, in words.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txstathat.collector.alerts.conditions.words import condition
from txstathat.collector.alerts.model import AlertDefinition
from txstathat.export.models import Alert


class WordsTests(SynchronousTestCase):
    """The words of the pages and the commands."""

    def test_condition(self) -> None:
        """Each kind, as the server stores it and as the client reads it."""
        for fields, words in (
            (("data", "5m"), "there is no data for 5 minutes"),
            (
                ("value", "1h", "greater than", 1500),
                "it is greater than 1,500 over 1 hour",
            ),
            (
                ("value", "1M", "less than", -0.5),
                "it is less than -0.5 over 1 month",
            ),
            (
                ("delta", "1d", "different than", None, 50, "1w"),
                "it changes by more than 50% over 1 day, compared with 1 week before",
            ),
            (
                ("delta", "1d", "less than", None, 12.5, "1y"),
                "it falls by more than 12.5% over 1 day, compared with 1 year before",
            ),
        ):
            for kind in (AlertDefinition, Alert):
                self.assertEqual(condition(kind("1", "2", "load", *fields)), words)

    def test_unknown_windows(self) -> None:
        """The window of another server is shown as it says it."""
        alert = Alert("1", "2", "load", "data", "2h")
        self.assertEqual(condition(alert), "there is no data for 2h")
