"""
Reads a request of StatHat's API: the result is a batch of points, or a refusal.

No I/O happens here, so the tests and the in-memory fake use the same code as the
server. The rules are StatHat's. Whatever StatHat's published clients send is accepted;
whatever is ambiguous is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from txstathat.collector.errors import Refusal
from txstathat.collector.ingest.typed import read_typed
from txstathat.collector.limits import MAX_BATCH, MAX_BODY, MAX_FIELDS, MAX_FORM
from txstathat.errors import InvalidPoint
from txstathat.points.amounts import parse_amount, parse_time
from txstathat.points.batch_id import check_batch_id
from txstathat.points.model import Parts, one_kind
from txstathat.points.names import check_name, expand_name
from txstathat.points.wire import json_float, json_parts

__all__ = ["PostedBatch", "entry_of_point", "read_request", "read_strictly"]


@dataclass(slots=True)
class PostedBatch:
    """
    The points of one request.

    :ivar api: ``'ez'`` or ``'classic'``; ``'statsd'`` for points of datagrams.
    :ivar key: the EZ key or user key in the request. It is a secret. For ``'statsd'``
        it is the hash of the key under whose limits the points count.
    :ivar points: the points, each of one stat. The time is ``None`` if the request does
        not give it.
    :ivar is_list: whether the request is a list in JSON. The answer to a list has the
        number of points.
    :ivar batch_id: the ``Idempotency-Key``; ``None`` without one.
    :ivar digest: a digest of the path, query and body; empty without a batch id. The
        same id with another digest is an error.
    """

    api: str
    key: str = field(repr=False)
    points: Sequence[Parts]
    is_list: bool
    batch_id: str | None
    digest: bytes = field(repr=False)


def read_request(
    path: str,
    *,
    query: bytes = b"",
    content_type: str = "",
    body: bytes = b"",
    batch_id: str | None = None,
) -> PostedBatch:
    """
    Read a request to ``/ez``, ``/c`` or ``/v``.

    :param path: the path.
    :param query: the query of the URL, which has the fields of a GET.
    :param content_type: the content type of the body.
    :param body: the body.
    :param batch_id: the ``Idempotency-Key`` header.
    :raises Refusal: if the request is not valid; the message names the field.
    """
    if len(body) > MAX_BODY:
        raise Refusal(413, f"the body is larger than {MAX_BODY} bytes")
    is_json = content_type.partition(";")[0].strip().lower() == "application/json"
    try:
        if batch_id is not None:
            check_batch_id(batch_id, "Idempotency-Key")
        if path == "/ez" and is_json:
            points: Sequence[Parts]
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
    return PostedBatch(api, key, points, is_json, batch_id, digest)


def entry_of_point(body: bytes, number: int) -> int:
    """
    Return which entry of ``data`` a point comes from. An entry with a ``~`` name makes
    several points.

    :param body: a body that :func:`read_request` has read.
    :param number: the index of the point in :attr:`PostedBatch.points`.
    :returns: the index of the entry.
    """
    for entry, count in enumerate(_points_of_entries(_load_json(body)["data"])):
        number -= count
        if number < 0:
            return entry
    raise IndexError("the body has fewer points")


def _points_of_entries(data: Sequence[dict[str, Any]]) -> Iterator[int]:
    for entry in data:
        yield sum(1 for _ in json_parts([entry]))


def _read_form(form: bytes) -> dict[str, str]:
    if len(form) > MAX_FORM:
        raise Refusal(413, f"the form is larger than {MAX_FORM} bytes")
    try:
        # Some clients, such as curl, do not escape characters beyond ASCII.
        pairs = _split_form(form.decode("utf-8"))
    except UnicodeDecodeError:
        raise Refusal(400, "the form is not URL-encoded UTF-8") from None
    except ValueError:
        raise Refusal(400, f"the form has more than {MAX_FIELDS} fields") from None
    return _unique(pairs)


def _split_form(form: str) -> list[tuple[str, str]]:
    if "%" in form or "+" in form or form.count("&") >= MAX_FIELDS:
        return parse_qsl(
            form, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
        )
    # Without anything to unescape this is the same, in a fraction of the time.
    split = (field.partition("=") for field in form.split("&") if field)
    return [(name, value) for name, _, value in split]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise Refusal(400, "a field is given twice")
    return fields


def _key(fields: dict[str, Any], name: str, alias: str = "") -> str:
    """
    Return the key. Early clients call an EZ key ``email``.
    """
    key = fields.get(name) or fields.get(alias)
    if not key:
        # StatHat answers with these words.
        raise Refusal(500, f"no {name} specified", http_status=400)
    try:
        return check_name(key)
    except InvalidPoint:
        # The message of the error would quote what may be a secret.
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


def _read_json(body: bytes) -> tuple[str, Sequence[Parts]]:
    typed = read_typed(body)
    if typed is not None:
        key, points = typed
        return _key({"ezkey": key}, "ezkey"), points
    return read_strictly(body)


def read_strictly(body: bytes) -> tuple[str, list[Parts]]:
    """
    Read a JSON request, whatever it contains.

    :param body: the body.
    :returns: the key and the points.
    :raises Refusal: if the request is not valid.
    :raises InvalidPoint: if a point is not valid.
    """
    request = _load_json(body)
    if not isinstance(request, dict):
        raise Refusal(400, "the body must be a JSON object with ezkey and data")
    key = _key(request, "ezkey", "email")
    data = request.get("data", "")
    if data is None:
        data = []  # Go encodes an empty list as null.
    if not isinstance(data, list):
        raise Refusal(400, "data: must be a list of points")
    listed = list(islice(json_parts(data), MAX_BATCH + 1))
    if len(listed) > MAX_BATCH:
        raise Refusal(413, f"more than {MAX_BATCH} points in one request")
    return key, listed


def _load_json(body: bytes) -> Any:
    try:
        return json.loads(
            body.decode("utf-8"),
            parse_float=json_float,
            parse_constant=_not_a_number,
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
        # Python does not read a whole number of thousands of digits: it takes too long.
        raise Refusal(400, "the body has a number of too many digits") from None
    except RecursionError:
        raise Refusal(400, "the JSON is nested too deeply") from None


def _not_a_number(text: str) -> NoReturn:
    raise Refusal(400, f"{text} is not a number")
