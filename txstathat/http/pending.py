"""
An exchange in progress: it ends once, with its reply, with a failure, or at its time
limit.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed, ResponseNeverReceived

from txstathat.errors import StatHatClosed
from txstathat.http.connections.tracking import HandshakeFailed
from txstathat.http.responses import BadReply, Reply
from txstathat.http.result import CallDeferred

__all__ = ["PendingExchange", "may_have_arrived"]


def may_have_arrived(error: BaseException) -> bool:
    """
    Whether the server may have acted on a request that failed without a reply.

    :param error: what an exchange failed with.
    :returns: ``False`` when it is certain that no server read the request.
    """
    # The cause of an exchange that was given up is how its request ended.
    given_up = isinstance(error, (StatHatClosed, TimeoutError))
    end = error.__cause__ if given_up else error
    if isinstance(end, HandshakeFailed):
        return False
    return isinstance(end, (ResponseFailed, BadReply))


class PendingExchange:
    """
    One exchange in progress. It ends once: with its reply or failure, or when it is
    given up.

    :param work: the request; fires with its reply.
    :param ended: is called with this exchange when the request has ended.
    """

    def __init__(
        self, work: Deferred[Reply], ended: Callable[[PendingExchange], object]
    ) -> None:
        self.result: Deferred[Reply] = CallDeferred(
            lambda _: self._give_up(CancelledError())
        )
        self._work = work
        self._ended = ended
        self._error: Exception | None = None

    def start(self, clock: IReactorTime, timeout: float) -> None:
        """
        Start the timer, and wait for the request.

        :param clock: runs the timer.
        :param timeout: seconds until the exchange is given up.
        """
        self._timer = clock.callLater(timeout, self._expire, clock)
        self._work.addBoth(self._settle)

    def _expire(self, clock: IReactorTime) -> None:
        # After the whole program was blocked, a reply may have arrived that is not read
        # yet: the reactor's next iteration reads it.
        self._timer = clock.callLater(0, self.end, TimeoutError())

    # Trial prints the name of a timer that a test has left.
    _expire.__qualname__ = "txstathat: a call is in progress; its time limit "

    def end(self, error: Exception) -> None:
        """
        End with a failure, at whatever stage the request is.

        :param error: what the result fails with.
        """
        self._give_up(error)
        if not self.result.called:
            # The agent does not give up at once, so the stage is unknown.
            error.__cause__ = ResponseNeverReceived([])
            self.result.errback(error)

    def _give_up(self, error: Exception) -> None:
        # What the request fails with when it is cancelled depends on its stage; what
        # the caller sees does not. The stage becomes the cause: see may_have_arrived.
        self._error = error
        self._work.cancel()

    def _settle(self, outcome: Reply | Failure) -> None:
        if self._timer.active():
            self._timer.cancel()
        self._ended(self)
        if self._error is not None:
            if isinstance(outcome, Failure):
                self._error.__cause__ = outcome.value
            outcome = Failure(self._error)
        if not self.result.called:
            self.result.callback(outcome)
