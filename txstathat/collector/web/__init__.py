"""
The HTTP server of the collector: its limits, and what all its resources share.
"""

from txstathat.collector.web.async_resource import AsyncResource
from txstathat.collector.web.request import PIECE, CappedRequest
from txstathat.collector.web.resources import (
    Branch,
    NotFound,
    address_of,
    answer,
    is_same_origin,
    refusal_of,
    refuse,
)
from txstathat.collector.web.site import (
    ANSWER_SECONDS,
    BODY_SECONDS,
    CLOSE_SECONDS,
    HEADER_SECONDS,
    IDLE_SECONDS,
    MAX_CONNECTIONS,
    SEND_BUFFER,
    STALL_SECONDS,
    CollectorSite,
)

__all__ = [
    "ANSWER_SECONDS",
    "BODY_SECONDS",
    "CLOSE_SECONDS",
    "HEADER_SECONDS",
    "IDLE_SECONDS",
    "MAX_CONNECTIONS",
    "PIECE",
    "SEND_BUFFER",
    "STALL_SECONDS",
    "AsyncResource",
    "Branch",
    "CappedRequest",
    "CollectorSite",
    "NotFound",
    "address_of",
    "answer",
    "is_same_origin",
    "refusal_of",
    "refuse",
]
