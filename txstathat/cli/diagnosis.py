"""
Which step of an exchange failed, and what to do about it.
"""

from __future__ import annotations

from dataclasses import dataclass

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectError, DNSLookupError, TimeoutError
from twisted.web.client import ResponseFailed

from txstathat.errors import InvalidPoint, StatHatAPIError
from txstathat.transport import may_have_arrived

__all__ = ["Diagnosis", "STEPS", "diagnose"]

#: The steps of an exchange, in order.
STEPS = ("point", "look-up", "connection", "TLS", "key", "answer")


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """
    What an exchange failed at.

    :ivar step: one of :data:`STEPS`.
    :ivar problem: what happened.
    :ivar advice: what to do.
    """

    step: str
    problem: str
    advice: str


_ADVICE = {
    "point": "Correct it.",
    "look-up": "Check the host name in the URL, and this machine's DNS.",
    "connection": "Check the port in the URL, that the server runs, and the firewall.",
    "TLS": "The server must show a valid certificate for this host name. For a "
    "certificate authority of your own set SSL_CERT_FILE to its certificate.",
    "key": "Check the key.",
    "answer": "Check that the URL is that of StatHat's API or of a collector; "
    "if it is, try again later.",
}


def diagnose(error: BaseException) -> Diagnosis:
    """
    Say which step failed.

    :param error: what a call of a client's failed with.
    """
    step, problem = _step(error)
    return Diagnosis(step, problem, _ADVICE[step])


def _step(error: BaseException) -> tuple[str, str]:
    if isinstance(error, InvalidPoint):
        return "point", str(error)
    if isinstance(error, StatHatAPIError):
        about_key = error.status in (401, 403) or "key" in error.msg
        return "key" if about_key else "answer", str(error)
    if isinstance(error, TimeoutError) and error.__cause__ is not None:
        return _step_reached(error.__cause__), "the time limit was reached"
    if isinstance(error, DNSLookupError):
        return "look-up", "the host name was not found"
    if isinstance(error, ResponseFailed):
        reasons = [reason.value for reason in error.reasons]
        if any(isinstance(each, (SSL.Error, VerificationError)) for each in reasons):
            return "TLS", f"the connection was not secured: {_text(reasons)}"
        return "answer", f"the answer was lost: {_text(reasons)}"
    if isinstance(error, ConnectError):
        return "connection", str(error)
    return "answer", f"{type(error).__name__}: {error}"


def _step_reached(cause: BaseException) -> str:
    if isinstance(cause, DNSLookupError):
        return "look-up"
    return "answer" if may_have_arrived(cause) else "connection"


def _text(reasons: list[BaseException | None]) -> str:
    told = (each for each in reasons if not isinstance(each, CancelledError))
    return "; ".join(f"{type(each).__name__}: {each}" for each in told)
