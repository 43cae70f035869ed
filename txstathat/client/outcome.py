"""
The outcome of points that were sent: StatHat's answer and its meaning.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum

from txstathat.errors import StatHatAPIError, StatHatBusy
from txstathat.http.pending import may_have_arrived
from txstathat.http.responses import BadReply, Reply
from txstathat.printable import printable

__all__ = [
    "KEY_MESSAGES",
    "MAX_MESSAGE",
    "NO_ANSWER",
    "Outcome",
    "Verdict",
    "is_key_message",
    "outcome_of_failure",
    "outcome_of_reply",
    "one_line",
]

#: The most characters of a server's message that an error shows.
MAX_MESSAGE = 200

#: How an error message begins when the reply is not an answer of StatHat's.
NO_ANSWER = "not an answer of StatHat's"

#: Whole messages, in lower case, with which servers refuse a key under a status that
#: does not say so: of StatHat, EzStat, the collector, and similar servers.
KEY_MESSAGES = frozenset(
    {
        "no ezkey specified", "no ukey specified", "no key specified",
        "invalid keys", "invalid key", "invalid ezkey", "invalid ukey",
        "invalid ez key", "invalid user key", "invalid stat key", "invalid api key",
        "unknown ezkey", "unknown ukey", "unknown key", "missing ezkey",
        "missing ukey", "missing key", "missing api key",
    }
)  # fmt: skip

#: Statuses below 500 after which the same request may succeed later.
_RETRY_STATUSES = frozenset({408, 425, 429})
#: Statuses that mean a wrong key.
_KEY_STATUSES = frozenset({401, 403})
#: The words that EzStat writes for a status: its "error" means StatHat's 500.
_STATUS_WORDS = {"ok": 200, "error": 500}
#: How the collector names the refused point of a list.
_BAD_POINT = re.compile(r"data\[([0-9]{1,6})\]: ")
#: Bytes that may precede the first tag of a page.
_BLANK = b"\xef\xbb\xbf \t\r\n"


class Verdict(Enum):
    """
    The result of sending points, by what a sender can do next.
    """

    #: The server accepted the points.
    ACCEPTED = "accepted"
    #: The server, or a check before sending, will never accept the points.
    REFUSED = "refused"
    #: The server does not know the key. The points may be valid.
    KEY_REFUSED = "key refused"
    #: The request was too large. A smaller one may be accepted.
    TOO_LARGE = "too large"
    #: The points were not accepted. The same request may succeed later.
    RETRY = "retry"
    #: The answer is not of a StatHat server: a proxy, a wrong URL, a maintenance page.
    #: It says nothing about the points.
    NOT_STATHAT = "not a StatHat server"
    #: The points may have been accepted or not: the answer was lost, or its meaning is
    #: unknown.
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    The outcome of points that were sent.

    :ivar verdict: see :class:`Verdict`.
    :ivar error: what went wrong; ``None`` if and only if the points were accepted.
    :ivar status: the HTTP status of the reply, or the status inside the reply if the
        HTTP status is a success; ``None`` without a reply.
    :ivar retry_after: how many seconds the server asks to wait, at least 0; ``None`` if
        it does not ask.
    :ivar from_stathat: whether the answer was StatHat's JSON.
    :ivar bad_point: the index of the point that the server refused, if it says so.
    """

    verdict: Verdict
    error: Exception | None = None
    status: int | None = None
    retry_after: float | None = None
    from_stathat: bool = False
    bad_point: int | None = None

    @property
    def accepted(self) -> bool:
        """
        Whether the server accepted the points.
        """
        return self.verdict is Verdict.ACCEPTED


def outcome_of_reply(
    reply: Reply, now: float, hide: Callable[[str], str] = str
) -> Outcome:
    """
    The outcome that a reply means.

    StatHat's JSON is ``{"status": 200, "msg": "ok"}`` or ``{"status": "ok"}`` for a
    success, and has another number or ``"error"`` for a refusal. The status inside
    decides, unless the HTTP status asks to try again. A 204 needs no JSON.

    :param reply: the reply.
    :param now: the time in Unix seconds, for a ``Retry-After`` that is a date.
    :param hide: removes secrets from the server's message.
    """
    answer = _read_answer(reply.body)
    if answer is not None and not (answer.status == 200 and _is_passing(reply.status)):
        return _outcome_of_answer(answer, reply, now, hide)
    if reply.status == 204:
        return Outcome(Verdict.ACCEPTED, status=204)
    is_page = reply.body.lstrip(_BLANK).startswith(b"<")
    problem = f"{NO_ANSWER} (HTTP status {reply.status})"
    return _outcome_of_status(reply.status, problem, is_page, _retry_after(reply, now))


def outcome_of_failure(error: Exception) -> Outcome:
    """
    The outcome of an exchange without a readable reply.

    :param error: what the exchange failed with.
    """
    if isinstance(error, BadReply):
        return _outcome_of_status(error.status, error.problem, error.is_page)
    if isinstance(error, StatHatBusy) or not may_have_arrived(error):
        return Outcome(Verdict.RETRY, error)
    return Outcome(Verdict.AMBIGUOUS, error)


def is_key_message(msg: str) -> bool:
    """
    Whether a server's message says that the key is wrong or missing.

    Only whole messages match: a part of a message might be the name of a stat.
    """
    return msg.strip().rstrip(".!").casefold() in KEY_MESSAGES


@dataclass(frozen=True, slots=True)
class _Answer:
    """
    StatHat's JSON.

    :ivar msg: the server's message, which may quote the key.
    """

    status: int
    msg: str = field(repr=False)


def _outcome_of_answer(
    answer: _Answer, reply: Reply, now: float, hide: Callable[[str], str]
) -> Outcome:
    if answer.status == 200:
        return Outcome(Verdict.ACCEPTED, status=200, from_stathat=True)
    status = answer.status if 200 <= reply.status < 300 else reply.status
    named = _BAD_POINT.match(answer.msg)
    # A message about keys contains no secret, although a short key may be a part of it.
    about_key = is_key_message(answer.msg)
    msg = one_line(answer.msg if about_key else hide(answer.msg))
    if _is_passing(reply.status):
        verdict = Verdict.RETRY
    elif status == 413 or answer.status == 413:
        verdict = Verdict.TOO_LARGE
    elif {status, answer.status} & _KEY_STATUSES or about_key:
        verdict = Verdict.KEY_REFUSED
    # StatHat refuses everything with a 500 inside.
    elif _is_passing(answer.status) and answer.status != 500:
        verdict = Verdict.RETRY
    else:
        verdict = Verdict.REFUSED
    return Outcome(
        verdict,
        StatHatAPIError(answer.status, msg),
        status,
        _retry_after(reply, now),
        from_stathat=True,
        bad_point=int(named[1]) if named and verdict is Verdict.REFUSED else None,
    )


def _outcome_of_status(
    status: int, problem: str, is_page: bool, retry_after: float | None = None
) -> Outcome:
    """
    The outcome of an answer that is not StatHat's JSON.
    """
    if _is_passing(status):
        verdict = Verdict.RETRY
    elif status == 413:
        verdict = Verdict.TOO_LARGE
    elif status in _KEY_STATUSES:
        verdict = Verdict.KEY_REFUSED
    elif 200 <= status < 300 and not is_page:
        verdict = Verdict.AMBIGUOUS
    else:
        verdict = Verdict.NOT_STATHAT
        problem += "; the URL may be wrong, or a proxy answers"
    return Outcome(verdict, StatHatAPIError(status, problem), status, retry_after)


def _is_passing(status: int) -> bool:
    """
    Whether a status means that the same request may succeed later.
    """
    return status in _RETRY_STATUSES or 500 <= status <= 599


def _read_answer(body: bytes) -> _Answer | None:
    """
    The answer in a reply; ``None`` if it is not StatHat's JSON.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, dict):
        return None
    status, msg = answer.get("status"), answer.get("msg", "")
    if isinstance(status, str):
        status = _STATUS_WORDS.get(status.casefold())
    if not isinstance(status, int) or isinstance(status, bool):
        return None
    if not isinstance(msg, str) or not (status == 200 or 400 <= status <= 599):
        return None
    return _Answer(status, msg)


def one_line(msg: str) -> str:
    """
    A server's message for errors and logs: short, on one line, and without control
    characters.
    """
    return printable(msg[:MAX_MESSAGE], " ")


def _retry_after(reply: Reply, now: float) -> float | None:
    """
    The delay that a server asks for, in seconds (RFC 9110, section 10.2.3).
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
