"""
How the collector refuses a request.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from txstathat.errors import StatHatError

__all__ = ["Hold", "PointAhead", "Refusal", "WrongKey", "clock_doubt", "utc"]

#: Begins a delay. It calls its argument at the end, and returns what ends the delay
#: without that call.
Hold = Callable[[Callable[[], object]], Callable[[], None]]


class Refusal(StatHatError):
    """
    A request that the collector does not accept.

    :ivar status: the status inside the JSON answer.
    :ivar msg: the reason, and what to do about it.
    :ivar http_status: the HTTP status; by default the same as ``status``.
    :ivar retry_after: the seconds after which to try again; ``None`` if that would not
        help.
    :ivar closes: whether the connection is closed after the answer.
    """

    def __init__(
        self,
        status: int,
        msg: str,
        http_status: int | None = None,
        retry_after: int | None = None,
        *,
        closes: bool = False,
    ) -> None:
        super().__init__(status, msg)
        self.retry_after = retry_after
        self.status = status
        self.msg = msg
        self.http_status = status if http_status is None else http_status
        self.closes = closes

    def __str__(self) -> str:
        return self.msg


class WrongKey(Refusal):
    """
    A key, a token or a link is unknown.

    :ivar hold: begins the delay of the answer; ``None`` if it is not delayed.
    """

    hold: Hold | None = None


class PointAhead(Refusal):
    """
    A point is further ahead of the collector's clock than
    :data:`~txstathat.collector.limits.MAX_AHEAD`.

    :ivar number: the index of the point in its batch.
    :ivar t: the time of the point, in Unix seconds.
    :ivar now: the time of the clock, in Unix seconds.
    """

    def __init__(self, number: int, stat: str, t: int, now: float) -> None:
        super().__init__(
            400, f"t: {stat!r} has the time {t}, which is more than a day in the future"
        )
        self.number = number
        self.t = t
        self.now = now


def utc(time: float) -> str:
    """
    Return a time as text for messages.

    :param time: Unix seconds.
    """
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M} UTC"


def clock_doubt(now: float, reason: str) -> Refusal:
    """
    Return the refusal of a point that is too far ahead of a clock that may be wrong.
    The sender should try again later.

    :param now: the time of the clock, in Unix seconds.
    :param reason: why the clock may be wrong.
    """
    return Refusal(
        503,
        f"the clock of this collector may be wrong: it says {utc(now)}, and {reason}; "
        "send the points again when it is right",
        retry_after=60,
    )
