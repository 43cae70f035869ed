"""
The id of a batch: with it, a server applies a batch once, however often it is sent.

It is sent as the ``Idempotency-Key`` header of a request.
"""

from __future__ import annotations

import re

from txstathat.errors import InvalidPoint
from txstathat.points.model import shown

__all__ = ["MAX_BATCH_ID", "check_batch_id"]

#: The most characters of a batch's id.
MAX_BATCH_ID = 255

_BATCH_ID = re.compile(f"[!-~]{{1,{MAX_BATCH_ID}}}")


def check_batch_id(batch_id: object, field: str = "batch_id") -> str:
    """
    Check the id of a batch: 1 to :data:`MAX_BATCH_ID` visible ASCII characters.

    :param batch_id: the id.
    :param field: the name of the field, for the error message.
    :returns: the id.
    :raises InvalidPoint: if it is not valid.
    """
    if not isinstance(batch_id, str) or not _BATCH_ID.fullmatch(batch_id):
        raise InvalidPoint(
            field,
            f"must be 1 to {MAX_BATCH_ID} ASCII letters, digits and signs, "
            f"not {shown(batch_id)}",
        )
    return batch_id
