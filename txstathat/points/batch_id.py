"""
What a valid batch id is: the ``Idempotency-Key`` under which a server repeats nothing.
"""

from __future__ import annotations

import re

__all__ = ["MAX_BATCH_ID", "is_batch_id"]

#: The most characters of a batch id.
MAX_BATCH_ID = 255

# A space at either end would not survive as part of a header.
_BATCH_ID = re.compile(r"[!-~](?:[ -~]*[!-~])?")


def is_batch_id(text: str) -> bool:
    """
    Whether a text can be a batch id: 1 to :data:`MAX_BATCH_ID` printable ASCII
    characters, with no space at either end.
    """
    return len(text) <= MAX_BATCH_ID and _BATCH_ID.fullmatch(text) is not None
