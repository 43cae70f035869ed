"""
The answers of StatHat's export API as objects.

Unknown members of an answer are ignored. The members that a result needs must be there,
and have the right type.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from txstathat.points.amounts import MAX_TIME

__all__ = [
    "Alert",
    "AlertEpisode",
    "ChannelInfo",
    "DataPoint",
    "Dataset",
    "DeliveryResult",
    "FullDataset",
    "FullPoint",
    "StatInfo",
    "TrashedStat",
    "Unreadable",
    "parse_json",
    "read_alert",
    "read_channel",
    "read_dataset",
    "read_delivery",
    "read_episode",
    "read_full_dataset",
    "read_list",
    "read_stat",
    "read_trashed",
]

Read = TypeVar("Read")


class Unreadable(Exception):
    """
    An answer that does not have the expected form; the message says where.
    """


@dataclass(frozen=True, slots=True)
class TrashedStat:
    """
    A deleted stat that can be restored.

    :ivar id: its id.
    :ivar name: its name.
    :ivar deleted_at: when it was deleted, in Unix seconds.
    :ivar until: until when it can be restored, in Unix seconds.
    """

    id: str
    name: str
    deleted_at: int
    until: int


@dataclass(frozen=True, slots=True)
class DataPoint:
    """
    One interval of a stat.

    :ivar time: when the interval begins, in Unix seconds.
    :ivar value: the sum of a counter, or the average of a value.
    """

    time: int
    value: int | float


@dataclass(frozen=True, slots=True)
class StatInfo:
    """
    A stat in an account's list.

    :ivar id: its id in the export API.
    :ivar name: its name.
    :ivar public: whether everybody may see it.
    :ivar counter: whether it is a counter; else it is a value.
    :ivar newest: its newest interval with points, usually a minute; ``None`` if it has
        no points, or if the server was not asked or does not say.
    :ivar points: how many points it has received; ``None`` likewise.
    """

    id: str
    name: str
    public: bool
    counter: bool
    newest: DataPoint | None = None
    points: int | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """
    A stat over a timeframe.

    :ivar name: the stat's name.
    :ivar timeframe: in words, such as ``'1 week @ 3 hours'``.
    :ivar points: oldest first. A value has no points for intervals without data.
    """

    name: str
    timeframe: str
    points: tuple[DataPoint, ...]


@dataclass(frozen=True, slots=True)
class FullPoint:
    """
    One interval of a stat, with its number of points.

    :ivar time: when the interval begins, in Unix seconds.
    :ivar value: the sum of a counter, or the average of a value.
    :ivar receipts: how many points the stat received in it.
    """

    time: int
    value: int | float
    receipts: int


@dataclass(frozen=True, slots=True)
class FullDataset:
    """
    A stat over a timeframe, with receipts.

    :ivar name: the stat's name.
    :ivar timeframe: in words, such as ``'1 week @ 3 hours'``.
    :ivar counter: whether it is a counter; else it is a value.
    :ivar points: oldest first, including intervals without data.
    """

    name: str
    timeframe: str
    counter: bool
    points: tuple[FullPoint, ...]

    @property
    def values(self) -> list[int | float]:
        """
        The values of the points with data, oldest first.
        """
        return [point.value for point in self.points if point.receipts]


@dataclass(frozen=True, slots=True)
class Alert:
    """
    An alert.

    :ivar id: its id in the export API.
    :ivar stat_id: the id of its stat.
    :ivar stat_name: the name of its stat.
    :ivar kind: ``'value'``, ``'delta'`` or ``'data'``.
    :ivar time_window: the time that it evaluates, such as ``'1h'``.
    :ivar operator: how it compares; kinds value and delta.
    :ivar threshold: the value that it compares with; kind value.
    :ivar percentage: the size of a change, in percent; kind delta.
    :ivar time_delta: how far back it compares; kind delta.
    :ivar firing: whether it is firing now; ``None`` if the server does not say. (A
        collector does, StatHat does not. The same is true of the following.)
    :ivar acknowledged: whether it is firing, and somebody has acknowledged that.
    :ivar silenced_until: until when it is silenced, in Unix seconds; ``None`` if it is
        not.
    :ivar channels: the names of the channels that its notices go through; empty for all
        of them.
    :ivar last_error: why the last notice could not be delivered; ``None`` if it was.
    :ivar webhook: the scheme, host and port of its own webhook, whose URL is a secret;
        ``None`` if it has no webhook of its own.
    :ivar warning: what is wrong with a new or changed alert; ``None`` if nothing is.
    """

    id: str
    stat_id: str
    stat_name: str
    kind: str
    time_window: str
    operator: str | None = None
    threshold: int | float | None = None
    percentage: int | float | None = None
    time_delta: str | None = None
    firing: bool | None = None
    acknowledged: bool | None = None
    silenced_until: int | None = None
    channels: tuple[str, ...] = ()
    last_error: str | None = None
    webhook: str | None = None
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class AlertEpisode:
    """
    A time in which an alert fired.

    :ivar episode: its number, from 1 on.
    :ivar began: when it began, in Unix seconds.
    :ivar ended: when it ended, in Unix seconds; ``None`` if it goes on.
    :ivar number: what was compared when it began; ``None`` if that is not known.
    :ivar acknowledged_at: when it was acknowledged, in Unix seconds; ``None`` if it was
        not.
    """

    episode: int
    began: int
    ended: int | None = None
    number: int | float | None = None
    acknowledged_at: int | None = None


@dataclass(frozen=True, slots=True)
class ChannelInfo:
    """
    A channel of a collector.

    :ivar name: its name.
    :ivar kind: ``'webhook'``, ``'email'``, ``'ntfy'`` or ``'pagerduty'``.
    :ivar address: where it goes, without what could be a secret.
    :ivar secret: the name of the file with its secret; empty without one.
    :ivar failing: whether the last attempt to deliver something failed.
    :ivar last_error: why the last failed attempt failed; ``None`` if none has.
    :ivar last_error_at: when that was, in Unix seconds.
    """

    name: str
    kind: str
    address: str
    secret: str = ""
    failing: bool = False
    last_error: str | None = None
    last_error_at: int | None = None


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """
    The result of sending a test message.

    :ivar channel: the channel, or ``'webhook'`` for the operator's URL.
    :ivar error: why it could not be delivered; ``None`` if it was.
    """

    channel: str
    error: str | None = None


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


def read_list(read: Callable[[Any], Read], answer: Any) -> tuple[Read, ...]:
    """
    Read each element of a list.

    :param read: reads one element.
    :raises Unreadable: if it is not a list, or an element cannot be read.
    """
    if not isinstance(answer, list):
        raise Unreadable("it is not a list")
    return tuple(map(read, answer))


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
