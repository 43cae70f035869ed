"""
The answers of StatHat's export API as objects.
"""

from __future__ import annotations

from dataclasses import dataclass

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
]


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
