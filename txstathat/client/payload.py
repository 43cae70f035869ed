"""
Points as the bodies of requests, without the key: how many go into one, and in which
format.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from txstathat.points.batch_id import check_batch_id
from txstathat.points.model import Count, Point, as_point_list
from txstathat.points.wire import (
    classic_form_point,
    form_point,
    json_points,
    read_form_point,
    read_json_points,
)

__all__ = [
    "CONTENT_TYPES",
    "FORM",
    "PATHS",
    "MAX_POINTS",
    "Payload",
    "classic_payloads",
    "ez_payloads",
    "numbered_ids",
    "read_classic_payload",
    "read_ez_payload",
]

#: The most points in a request with the EZ API: StatHat accepted no more.
MAX_POINTS = 1000
#: The content type of a form.
FORM = "application/x-www-form-urlencoded"
#: The content type of a list of points.
JSON = "application/json"
#: The paths that points are posted to, and the content types of the requests.
PATHS = frozenset({"/ez", "/c", "/v"})
CONTENT_TYPES = frozenset({FORM, JSON})


@dataclass(frozen=True, slots=True)
class Payload:
    """
    Points as the body of a request, without the key.

    :ivar path: the path to post to, below the server's URL.
    :ivar content_type: the content type of the body.
    :ivar points: how many points the body contains.
    :ivar body: the body.
    """

    path: str
    content_type: str
    points: int
    body: bytes = field(repr=False)

    @property
    def is_classic(self) -> bool:
        """
        Whether it is for the Classic API, in which each stat has its own key.
        """
        return self.path != "/ez"


def ez_payloads(points: Iterable[Point]) -> list[Payload]:
    """
    Encode points for the EZ API: one point as a form, which every server of StatHat's
    API accepts; several as JSON, at most :data:`MAX_POINTS` in a request.

    :raises InvalidPoint: if one of the points is not valid.
    """
    listed = as_point_list(points)
    return [
        _ez_payload(listed[first : first + MAX_POINTS])
        for first in range(0, len(listed), MAX_POINTS)
    ]


def _ez_payload(points: list[Point]) -> Payload:
    if len(points) == 1:
        return Payload("/ez", FORM, 1, form_point(points[0]))
    return Payload("/ez", JSON, len(points), json_points(points))


def read_ez_payload(payload: Payload) -> list[Point]:
    """
    The points in a payload of :func:`ez_payloads`, in their order.

    :raises ValueError: if the payload is of another origin.
    """
    if payload.content_type == FORM:
        return [read_form_point(payload.body)]
    return read_json_points(payload.body)


def classic_payloads(points: Iterable[Point]) -> list[Payload]:
    """
    Encode points for the Classic API: a form for each.

    :raises InvalidPoint: if one of the points is not valid.
    """
    return [
        Payload(
            "/c" if isinstance(point, Count) else "/v",
            FORM,
            1,
            classic_form_point(point),
        )
        for point in as_point_list(points)
    ]


def read_classic_payload(payload: Payload) -> list[Point]:
    """
    The point in a payload of :func:`classic_payloads`, as a list.

    :raises ValueError: if the payload is of another origin.
    """
    return [read_form_point(payload.body, "key")]


def numbered_ids(batch_id: str | None, number: int) -> list[str | None]:
    """
    The ids of the requests that a batch is split into: ``ID-0``, ``ID-1`` and so on.

    :param batch_id: the id of the batch; ``None`` for a batch without one.
    :param number: how many requests there are.
    :raises InvalidPoint: if one of the ids would not be valid.
    """
    if batch_id is None:
        return [None] * number
    ids = [f"{batch_id}-{index}" for index in range(number)]
    # All or none: the last one is the longest.
    check_batch_id(ids[-1])
    return list(ids)
