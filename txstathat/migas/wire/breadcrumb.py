"""
Breadcrumbs: checks, shortening and encoding.

The limits are those of the hosted server in 2026. This package sets limits of its own
for texts that the server does not limit.
"""

from __future__ import annotations

import json
import uuid
from bisect import bisect_right
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any

from txstathat.errors import InvalidTelemetry
from txstathat.migas.wire.graphql import EnumValue, GraphQLValue, operation
from txstathat.migas.wire.redaction import one_line, redact

__all__ = [
    "CHOICES",
    "MAX_REQUEST",
    "MAX_TEXT",
    "add_project_request",
    "breadcrumb_request",
    "check_fields",
    "check_project_request",
    "usage_request",
]

#: The maximum size of a request's body, in bytes.
MAX_REQUEST = 2500
#: The maximum length of each text, in characters. The server stores a version up to 24
#: characters, and a language up to 32; it answers a longer language with status 500.
MAX_TEXT = {
    "project": 140,
    "project_version": 24,
    "language": 32,
    "language_version": 64,
    "platform": 64,
    "status_desc": 250,
    "error_type": 200,
    "error_desc": 1000,
}
#: The fields with a fixed set of values.
CHOICES = {
    "status": ("R", "C", "F", "S"),
    "user_type": ("general", "dev", "ci"),
    "container": ("docker", "apptainer", "unknown"),
}

_REQUIRED = ("project", "project_version")
# Longer ones are cut, as the server would cut them.
_CUT = ("project_version", "language")
# Descriptions are cut to make a request fit, in this order.
_DESCRIPTIONS = ("error_desc", "status_desc", "error_type")
_UUIDS = ("user_id", "session_id")
_CONTEXT = ("user_id", "session_id", "user_type", "platform", "container", "is_ci")
_PROCESS = ("status", "status_desc", "error_type", "error_desc")


def check_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """
    Check the fields of a breadcrumb.

    :param fields: the fields by their names in the protocol, not nested. A field that
        is ``None`` is left out, unless the protocol requires it.
    :returns: the fields to send: in descriptions file paths are redacted, and what is
        too long is cut.
    :raises InvalidTelemetry: for an unknown field, or a bad value.
    """
    return {
        name: _check_field(name, value)
        for name, value in fields.items()
        if value is not None or name in _REQUIRED
    }


def _check_field(name: str, value: Any) -> Any:
    if name in CHOICES:
        if value not in CHOICES[name]:
            raise InvalidTelemetry(name, f"must be one of {', '.join(CHOICES[name])}")
        return value
    if name in _UUIDS:
        return check_uuid(name, value)
    if name == "is_ci":
        if not isinstance(value, bool):
            raise InvalidTelemetry(name, "must be True or False")
        return value
    if name in MAX_TEXT:
        return _check_text(name, value)
    known = ", ".join([*MAX_TEXT, *CHOICES, *_UUIDS, "is_ci"])
    raise InvalidTelemetry(
        one_line(str(name), 80), f"unknown field; use one of: {known}"
    )


def check_uuid(name: str, value: object) -> str:
    """
    Check a UUID.

    :param name: its field, for the error.
    :param value: the UUID, in any form that :class:`uuid.UUID` reads.
    :returns: the UUID in its usual form.
    :raises InvalidTelemetry: if the value is not a UUID.
    """
    try:
        return str(uuid.UUID(str(value)))
    except ValueError:
        raise InvalidTelemetry(name, "must be a UUID") from None


def _check_text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidTelemetry(name, f"must be text, not {type(value).__name__}")
    # A lone surrogate cannot be encoded: it becomes a question mark.
    text = value.encode("utf-8", "replace").decode("utf-8")
    limit = MAX_TEXT[name]
    if name in _DESCRIPTIONS:
        return one_line(redact(text), limit)
    if name in _CUT and len(text) > limit:
        # A version must not end in a separator: the server would store "unknown".
        text = text[:limit].rstrip(".+-_") or text[:limit]
    if not 0 < len(text) <= limit:
        raise InvalidTelemetry(
            name, f"must have 1 to {limit} characters, not {len(text)}"
        )
    return text


def breadcrumb_request(fields: Mapping[str, Any]) -> bytes:
    """
    Make the body of ``POST /api/breadcrumb``.

    :param fields: checked fields.
    :raises InvalidTelemetry: if the body is too large even without the descriptions.
    """
    return _fit(_encode_breadcrumb, fields)


def add_project_request(fields: Mapping[str, Any]) -> bytes:
    """
    Make the body of ``POST /graphql`` with the older ``add_project`` mutation;
    otherwise as :func:`breadcrumb_request`.
    """
    return _fit(_encode_add_project, fields)


def check_project_request(project: object, version: object) -> bytes:
    """
    Make the body of ``POST /graphql`` that checks a version of a project.

    :param project: ``owner/repo``.
    :param version: the version.

    :raises InvalidTelemetry: for a bad project or version.
    """
    fields = check_fields({"project": project, "project_version": version})
    return _graphql_body(
        "query", "check_project", fields, ("success", "flagged", "latest", "message")
    )


def usage_request(project: object, start: object, end: object, unique: object) -> bytes:
    """
    Make the body of ``POST /graphql`` that queries how often a project was used.

    :param project: ``owner/repo``.
    :param start: the beginning: a date, an aware datetime, or either as text
        (``YYYY-MM-DD`` or ``YYYY-MM-DDTHH:MM:SSZ``).
    :param end: the end, in the same forms; ``None`` is the present.
    :param unique: whether to count users instead of uses.
    :raises InvalidTelemetry: for a bad argument.
    """
    if not isinstance(unique, bool):
        raise InvalidTelemetry("unique", "must be True or False")
    arguments: dict[str, GraphQLValue] = {
        **check_fields({"project": project}),
        "start": _time_text("start", start),
        "unique": unique,
    }
    if end is not None:
        arguments["end"] = _time_text("end", end)
    return _graphql_body("query", "get_usage", arguments)


def _time_text(name: str, value: object) -> str:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidTelemetry(name, "must have a time zone: an aware datetime")
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, date):
        return value.isoformat()
    for form in ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"):
        try:
            if datetime.strptime(str(value), form).strftime(form) == value:
                return str(value)
        except ValueError:
            pass
    raise InvalidTelemetry(
        name,
        "must be a date, an aware datetime, YYYY-MM-DD or YYYY-MM-DDTHH:MM:SSZ, "
        f"not {one_line(repr(value), 80)}",
    )


def _encode_breadcrumb(fields: Mapping[str, Any]) -> bytes:
    body = {k: v for k, v in fields.items() if k not in _CONTEXT and k not in _PROCESS}
    for part, names in (("ctx", _CONTEXT), ("proc", _PROCESS)):
        inner = {name: fields[name] for name in names if name in fields}
        if inner:
            body[part] = inner
    return _json_bytes(body)


def _encode_add_project(fields: Mapping[str, Any]) -> bytes:
    values = {k: EnumValue(v) if k in CHOICES else v for k, v in fields.items()}
    return _graphql_body("mutation", "add_project", {"p": values})


def _graphql_body(*parts: Any) -> bytes:
    return _json_bytes({"query": operation(*parts)})


def _json_bytes(body: object) -> bytes:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8")


def _fit(
    encode: Callable[[Mapping[str, Any]], bytes], fields: Mapping[str, Any]
) -> bytes:
    """
    Encode fields, with descriptions cut to make the body fit.
    """
    fields = dict(fields)
    body = encode(fields)
    for name in _DESCRIPTIONS:
        if len(body) <= MAX_REQUEST:
            return body
        text = fields.pop(name, "")

        def size(length: int, name: str = name, text: str = text) -> int:
            return len(encode({**fields, name: text[:length] + "…"}))

        length = bisect_right(range(len(text)), MAX_REQUEST, key=size) - 1
        if length > 0:
            fields[name] = text[:length] + "…"
        body = encode(fields)
    if len(body) > MAX_REQUEST:
        raise InvalidTelemetry(
            "project", f"the request has {len(body)} bytes; {MAX_REQUEST} are allowed"
        )
    return body
