"""
Find out which step of an exchange failed, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NoReturn
from urllib.parse import urlsplit

import click
from twisted.internet.defer import CancelledError
from twisted.internet.error import (
    ConnectError,
    ConnectionRefusedError,
    DNSLookupError,
    TimeoutError,
)
from twisted.internet.threads import deferToThread
from twisted.web.client import ResponseFailed

from txstathat.cli.probes import has_ca_certificates, speaks_http, speaks_tls
from txstathat.cli.reactor import ICommandReactor, run
from txstathat.cli.settings import host_of
from txstathat.client.outcome import NO_ANSWER, is_key_message
from txstathat.client.stathat import txStatHat
from txstathat.errors import InvalidPoint, StatHatAPIError
from txstathat.export.client import StatHatExport
from txstathat.http.connections.tracking import HandshakeFailed
from txstathat.printable import printable

__all__ = [
    "CLOSED",
    "STEPS",
    "Diagnosis",
    "diagnose",
    "find_reason",
    "is_stathat_com",
    "run_client",
    "show_failure",
]

#: The steps of an exchange, in order.
STEPS = ("point", "look-up", "connection", "TLS", "answer", "key")

#: The message about StatHat.com.
CLOSED = (
    "StatHat.com appears to have closed in April 2026. Run a server of your own: "
    "txstathat serve"
)

#: The advice if a server on this machine accepts no connection.
_START_IT = (
    "Check that the server runs (txstathat serve starts one), and the port in the URL."
)

#: Paths of StatHat's API. The URL of a server must not end in one of them.
_API_PATHS = ("/ez", "/c", "/v")


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """
    The step at which an exchange failed.

    :ivar step: one of :data:`STEPS`.
    :ivar problem: what went wrong.
    :ivar advice: what to do about it; may be empty.
    """

    step: str
    problem: str
    advice: str


_ADVICE = {
    "look-up": "Check the host name in the URL, and this machine's DNS.",
    "connection": "Check that the server runs, the port in the URL, and the firewall.",
    "TLS": "The server needs a valid certificate for this host name. For a certificate "
    "authority of your own set SSL_CERT_FILE to its certificate.",
    "key": "Check that the key is one of this server's, whole and without spaces.",
    "answer": "Try again later. If it fails again, check the URL.",
}


def is_stathat_com(url: str) -> bool:
    """
    Whether a URL is one of StatHat.com's.
    """
    host = urlsplit(url).hostname or ""
    return f".{host}".rstrip(".").endswith(".stathat.com")


def diagnose(error: BaseException, url: str) -> Diagnosis:
    """
    Find the step that failed.

    :param error: the failure of a client's call.
    :param url: the server's URL.
    """
    if isinstance(error, InvalidPoint):
        return Diagnosis("point", _point_problem(error), "Nothing was sent.")
    if isinstance(error, StatHatAPIError):
        found = _diagnose_answer(error, url)
    else:
        step, problem = _step(error, url)
        is_here = step == "connection" and _is_this_machine(url)
        found = Diagnosis(step, problem, _START_IT if is_here else _ADVICE[step])
    if is_stathat_com(url) and found.step != "key":
        return Diagnosis(found.step, found.problem, CLOSED)
    return found


async def find_reason(error: BaseException, url: str) -> Diagnosis:
    """
    Find the step that failed, like :func:`diagnose`; and if that can have several
    reasons, try which one it is.

    :param error: the failure of a client's call.
    :param url: the server's URL.
    """
    found = diagnose(error, url)
    if is_stathat_com(url):
        return found
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    if found.step == "TLS" and "certificate verify failed" in found.problem:
        if has_ca_certificates():
            return found
        return Diagnosis(
            "TLS",
            "this computer has no CA certificates, so no server can be verified",
            "Install them (on Debian: apt-get install ca-certificates), or set "
            "SSL_CERT_FILE.",
        )
    if found.step == "TLS" and await deferToThread(speaks_http, host, port):
        return Diagnosis(
            "TLS",
            f"port {port} speaks plain HTTP, not TLS",
            "If you trust the network, begin the URL with http://; else use the port "
            "of the server that speaks HTTPS.",
        )
    if (
        found.step == "answer"
        and not _is_refusal(error)
        and not secure
        and await deferToThread(speaks_tls, host, port)
    ):
        return Diagnosis(
            "answer",
            f"port {port} speaks TLS, and the URL begins with http://",
            "Begin the URL with https://",
        )
    return found


async def show_failure(error: BaseException, url: str, secret: str = "key") -> None:
    """
    Print the step that failed, and what to do, on standard error.

    :param error: the failure of a client's call.
    :param url: the server's URL.
    :param secret: what the client proves itself with: ``'key'`` or ``'token'``.
    """
    found = await find_reason(error, url)
    step, advice = found.step, found.advice
    if step == "key":
        step, advice = secret, advice.replace("the key", f"the {secret}")
    click.echo(f"txstathat: {step}: {printable(found.problem)}", err=True)
    if advice:
        click.echo(advice, err=True)


def run_client(
    client: txStatHat | StatHatExport,
    url: str,
    work: Callable[[], Awaitable[object]],
    plain: tuple[type[Exception], ...] = (),
) -> NoReturn:
    """
    Do something with a client, print a failure, and exit.

    :param client: the client, which is closed at the end.
    :param url: the server's URL.
    :param work: does it.
    :param plain: the failures that need no diagnosis: only their text is printed.
    """

    async def command(reactor: ICommandReactor) -> int:
        try:
            await work()
        except plain as error:
            click.echo(f"txstathat: {printable(error)}", err=True)
            return 1
        except CancelledError:
            raise
        except Exception as error:
            secret = "token" if isinstance(client, StatHatExport) else "key"
            await show_failure(error, url, secret)
            return 1
        finally:
            await client.close()
        return 0

    run(command)


def _point_problem(error: InvalidPoint) -> str:
    if error.field == "stat" and error.problem == "must not be empty":
        return "the stat name is empty"
    return str(error)


def _is_refusal(error: BaseException) -> bool:
    """
    Whether a StatHat server refused, and says why.
    """
    return (
        isinstance(error, StatHatAPIError)
        and error.status >= 400
        and not error.msg.startswith(NO_ANSWER)
    )


def _diagnose_answer(error: StatHatAPIError, url: str) -> Diagnosis:
    end = _api_path(url)
    problem = error.msg
    if _is_refusal(error):
        problem = f"the server refused ({error.status}): {error.msg}"
    if end and error.status in (404, 405):
        right = url.rstrip("/").removesuffix(end)
        advice = f"The URL must not end in {end}. Use {right}"
        return Diagnosis("answer", problem, advice)
    if error.msg.startswith(NO_ANSWER) or error.status < 400:
        return Diagnosis("answer", problem, _page_advice(error.status))
    if error.status in (401, 403) or is_key_message(error.msg):
        return Diagnosis("key", problem, _ADVICE["key"])
    if error.status in (408, 425, 429) or error.status > 500:
        return Diagnosis("answer", problem, _ADVICE["answer"])
    return Diagnosis("answer", problem, "")


def _api_path(url: str) -> str:
    """
    The API path at the end of a server's URL, a mistake; else an empty text.
    """
    path = urlsplit(url).path.rstrip("/")
    return next((end for end in _API_PATHS if path.endswith(end)), "")


def _page_advice(status: int) -> str:
    """
    The advice about an answer that no StatHat server gives.
    """
    if 300 <= status < 400:
        return "The server redirects. Use the URL to which it redirects."
    if status in (502, 503, 504):
        return "A proxy answered: the server behind it is down or too slow."
    return (
        "This is the answer of a proxy or of another web server, not of a StatHat "
        "server. Check the host, the port and the path of the URL."
    )


def _is_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def _step(error: BaseException, url: str) -> tuple[str, str]:
    if isinstance(error, TimeoutError) and error.__cause__ is not None:
        step, _ = _step(error.__cause__, url)
        return step, f"{host_of(url)}: no answer within the time limit (--timeout)"
    if isinstance(error, DNSLookupError):
        return "look-up", f"the host name {urlsplit(url).hostname} was not found"
    if isinstance(error, HandshakeFailed):
        return "TLS", f"no secure connection: {_text(error)}"
    if isinstance(error, ResponseFailed):
        # The class is private in Twisted.
        if any(reason.type.__name__ == "ParseError" for reason in error.reasons):
            return "answer", "this port does not speak HTTP"
        return "answer", f"the connection was lost before the answer: {_text(error)}"
    if isinstance(error, ConnectionRefusedError):
        return "connection", f"Connection was refused by {host_of(url)}"
    if isinstance(error, (ConnectError, CancelledError)):
        return "connection", f"{host_of(url)}: {error}"
    return "answer", f"{type(error).__name__}: {error}"


def _text(error: ResponseFailed) -> str:
    reasons = (reason.value for reason in error.reasons)
    known = (each for each in reasons if not isinstance(each, CancelledError))
    return "; ".join(f"{type(each).__name__}: {each}" for each in known)
