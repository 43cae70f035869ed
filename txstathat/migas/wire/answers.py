"""
The answers of a migas server, read strictly: an answer, or an error with a message.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from twisted.internet.error import DNSLookupError, TimeoutError
from twisted.web.client import ResponseNeverReceived

from txstathat.client.outcome import MAX_MESSAGE
from txstathat.errors import MigasError, StatHatError
from txstathat.http.responses import Reply
from txstathat.migas.wire.redaction import one_line

__all__ = [
    "DISABLED",
    "NAME_NOT_FOUND",
    "REFUSED",
    "Answer",
    "UnknownOperation",
    "explain",
    "failed",
    "read_breadcrumb_answer",
    "read_graphql_answer",
]

Answer: TypeAlias = dict[str, Any]

#: The message if the user has opted out.
DISABLED = "telemetry is disabled"

#: The message if the server's name could not be looked up.
NAME_NOT_FOUND = "the server's name was not found"

#: The message if the server refused and gave no reason.
REFUSED = "the server refused, and gave no reason; is the project registered with it?"

_MESSAGES = {
    413: "the request is too large for the server",
    429: "the server has too many requests; try again later",
}


class UnknownOperation(MigasError):
    """
    The server does not have this GraphQL operation; nothing was done.
    """


def failed(message: str) -> Answer:
    """
    Make the answer to a failed call.

    :param message: the reason.
    """
    return {"success": False, "message": message}


def explain(error: Exception, timeout: float) -> str:
    """
    The message for a failure.

    :param error: the failure.
    :param timeout: the time limit, in seconds.
    """
    if isinstance(error, TimeoutError):
        return f"the server did not answer within {timeout:g} seconds"
    if isinstance(error, StatHatError):
        return _text(error)
    if isinstance(error, DNSLookupError):
        return NAME_NOT_FOUND
    if isinstance(error, ResponseNeverReceived) and error.reasons:
        error = error.reasons[0].value
    return "the server was not reached: " + _text(f"{type(error).__name__}: {error}")


def read_breadcrumb_answer(reply: Reply) -> Answer:
    """
    Read a reply of ``/api/breadcrumb``.

    :param reply: the reply.
    :returns: ``success`` and ``message``. Status 202 is a success: the server has
        accepted the breadcrumb, and will store it.
    :raises MigasError: for a refusal, or if the reply is not from a migas server.
    """
    answer = _read_json(reply)
    if reply.status == 202:
        return {"success": True, "message": ""}
    if reply.status != 200:
        raise MigasError(reply.status, _detail(reply.status, answer))
    return _checked(reply.status, answer)


def read_graphql_answer(reply: Reply, operation: str) -> Answer:
    """
    Read a reply of ``/graphql``.

    :param reply: the reply.
    :param operation: the operation's name, which is the key of its result.
    :returns: the result of the operation.
    :raises UnknownOperation: if the server does not have this operation.
    :raises MigasError: for a refusal, or if the reply is not from a migas server.
    """
    answer = _read_json(reply)
    data = answer.get("data") if isinstance(answer, Mapping) else None
    if isinstance(data, Mapping) and data.get(operation) is not None:
        return _checked(reply.status, data[operation])
    errors = answer.get("errors") if isinstance(answer, Mapping) else None
    if isinstance(errors, list) and errors and isinstance(errors[0], Mapping):
        message = _text(errors[0].get("message"))
        error = UnknownOperation if _is_unknown(errors, operation) else MigasError
        raise error(reply.status, message)
    raise MigasError(reply.status, _detail(reply.status, answer))


def _is_unknown(errors: list[Any], operation: str) -> bool:
    """
    Whether the server has no such operation. A bad argument, such as a version that is
    none, is an error before the operation runs too.
    """
    # An error of a running operation has a path (GraphQL specification, section 7.1.2).
    if any(isinstance(error, Mapping) and error.get("path") for error in errors):
        return False
    unknown = re.compile(
        rf"(cannot query|unknown) field ['\"`]?{operation}\b"
        "|not configured to execute mutation",
        re.IGNORECASE,
    )
    return any(
        isinstance(error, Mapping) and unknown.search(str(error.get("message")))
        for error in errors
    )


def _read_json(reply: Reply) -> Any:
    server = (reply.headers.getRawHeaders("X-Backend-Server") or [""])[0]
    if not server.startswith("migas"):
        raise MigasError(
            reply.status,
            f"no migas server answered (HTTP status {reply.status}, "
            "without its X-Backend-Server header)",
        )
    if reply.status in _MESSAGES:
        raise MigasError(reply.status, _MESSAGES[reply.status])
    try:
        return json.loads(reply.body)
    except (ValueError, RecursionError):
        # A reply with status 202 needs no body.
        return None


def _checked(status: int, answer: Any) -> Answer:
    if isinstance(answer, dict) and isinstance(answer.get("success"), bool):
        return answer
    raise MigasError(status, "the server's answer does not say whether it succeeded")


def _detail(status: int, answer: Any) -> str:
    """
    The message of a refusal: FastAPI's ``detail``, a text or a list of problems.
    """
    detail = answer.get("detail") if isinstance(answer, Mapping) else None
    if isinstance(detail, list):
        detail = "; ".join(_problem(each) for each in detail[:5])
    if detail:
        return _text(detail)
    return f"the server answered with HTTP status {status} and no message"


def _problem(problem: Any) -> str:
    if not isinstance(problem, Mapping):
        return str(problem)
    place = problem.get("loc")
    where = ".".join(map(str, place[1:])) if isinstance(place, list) else ""
    return f"{where}: {problem.get('msg', '')}"


def _text(thing: Any) -> str:
    return one_line(str(thing), MAX_MESSAGE)
