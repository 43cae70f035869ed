"""
The failures of counting: they are counted and sometimes logged, but not passed on.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

__all__ = ["Losses"]

_log = Logger()


class Losses:
    """
    Counts the points that an instrument lost.

    The 1st, 10th, 100th and so on is logged: a collector that is down for a day causes
    a handful of lines.

    :param instrument: the name of the instrument, for the log.
    :ivar total: how many points were lost.
    """

    def __init__(self, instrument: str) -> None:
        self.total = 0
        self._instrument = instrument

    def watch(self, sent: Deferred[Any]) -> None:
        """
        Count a point if its Deferred fails.

        :param sent: the Deferred of the point; its failure is handled.
        """
        # A Deferred that has already succeeded needs no errback, which costs time.
        if not sent.called or sent.paused or isinstance(sent.result, Failure):
            sent.addErrback(self.note)

    def note(self, failure: Failure) -> None:
        """
        Count a failure, and log every 1st, 10th, 100th and so on.

        :param failure: why a point was lost.
        """
        self.total += 1
        if str(self.total).strip("0") == "1":
            # Only the class: a message could contain a URL with a key.
            _log.warn(
                "{instrument}: {total} points lost so far, the last because of {error}",
                instrument=self._instrument,
                total=self.total,
                error=type(failure.value).__name__,
            )
