"""
What became of points that were sent: StatHat's answer, judged.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum

from txstathat.errors import StatHatAPIError, StatHatBusy
from txstathat.replies import BadReply, Reply
from txstathat.transport import may_have_arrived

__all__ = [
    "MAX_MESSAGE",
    "NO_ANSWER",
    "Outcome",
    "Verdict",
    "judge_failure",
    "judge_reply",
]

#: The most characters of a server's message that are kept.
MAX_MESSAGE = 200

#: How the message of an error begins whose reply held no message of StatHat's.
NO_ANSWER = "not an answer of StatHat's"

#: HTTP statuses below 500 after which the same request may succeed later.
_RETRY_STATUSES = frozenset({408, 425, 429})


class Verdict(Enum):
    """
    What can be said of points that were sent.
    """

    #: The server took them.
    ACCEPTED = "accepted"
    #: The server, or a check before sending, will never take them.
    REFUSED = "refused"
    #: They were not taken; the same request may succeed later.
    RETRY = "retry"
    #: The answer was lost: they may have been taken or not.
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What became of points that were sent.

    :ivar verdict: see :class:`Verdict`.
    :ivar error: what went wrong; ``None`` exactly when the points were accepted.
    :ivar status: the HTTP status of the reply, or the status inside the reply where
        the HTTP status is a success; ``None`` without a reply.
    :ivar retry_after: how many seconds the server asks to wait, at least 0; ``None``
        where it does not ask.
    """

    verdict: Verdict
    error: Exception | None = None
    status: int | None = None
    retry_after: float | None = None

    @property
    def accepted(self) -> bool:
        """
        Whether the server took the points.
        """
        return self.verdict is Verdict.ACCEPTED


def judge_reply(reply: Reply, now: float, hide: Callable[[str], str] = str) -> Outcome:
    """
    Judge a reply to points.

    The ``status`` inside StatHat's JSON is what counts; the HTTP status may or may not
    agree with it, and decides where there is no such JSON.

    :param reply: the reply.
    :param now: the time in Unix seconds, for a ``Retry-After`` that is a date.
    :param hide: takes secrets out of the server's message.
    """
    answer = _read_answer(reply.body, hide)
    if answer is None:
        error = StatHatAPIError(
            reply.status, f"{NO_ANSWER} (HTTP status {reply.status})"
        )
    else:
        error = StatHatAPIError(*answer)
        if error.status == 200:
            return Outcome(Verdict.ACCEPTED, status=200)
    success = 200 <= reply.status < 300
    status = error.status if success else reply.status
    if success:
        verdict = Verdict.RETRY if answer is None else Verdict.REFUSED
    elif 400 <= reply.status < 500 and reply.status not in _RETRY_STATUSES:
        verdict = Verdict.REFUSED
    else:
        verdict = Verdict.RETRY
    return Outcome(verdict, error, status, _retry_after(reply, now))


def judge_failure(error: Exception) -> Outcome:
    """
    Judge points whose exchange ended without a reply that could be read.

    :param error: what the exchange failed with.
    """
    if isinstance(error, BadReply):
        return Outcome(
            Verdict.RETRY, StatHatAPIError(error.status, error.problem), error.status
        )
    if isinstance(error, StatHatBusy) or not may_have_arrived(error):
        return Outcome(Verdict.RETRY, error)
    return Outcome(Verdict.AMBIGUOUS, error)


def _read_answer(body: bytes, hide: Callable[[str], str]) -> tuple[int, str] | None:
    """
    The status and message of a reply, or ``None`` if it is not StatHat's JSON.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, dict):
        return None
    status, msg = answer.get("status"), answer.get("msg", "")
    if not isinstance(status, int) or isinstance(status, bool):
        return None
    if not isinstance(msg, str) or not 0 <= status <= 999:
        return None
    # The message goes into errors and logs: keep it short and on one line.
    msg = hide(msg)[:MAX_MESSAGE]
    return status, "".join(c if c.isprintable() else " " for c in msg)


def _retry_after(reply: Reply, now: float) -> float | None:
    """
    The delay that a server asks for (RFC 9110, section 10.2.3): seconds or a date.
    """
    raw = (reply.headers.getRawHeaders(b"Retry-After") or [b""])[0]
    text = raw.decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return float(text[:10])
    try:
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        return max(0.0, date.timestamp() - now)
    except (OverflowError, TypeError, ValueError):
        return None
