"""
Which step of an exchange failed, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import click
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectError, DNSLookupError, TimeoutError
from twisted.web.client import ResponseFailed

from txstathat.agent import HandshakeFailed
from txstathat.cli.output import visible
from txstathat.cli.running import run
from txstathat.client import txStatHat
from txstathat.errors import InvalidPoint, StatHatAPIError
from txstathat.export import StatHatExport
from txstathat.outcome import NO_ANSWER

__all__ = ["STEPS", "Diagnosis", "diagnose", "run_client", "tell_failure"]

#: The steps of an exchange, in order.
STEPS = ("point", "look-up", "connection", "TLS", "answer", "key")


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
    if isinstance(error, StatHatAPIError):
        return _diagnose_answer(error)
    step, problem = _step(error)
    return Diagnosis(step, problem, _ADVICE[step])


def tell_failure(error: BaseException) -> None:
    """
    Say on standard error which step failed, and what to do.

    :param error: what a call of a client's failed with.
    """
    found = diagnose(error)
    click.echo(f"txstathat: {found.step}: {visible(found.problem)}", err=True)
    click.echo(found.advice, err=True)


def run_client(
    client: txStatHat | StatHatExport,
    work: Callable[[], Awaitable[object]],
    plain: tuple[type[Exception], ...] = (),
) -> NoReturn:
    """
    Do something with a client, say what failed, and leave.

    :param client: is closed in the end.
    :param work: what to do.
    :param plain: failures whose own words say all.
    """

    async def command(reactor: Any) -> int:
        try:
            await work()
        except plain as error:
            click.echo(f"txstathat: {visible(error)}", err=True)
            return 1
        except CancelledError:
            raise
        except Exception as error:
            tell_failure(error)
            return 1
        finally:
            await client.close()
        return 0

    run(command)


def _diagnose_answer(error: StatHatAPIError) -> Diagnosis:
    if error.msg.startswith(NO_ANSWER) or error.status < 400:
        return Diagnosis("answer", str(error), _ADVICE["answer"])
    if error.status in (401, 403) or error.msg.endswith("key specified"):
        return Diagnosis("key", str(error), _ADVICE["key"])
    return Diagnosis("answer", str(error), "The server refused: see why.")


def _step(error: BaseException) -> tuple[str, str]:
    if isinstance(error, InvalidPoint):
        return "point", str(error)
    if isinstance(error, TimeoutError) and error.__cause__ is not None:
        return _step(error.__cause__)[0], "the time limit was reached"
    if isinstance(error, DNSLookupError):
        return "look-up", "the host name was not found"
    if isinstance(error, HandshakeFailed):
        return "TLS", f"the connection was not secured: {_text(error)}"
    if isinstance(error, ResponseFailed):
        return "answer", f"the answer was lost: {_text(error)}"
    if isinstance(error, (ConnectError, CancelledError)):
        return "connection", str(error)
    return "answer", f"{type(error).__name__}: {error}"


def _text(error: ResponseFailed) -> str:
    reasons = (reason.value for reason in error.reasons)
    told = (each for each in reasons if not isinstance(each, CancelledError))
    return "; ".join(f"{type(each).__name__}: {each}" for each in told)
