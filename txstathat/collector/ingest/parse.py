"""
What comes in: a request of StatHat's API becomes a batch of points, or a refusal.

No I/O happens here, so that everything that listens for points asks the same code. The
rules are StatHat's, and what its published clients send is taken; what cannot be read
without doubt is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from txstathat.collector.errors import Refusal
from txstathat.collector.limits import (
    MAX_BATCH,
    MAX_BODY,
    MAX_FIELDS,
    MAX_FORM,
)
from txstathat.errors import InvalidPoint
from txstathat.points.batch_id import MAX_BATCH_ID, is_batch_id
from txstathat.points.model import (
    Parts,
    check_name,
    expand_name,
    one_kind,
    parse_amount,
    parse_time,
)
from txstathat.points.wire import json_float, json_parts

__all__ = [
    "Batch",
    "read_request",
]


@dataclass(frozen=True, slots=True)
class Batch:
    """
    The points of one request.

    :ivar api: ``'ez'`` or ``'classic'``.
    :ivar key: whose they are said to be: an EZ key or a user key. A secret.
    :ivar points: the points, each of one stat; a time that was not given is ``None``.
    :ivar many: whether they came as a list, to which the answer tells their number.
    :ivar batch_id: what the sender calls the batch, to have it applied once.
    :ivar digest: of the request's body, where there is an id: another body under the
        same id is an error.
    """

    api: str
    key: str = field(repr=False)
    points: Sequence[Parts]
    many: bool
    batch_id: str | None
    digest: bytes = field(repr=False)


def read_request(
    path: str,
    *,
    query: bytes = b"",
    content_type: str = "",
    body: bytes = b"",
    batch_id: str | None = None,
) -> Batch:
    """
    Read a request to ``/ez``, ``/c`` or ``/v``.

    :param path: which of them.
    :param query: the URL's query, where the fields of a GET are.
    :param content_type: the body's content type.
    :param body: the body.
    :param batch_id: the ``Idempotency-Key`` header.
    :raises Refusal: if it is not a valid request; the message names the field.
    """
    if batch_id is not None and not is_batch_id(batch_id):
        raise Refusal(400, f"Idempotency-Key: must have 1 to {MAX_BATCH_ID} characters")
    if len(body) > MAX_BODY:
        raise Refusal(413, f"the body is larger than {MAX_BODY} bytes")
    is_json = content_type.partition(";")[0].strip().lower() == "application/json"
    try:
        if path == "/ez" and is_json:
            key, points = _read_json(body)
        else:
            fields = _read_form(body or query)
            names = ("ezkey", "email") if path == "/ez" else ("ukey",)
            key = _key(fields, *names)
            points = _form_parts(path, fields)
    except InvalidPoint as error:
        raise Refusal(400, str(error)) from None
    digest = b""
    if batch_id is not None:
        digest = hashlib.sha256(b"\0".join((path.encode(), query, body))).digest()
    api = "ez" if path == "/ez" else "classic"
    return Batch(api, key, points, is_json, batch_id, digest)


def _read_form(form: bytes) -> dict[str, str]:
    if len(form) > MAX_FORM:
        raise Refusal(413, f"the form is larger than {MAX_FORM} bytes")
    try:
        pairs = parse_qsl(
            # Some, as curl, send as they are the characters that are to be escaped.
            form.decode("utf-8"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except UnicodeDecodeError:
        raise Refusal(400, "the form is not URL-encoded UTF-8") from None
    except ValueError:
        raise Refusal(400, f"the form has more than {MAX_FIELDS} fields") from None
    return _unique(pairs)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise Refusal(400, "a field is given twice")
    return fields


def _key(fields: dict[str, Any], name: str, alias: str = "") -> str:
    """
    The key; early clients called an EZ key ``email``.
    """
    key = fields.get(name) or fields.get(alias)
    if not key:
        # What StatHat itself answers, in its words.
        raise Refusal(500, f"no {name} specified", http_status=400)
    try:
        return check_name(key)
    except InvalidPoint:
        # The error would quote what may be a secret.
        raise Refusal(400, f"{name}: must be text of 1 to 255 characters") from None


def _form_parts(path: str, fields: dict[str, str]) -> list[Parts]:
    t = parse_time(fields["t"]) if fields.get("t") else None
    if path == "/ez":
        kind = one_kind(fields)
        names = expand_name(fields.get("stat", ""))
    else:
        kind = "count" if path == "/c" else "value"
        if kind not in fields:
            raise InvalidPoint("point", f"needs a {kind}")
        names = [check_name(fields.get("key", ""), "key")]
        if "~" in names[0]:
            raise InvalidPoint("key", "must be the key of one stat, without ~")
    amount = parse_amount(fields[kind], kind)
    return [(kind, name, amount, t) for name in names]


def _read_json(body: bytes) -> tuple[str, list[Parts]]:
    try:
        request = json.loads(
            body.decode("utf-8"),
            parse_float=json_float,
            parse_constant=_no_number,
            object_pairs_hook=_unique,
        )
    except UnicodeDecodeError:
        raise Refusal(400, "the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise Refusal(
            400, f"the body is not JSON: {error.msg} at character {error.pos}"
        ) from None
    except InvalidPoint:
        raise
    except ValueError:
        # Python reads no whole number of thousands of digits, lest it take too long.
        raise Refusal(400, "the body has a number of too many digits") from None
    except RecursionError:
        raise Refusal(400, "the JSON is nested too deeply") from None
    if not isinstance(request, dict):
        raise Refusal(400, "the body must be a JSON object with ezkey and data")
    key = _key(request, "ezkey", "email")
    data = request.get("data", "")
    if data is None:
        data = []  # as Go writes an empty list
    if not isinstance(data, list):
        raise Refusal(400, "data: must be a list of points")
    points = list(islice(json_parts(data), MAX_BATCH + 1))
    if len(points) > MAX_BATCH:
        raise Refusal(413, f"more than {MAX_BATCH} points in one request")
    return key, points


def _no_number(text: str) -> NoReturn:
    raise Refusal(400, f"{text} is not a number")
