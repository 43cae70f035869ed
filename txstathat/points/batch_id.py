"""
The id of a batch: with it, a server applies a batch once, however often it is sent.

It is sent as the ``Idempotency-Key`` header of a request.
"""

from __future__ import annotations

import re

from txstathat.errors import InvalidPoint
from txstathat.points.names import shown

__all__ = ["MAX_BATCH_ID", "check_batch_id"]

#: The most characters of a batch id.
MAX_BATCH_ID = 255

# A space at either end would not survive as part of a header.
_BATCH_ID = re.compile(r"[!-~](?:[ -~]*[!-~])?")


def check_batch_id(batch_id: object, field: str = "batch_id") -> str:
    """
    Check a batch id: 1 to :data:`MAX_BATCH_ID` printable ASCII characters, with no
    space at either end.

    :param batch_id: the id.
    :param field: the name of the field, for the error message.
    :returns: the id.
    :raises InvalidPoint: if it is not valid.
    """
    valid = (
        isinstance(batch_id, str)
        and len(batch_id) <= MAX_BATCH_ID
        and _BATCH_ID.fullmatch(batch_id) is not None
    )
    if not valid:
        raise InvalidPoint(
            field,
            f"must be 1 to {MAX_BATCH_ID} printable ASCII characters, without a space "
            f"at either end, not {shown(batch_id)}",
        )
    assert isinstance(batch_id, str)
    return batch_id
