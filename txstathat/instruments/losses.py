"""
Where the failures of counting end: counted, logged now and then, never passed on.
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
    Points that an instrument measured and could not hand on.

    The 1st, 10th, 100th and so on is logged: a collector that is down for a day
    leaves a handful of lines.

    :param instrument: what measured them, for the log.
    :ivar total: how many were lost.
    """

    def __init__(self, instrument: str) -> None:
        self.total = 0
        self._instrument = instrument

    def watch(self, taken: Deferred[Any]) -> None:
        """
        Take note if a point's Deferred fails.
        """
        # What is in already needs no errback, which costs more than all of this.
        if not taken.called or taken.paused or isinstance(taken.result, Failure):
            taken.addErrback(self.note)

    def note(self, failure: Failure) -> None:
        """
        Count a failure, and log it if it is its turn.
        """
        self.total += 1
        if str(self.total).strip("0") == "1":
            # Only the class: a message could hold a URL with a key in it.
            _log.warn(
                "{instrument}: {total} points lost so far, the last to {error}",
                instrument=self._instrument,
                total=self.total,
                error=type(failure.value).__name__,
            )
