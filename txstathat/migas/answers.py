"""
What a migas server answers, read strictly: an answer, or an error with words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from twisted.internet.error import DNSLookupError, TimeoutError
from twisted.web.client import ResponseNeverReceived

from txstathat.client.outcome import MAX_MESSAGE
from txstathat.errors import MigasError, StatHatError
from txstathat.http.responses import Reply
from txstathat.migas.texts import one_line

__all__ = [
    "DISABLED",
    "Answer",
    "UnknownOperation",
    "explain",
    "failed",
    "read_breadcrumb_answer",
    "read_graphql_answer",
]

Answer: TypeAlias = dict[str, Any]

#: The message where the person who runs the program has opted out.
DISABLED = "telemetry is disabled"

_WORDS = {
    413: "the server finds the request too large",
    429: "the server has too many requests; try again later",
}


class UnknownOperation(MigasError):
    """
    The server's GraphQL schema does not have what was asked for; nothing was done.
    """


def failed(message: str) -> Answer:
    """
    The answer that stands for a failure.
    """
    return {"success": False, "message": message}


def explain(error: Exception, timeout: float) -> str:
    """
    The message of an answer that stands for a failure.

    :param error: the failure.
    :param timeout: the time limit, in seconds.
    """
    if isinstance(error, TimeoutError):
        return f"the server did not answer within {timeout:g} seconds"
    if isinstance(error, StatHatError):
        return _text(error)
    if isinstance(error, DNSLookupError):
        return "the server's name was not found"
    if isinstance(error, ResponseNeverReceived) and error.reasons:
        error = error.reasons[0].value
    return "the server was not reached: " + _text(f"{type(error).__name__}: {error}")


def read_breadcrumb_answer(reply: Reply) -> Answer:
    """
    Read what ``/api/breadcrumb`` answered.

    :returns: ``success`` and ``message``; 202 is a success, whose outcome the server
        does not tell.
    :raises MigasError: if it is a refusal, or not a migas server's answer.
    """
    answer = _read_json(reply)
    if reply.status == 202:
        return {"success": True, "message": ""}
    if reply.status != 200:
        raise MigasError(reply.status, _detail(reply.status, answer))
    return _checked(reply.status, answer)


def read_graphql_answer(reply: Reply, operation: str) -> Answer:
    """
    Read what ``/graphql`` answered to an operation.

    :param operation: the operation's name, under which its answer is.
    :raises UnknownOperation: if the server does not have that operation.
    :raises MigasError: if it is a refusal, or not a migas server's answer.
    """
    answer = _read_json(reply)
    data = answer.get("data") if isinstance(answer, Mapping) else None
    if isinstance(data, Mapping) and data.get(operation) is not None:
        return _checked(reply.status, data[operation])
    errors = answer.get("errors") if isinstance(answer, Mapping) else None
    if isinstance(errors, list) and errors and isinstance(errors[0], Mapping):
        message = _text(errors[0].get("message"))
        # An error met while it ran has a path; one found before it ran has none
        # (GraphQL, section 7.1.2).
        ran = any(isinstance(e, Mapping) and e.get("path") for e in errors)
        raise (MigasError if ran else UnknownOperation)(reply.status, message)
    raise MigasError(reply.status, _detail(reply.status, answer))


def _read_json(reply: Reply) -> Any:
    server = (reply.headers.getRawHeaders("X-Backend-Server") or [""])[0]
    if not server.startswith("migas"):
        raise MigasError(
            reply.status,
            f"no migas server answered (HTTP status {reply.status}, "
            "without its X-Backend-Server header)",
        )
    if reply.status in _WORDS:
        raise MigasError(reply.status, _WORDS[reply.status])
    try:
        return json.loads(reply.body)
    except (ValueError, RecursionError):
        # A bare 202 says all that there is to say.
        return None


def _checked(status: int, answer: Any) -> Answer:
    if isinstance(answer, dict) and isinstance(answer.get("success"), bool):
        return answer
    raise MigasError(status, "the server's answer does not say whether it succeeded")


def _detail(status: int, answer: Any) -> str:
    """
    The words of a refusal: FastAPI's ``detail``, a text or a list of problems.
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
