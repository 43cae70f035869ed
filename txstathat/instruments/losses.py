"""
The failures of counting: they are counted and sometimes logged, but not passed on.
"""

from __future__ import annotations

from collections.abc import Callable
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
    :ivar last: the name of the exception class of the last loss; empty without a loss.
    """

    def __init__(self, instrument: str) -> None:
        self.total = 0
        self.last = ""
        self._instrument = instrument

    def send(
        self, method: Callable[..., Deferred[Any]], *point: Any
    ) -> Deferred[Any] | None:
        """
        Send a point, and count it if that fails in any way. An exception, which
        :mod:`txstathat.interfaces` does not allow, is such a failure.

        :param method: the ``count`` or ``value`` method that takes the point.
        :param point: the parameters of the method.
        :returns: the Deferred of the point, which does not fail; ``None`` if there is
            none.
        """
        try:
            sent = method(*point)
            self.watch(sent)
            return sent
        except Exception:
            self.note(Failure())
            return None

    def watch(self, sent: Deferred[Any]) -> None:
        """
        Count a point if its Deferred fails. Where every microsecond counts, this takes
        less than :meth:`send`, for whoever handles exceptions anyway.

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
        # Only the class: a message could contain a URL with a key.
        self.last = type(failure.value).__name__
        if str(self.total).strip("0") == "1":
            _log.warn(
                "{instrument}: {total} points lost so far, the last because of {error}",
                instrument=self._instrument,
                total=self.total,
                error=self.last,
            )
