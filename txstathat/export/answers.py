"""
Reads the answers of the export API into models.

Unknown members of an answer are ignored. The members that a result needs must be there,
and have the right type.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, TypeVar

from txstathat.export.models import (
    Alert,
    AlertEpisode,
    ChannelInfo,
    DataPoint,
    Dataset,
    DeliveryResult,
    FullDataset,
    FullPoint,
    StatInfo,
    TrashedStat,
)
from txstathat.points.amounts import MAX_TIME

__all__ = [
    "Unreadable",
    "each_of",
    "parse_json",
    "read_alert",
    "read_channel",
    "read_dataset",
    "read_delivery",
    "read_episode",
    "read_full_dataset",
    "read_nothing",
    "read_stat",
    "read_trashed",
]

Read = TypeVar("Read")


class Unreadable(Exception):
    """
    An answer that does not have the expected form; the message says where.
    """


def parse_json(body: bytes) -> Any:
    """
    Read JSON, strictly.

    :raises Unreadable: if it is not JSON, or contains ``NaN`` or an infinity.
    """
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Unreadable("it is not JSON") from None


def _no_constant(text: str) -> Any:
    raise ValueError(text)


def each_of(read: Callable[[Any], Read]) -> Callable[[Any], list[Read]]:
    """
    Return a function that reads a list.

    :param read: reads one element.
    """

    def read_list(answer: Any) -> list[Read]:
        if not isinstance(answer, list):
            raise Unreadable("it is not a list")
        return list(map(read, answer))

    return read_list


def read_nothing(answer: Any) -> None:
    """
    Accept any answer.
    """


def read_stat(answer: Any) -> StatInfo:
    """
    Read a stat.

    :raises Unreadable: if it is not a stat.
    """
    return StatInfo(
        id=_text(answer, "id"),
        name=_text(answer, "name"),
        public=_member(answer, "public", bool, False),
        counter=_member(answer, "counter", bool),
        newest=_newest(_member(answer, "latest", dict, None)),
        points=_number(answer, "points", None),
    )


def read_trashed(answer: Any) -> TrashedStat:
    """
    Read a stat in the trash.

    :raises Unreadable: if it is not one.
    """
    return TrashedStat(
        id=_text(answer, "id"),
        name=_text(answer, "name"),
        deleted_at=_time(answer, "deleted_at"),
        until=_time(answer, "until"),
    )


def _newest(answer: Any) -> DataPoint | None:
    if answer is None:
        return None
    return DataPoint(_time(answer, "time"), _number(answer, "value"))


def read_dataset(answer: Any) -> Dataset:
    """
    Read a dataset.

    :raises Unreadable: if it is not a dataset.
    """
    points = _member(answer, "points", list, [])
    return Dataset(
        name=_text(answer, "name"),
        timeframe=_text(answer, "timeframe"),
        points=tuple(
            DataPoint(_time(point, "time"), _number(point, "value"))
            for point in points
            # null: an interval without data.
            if _member(point, "value", object, None) is not None
        ),
    )


def read_full_dataset(answer: Any) -> FullDataset:
    """
    Read a dataset with receipts.

    :raises Unreadable: if it is not a dataset with receipts.
    """
    kind = _text(answer, "Kind")
    if kind not in ("count", "value"):
        raise Unreadable("its Kind is neither count nor value")
    points = _member(answer, "Points", list, [])
    return FullDataset(
        name=_text(answer, "Name"),
        timeframe=_text(answer, "Timeframe"),
        counter=kind == "count",
        points=tuple(
            FullPoint(
                _time(point, "Time"), _number(point, "Value"), _whole(point, "Rcount")
            )
            for point in points
        ),
    )


def read_alert(answer: Any) -> Alert:
    """
    Read an alert.

    :raises Unreadable: if it is not an alert.
    """
    return Alert(
        id=_text(answer, "id"),
        stat_id=_text(answer, "stat_id"),
        stat_name=_member(answer, "stat_name", str, ""),
        kind=_text(answer, "kind"),
        time_window=_text(answer, "time_window"),
        operator=_member(answer, "operator", str, None),
        threshold=_number(answer, "threshold", None),
        percentage=_number(answer, "percentage", None),
        time_delta=_member(answer, "time_delta", str, None),
        firing=_member(answer, "firing", bool, None),
        acknowledged=_member(answer, "acknowledged", bool, None),
        silenced_until=_time(answer, "silenced_until", None),
        channels=tuple(map(str, _member(answer, "channels", list, []))),
        last_error=_member(answer, "last_error", str, None),
        webhook=_member(answer, "webhook", str, None),
        warning=_member(answer, "warning", str, None),
    )


def read_episode(answer: Any) -> AlertEpisode:
    """
    Read an episode of an alert.

    :raises Unreadable: if it is not one.
    """
    return AlertEpisode(
        episode=_whole(answer, "episode"),
        began=_time(answer, "began"),
        ended=_time(answer, "ended", None),
        number=_number(answer, "number", None),
        acknowledged_at=_time(answer, "acknowledged_at", None),
    )


def read_channel(answer: Any) -> ChannelInfo:
    """
    Read a channel.

    :raises Unreadable: if it is not one.
    """
    return ChannelInfo(
        name=_text(answer, "name"),
        kind=_text(answer, "kind"),
        address=_text(answer, "address"),
        secret=_member(answer, "secret", str, ""),
        failing=_member(answer, "failing", bool, False),
        last_error=_member(answer, "last_error", str, None),
        last_error_at=_time(answer, "last_error_at", None),
    )


def read_delivery(answer: Any) -> DeliveryResult:
    """
    Read the result of a test.

    :raises Unreadable: if it is not one.
    """
    return DeliveryResult(_text(answer, "channel"), _member(answer, "error", str, None))


_NEEDED: Any = object()


def _member(answer: Any, name: str, kind: type, default: Any = _NEEDED) -> Any:
    if not isinstance(answer, dict):
        raise Unreadable("an object is missing")
    found = answer.get(name)
    if found is None:
        # Go writes null for an empty list.
        if default is _NEEDED:
            raise Unreadable(f"{name} is missing")
        return default
    if not isinstance(found, kind):
        raise Unreadable(f"{name} is of the wrong type")
    return found


def _text(answer: Any, name: str) -> str:
    found: str = _member(answer, name, str)
    return found


def _number(answer: Any, name: str, default: Any = _NEEDED) -> Any:
    found = _member(answer, name, object, default)
    if found is None and default is None:
        return None
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise Unreadable(f"{name} is not a number")
    try:
        finite = math.isfinite(found)
    except OverflowError:
        finite = False
    if not finite:
        raise Unreadable(f"{name} is beyond the largest float")
    return found


def _whole(answer: Any, name: str) -> int:
    # Go writes whole floats without a fraction; other servers may not.
    found = _number(answer, name)
    if found != int(found):
        raise Unreadable(f"{name} is not a whole number")
    return int(found)


def _time(answer: Any, name: str, default: Any = _NEEDED) -> Any:
    if default is None and _member(answer, name, object, None) is None:
        return None
    time = _whole(answer, name)
    if not 0 <= time <= MAX_TIME:
        raise Unreadable(f"{name} is not a time in Unix seconds")
    return time
