"""
The lines of statsd: read, and added up until they are sent on as points.

The syntax is that of statsd for Node (``docs/metric_types.md`` in its repository), with
DogStatsD's histograms, distributions, packed values and tags.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from txstathat.errors import InvalidPoint
from txstathat.points.amounts import MAX_INTEGER, parse_amount
from txstathat.points.model import Parts
from txstathat.points.names import is_plain_name

__all__ = [
    "IDLE_SECONDS",
    "MAX_DIFFERENT",
    "MAX_LINES",
    "MAX_NAMES",
    "MAX_PENDING",
    "SWEEP_SECONDS",
    "StatsDReader",
]

#: How many names a reader knows at once. Lines with further names are refused.
MAX_NAMES = 10_000
#: How many lines wait to be parsed together, and how many different ones.
MAX_LINES = 20_000
MAX_DIFFERENT = 4_000
#: How many values can wait to be sent on. Further ones are refused.
MAX_PENDING = 100_000
#: After how many seconds without a line a name makes room for another, if there is
#: none.
IDLE_SECONDS = 3600.0
#: The shortest interval, in seconds, at which a reader without room looks for names
#: that can make room.
SWEEP_SECONDS = 60.0

# The kind of the points that a type of statsd becomes.
_KINDS = {b"c": "count", b"ms": "value", b"h": "value", b"d": "value", b"g": "value"}
# More digits take the slow way.
_SHORT = 15
# Where DogStatsD names the sender's container, and how its tags are to be stored.
_ORIGIN = (b"c:", b"e:", b"card:")
_RATE = re.compile(rb"@(?:0?\.[0-9]{1,15}|[01](?:\.[0-9]{0,15})?)")


class _Refused(Exception):
    """
    A line that is not accepted. Its argument is the reason.
    """


@dataclass(slots=True)
class _Stat:
    """
    A stat, and what was received for it since the last time it was sent on.

    :ivar used_at: when it was sent on last, by the monotonic clock.
    :ivar gauge: the last reading of a gauge, to which signed amounts are added.
    """

    name: str
    kind: str
    used_at: float
    waits: bool = False
    total: int | float = 0
    gauge: int | float = 0
    values: list[int | float] = field(default_factory=list)
    classes: list[int | float] = field(default_factory=list)


class StatsDReader:
    """
    Reads lines of statsd, and adds them up.

    Counters become counts, divided by their sample rates. Timers, histograms,
    distributions and the readings of gauges become values, one for each. Sets, events,
    service checks, lines with a time and whatever is not valid are refused.

    :param prefix: the beginning of all names.
    :param tags: the DogStatsD tags that become a part of the name, in this order, such
        as ``'env'``: ``requests env:prod``. Other tags are dropped.
    :param buckets: limits in milliseconds, in rising order, such as ``(10, 100)``. Each
        timer is also counted in one of ``name up to 10 ms``, ``name up to 100 ms`` and
        ``name over 100 ms``.
    :param max_names: how many names are known at once.
    :raises ValueError: if the buckets do not rise, or ``max_names`` is below 1.

    :ivar accepted: the number of lines that were accepted.
    :ivar refused: the number of lines that were refused, by reason: ``'set'``,
        ``'event'``, ``'syntax'``, ``'type'``, ``'name'``, ``'amount'``, ``'rate'``,
        ``'time'``, ``'kind'`` (the name is known as that of a counter, and this is a
        value, or the other way round), ``'too many names'`` and ``'too many values'``.
    :ivar pending: the number of values that wait to be sent on.
    """

    def __init__(
        self,
        *,
        prefix: str = "",
        tags: Sequence[str] = (),
        buckets: Iterable[float] = (),
        max_names: int = MAX_NAMES,
    ) -> None:
        self._buckets = tuple(buckets)
        if not all(a < b for a, b in pairwise(self._buckets)):
            raise ValueError(f"buckets must be in rising order, not {self._buckets!r}")
        if max_names < 1:
            raise ValueError(f"max_names={max_names!r}: must be at least 1")
        self._prefix = prefix
        self._tags = [f"{tag}:".encode() for tag in tags]
        self._max_names = max_names
        self._classes = [f"up to {bound:g} ms" for bound in self._buckets]
        if self._buckets:
            self._classes.append(f"over {self._buckets[-1]:g} ms")
        # How often each line was received that is not parsed yet.
        self._lines: Counter[bytes] = Counter()
        self._unparsed = 0
        # A name with its class must be valid too.
        self._longest = "x" * max((len(each) + 1 for each in self._classes), default=0)
        self._stats: dict[bytes, _Stat] = {}
        self._waiting: list[_Stat] = []
        self._now = self._swept_at = -math.inf
        self.accepted = 0
        self.refused: Counter[str] = Counter()
        self.pending = 0

    def read(self, datagrams: Iterable[bytes], now: float) -> None:
        """
        Read datagrams, each of one line or more. Lines are counted as accepted or
        refused when they are parsed: :meth:`take` parses all.

        :param datagrams: the datagrams.
        :param now: the monotonic time, in seconds.
        """
        self._now = now
        text = b"\n".join(datagrams)
        lines = text.split(b"\n")
        # Equal lines, such as those of counters, are parsed once.
        self._lines.update(lines)
        if b"|g" in text:
            # The order of gauges matters.
            gauges = [line for line in lines if b"|g" in line]
            self._parse_lines((line, 1) for line in gauges)
            for line in gauges:
                self._lines.pop(line, None)
        self._unparsed += len(lines)
        if self._unparsed >= MAX_LINES or len(self._lines) >= MAX_DIFFERENT:
            self._parse()

    def _parse(self) -> None:
        lines, self._lines = self._lines, Counter()
        self._unparsed = 0
        lines.pop(b"", None)
        self._parse_lines(lines.items())

    def _parse_lines(self, lines: Iterable[tuple[bytes, int]]) -> None:
        for line, times in lines:
            try:
                self._parse_line(line, times)
                self.accepted += times
            except _Refused as error:
                self.refused[error.args[0]] += times

    def take(self, now: float) -> list[Parts]:
        """
        Return the points of what was read since the last call. They have no time.

        :param now: the monotonic time, in seconds.
        """
        self._now = now
        self._parse()
        points: list[Parts] = []
        for stat in self._waiting:
            stat.waits, stat.used_at = False, now
            points += self._points(stat)
        self._waiting = []
        self.pending = 0
        return points

    def _points(self, stat: _Stat) -> list[Parts]:
        name = stat.name
        if stat.kind == "count":
            total, stat.total = stat.total, 0
            return [("count", name, _plain(total), None)]
        values, stat.values = stat.values, []
        points: list[Parts] = [("value", name, value, None) for value in values]
        counts, stat.classes = stat.classes, []
        for words, count in zip(self._classes, counts or (), strict=False):
            if count:
                points.append(("count", f"{name} {words}", _plain(count), None))
        return points

    def _parse_line(self, line: bytes, times: int) -> None:
        name, colon, rest = line.partition(b":")
        fields = rest.split(b"|")
        rate = 1.0
        if len(fields) != 2:
            if not colon or len(fields) < 2 or line.startswith(b"_e{"):
                raise _Refused(_reason(line, "syntax"))
            name, rate = self._extras(name, fields)
        sort = fields[1].rstrip()
        kind = _KINDS.get(sort)
        if kind is None:
            raise _Refused("set" if sort == b"s" else _reason(line, "type"))
        amounts = [_amount(each) for each in fields[0].split(b":")]
        if kind == "count":
            self._count(self._stat(name, kind), amounts, rate, times)
        elif sort == b"g":
            self._gauge(name, fields[0], amounts)
        else:
            bounds = self._buckets if sort == b"ms" else ()
            self._values(self._stat(name, kind), amounts, rate, bounds, times)

    def _extras(self, name: bytes, fields: list[bytes]) -> tuple[bytes, float]:
        """
        Read the fields after the type.

        :returns: the name with its tags, and the sample rate.
        """
        rate = 1.0
        for extra in fields[2:]:
            extra = extra.rstrip()
            if extra.startswith(b"#"):
                name = self._tagged(name, extra[1:].split(b","))
            elif extra.startswith(b"@"):
                rate = float(extra[1:]) if _RATE.fullmatch(extra) else 0.0
                if not 0 < rate <= 1:
                    raise _Refused("rate")
            elif extra.startswith(b"T"):
                raise _Refused("time")
            elif not extra.startswith(_ORIGIN):
                raise _Refused("syntax")
        return name, rate

    def _tagged(self, name: bytes, tags: list[bytes]) -> bytes:
        for wanted in self._tags:
            for tag in tags:
                if tag.startswith(wanted):
                    name += b" " + tag
                    break
        return name

    def _stat(self, name: bytes, kind: str) -> _Stat:
        stat = self._stats.get(name)
        if stat is None:
            stat = self._new_stat(name, kind)
        elif stat.kind != kind:
            raise _Refused("kind")
        return stat

    def _new_stat(self, name: bytes, kind: str) -> _Stat:
        try:
            text = self._prefix + name.decode("utf-8")
        except UnicodeDecodeError:
            raise _Refused("name") from None
        if not name or not is_plain_name(text + self._longest):
            raise _Refused("name")
        if len(self._stats) >= self._max_names:
            self._sweep()
            if len(self._stats) >= self._max_names:
                raise _Refused("too many names")
        stat = self._stats[name] = _Stat(text, kind, self._now)
        return stat

    def _sweep(self) -> None:
        if self._now - self._swept_at < SWEEP_SECONDS:
            return
        self._swept_at = self._now
        self._stats = {
            name: stat
            for name, stat in self._stats.items()
            if stat.waits or self._now - stat.used_at < IDLE_SECONDS
        }

    def _count(
        self, stat: _Stat, amounts: list[int | float], rate: float, times: int
    ) -> None:
        amount = sum(amounts) if rate == 1.0 else sum(amounts) / rate
        if abs(amount) > MAX_INTEGER:
            raise _Refused("amount")
        stat.total += amount * times
        self._wait(stat)

    def _gauge(self, name: bytes, text: bytes, amounts: list[int | float]) -> None:
        stat = self._stat(name, "value")
        readings, gauge = [], stat.gauge
        for each, amount in zip(text.split(b":"), amounts, strict=True):
            gauge = gauge + amount if each[:1] in b"+-" else amount
            if abs(gauge) > MAX_INTEGER:
                raise _Refused("amount")
            readings.append(gauge)
        self._values(stat, readings, 1.0, ())
        stat.gauge = gauge

    def _values(
        self,
        stat: _Stat,
        values: list[int | float],
        rate: float,
        bounds: Sequence[float],
        times: int = 1,
    ) -> None:
        if self.pending + len(values) * times > MAX_PENDING:
            raise _Refused("too many values")
        values = values * times
        stat.values += values
        self.pending += len(values)
        if bounds:
            stat.classes = stat.classes or [0] * len(self._classes)
            for value in values:
                index = next(
                    (i for i, bound in enumerate(bounds) if value <= bound), -1
                )
                stat.classes[index] += 1 if rate == 1.0 else 1 / rate
        self._wait(stat)

    def _wait(self, stat: _Stat) -> None:
        if not stat.waits:
            stat.waits = True
            self._waiting.append(stat)


def _reason(line: bytes, otherwise: str) -> str:
    """
    Return why a line that has not the form of a metric is refused.
    """
    return "event" if line.startswith((b"_e{", b"_sc|")) else otherwise


def _amount(text: bytes) -> int | float:
    if len(text) <= _SHORT:
        if text.isdigit():
            return int(text)
        if text.replace(b".", b"", 1).isdigit():
            return float(text)
    try:
        amount = parse_amount(text.decode("ascii"))
    except (InvalidPoint, UnicodeDecodeError):
        raise _Refused("amount") from None
    if abs(amount) > MAX_INTEGER:
        raise _Refused("amount")
    return amount


def _plain(total: int | float) -> int | float:
    """
    Return a sum as an amount that a point can have.
    """
    if isinstance(total, float):
        return int(total) if total.is_integer() and abs(total) < 2**53 else total
    return total if abs(total) <= MAX_INTEGER else float(total)
