"""
Ranges: the time that the page of a stat shows, and its steps.

A range is a timeframe of the export API that ends now, or one that begins at a given
time. In an address it is ``t=1d5m``, and ``start=2026-07-04`` or
``start=2026-07-04T13:00`` in UTC.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from urllib.parse import urlencode

from txstathat.collector.archive.series import scale_of
from txstathat.collector.pages.forms.forms import Form, WrongField
from txstathat.collector.pages.frame.formatting import day
from txstathat.errors import InvalidTimeframe
from txstathat.points.timeframe import Span, Timeframe, pick_interval

__all__ = [
    "DEFAULT",
    "MAX_STEPS",
    "PRESETS",
    "Range",
    "StoredSince",
    "check_steps",
    "pick_step",
    "read_range",
]

#: The default timeframe.
DEFAULT = "1d5m"
#: The timeframes with a link of their own, and the texts of these links.
PRESETS = {
    "1h1m": "Hour",
    "1d5m": "Day",
    "1w3h": "Week",
    "1M1h": "Month",
    "1y1d": "Year",
    "7d1h": "7 days",
    "30d2h": "30 days",
    "90d1d": "90 days",
}
#: How many steps a page shows: about as many as a screen. The export API gives more.
MAX_STEPS = 1_000

_DAY = 86_400

#: Returns since when all detail of a scale is stored, in Unix seconds.
StoredSince = Callable[[str], float]


@dataclass(frozen=True)
class Range:
    """
    A time from a beginning to an end, in steps.

    :ivar timeframe: its length, and the length of its steps.
    :ivar start: a time in its first step, in Unix seconds; ``None`` if it ends now.
    """

    timeframe: Timeframe
    start: int | None = None

    @property
    def query(self) -> str:
        """
        The range as the query of an address.
        """
        return urlencode(self.pairs)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """
        The fields of an address, and their texts.
        """
        start = [] if self.start is None else [("start", _start_text(self.start))]
        return [("t", str(self.timeframe)), *start]

    def begin(self, now: int) -> int:
        """
        When the first step begins, in Unix seconds.

        :param now: the current time, in Unix seconds.
        """
        duration, interval = self.timeframe.duration, self.timeframe.interval
        since = self.start
        if since is None:
            end = interval.end_of(now)
            since = max(0, duration.before(end))
        return max(0, interval.start_of(since))

    def title(self, now: int) -> str:
        """
        The range in words, such as ``'1 day, in steps of 5 minutes'``.

        :param now: the current time, in Unix seconds.
        """
        steps = f"in steps of {self.timeframe.interval.title}"
        if self.start is None:
            return f"{self.timeframe.duration.title}, {steps}"
        begin = self.begin(now)
        return f"{self.timeframe.duration.title} from {_moment_text(begin)}, {steps}"

    def stepped(self, direction: int, now: int, since: StoredSince) -> Range | None:
        """
        The range of the same length before or after this one. It has the same steps,
        or longer ones if there is no detail for these.

        :param direction: -1 for before, 1 for after.
        :param now: the current time, in Unix seconds.
        :param since: returns since when a scale is stored.
        :returns: the range; ``None`` if it would be in the future, or before 1970.
        """
        if direction > 0 and self.start is None:
            return None
        duration, interval = self.timeframe.duration, self.timeframe.interval
        begin = self.begin(now)
        start = duration.after(begin) if direction > 0 else duration.before(begin)
        if start < 0 or start > now:
            return None
        if since(scale_of(interval)) > start:
            interval = pick_step(duration, start, since)
        if direction > 0 and interval.start_of(start) <= begin:
            # Its only step is longer than it.
            start = interval.end_of(start)
        if duration.after(start) > now:
            usual = duration.before(now)
            return Range(Timeframe(duration, pick_step(duration, usual, since)))
        return Range(Timeframe(duration, interval), start)


def pick_step(duration: Span, begin: int, since: StoredSince) -> Span:
    """
    Pick the length of the steps of a range: the shortest that gives not too many steps,
    and for which there is detail.

    :param duration: the length of the range.
    :param begin: when it begins, in Unix seconds.
    :param since: returns since when a scale is stored, in Unix seconds.
    """

    def fits(step: Span) -> bool:
        return max(0, step.start_of(max(0, begin))) >= since(scale_of(step))

    return pick_interval(duration, fits)


def check_steps(timeframe: Timeframe, text: str = "") -> Timeframe:
    """
    Check that a page can show a timeframe.

    :param timeframe: the timeframe.
    :param text: what was typed, for the message.
    :raises WrongField: if it has more than :data:`MAX_STEPS` steps.
    """
    # Months and years vary in length; a few steps more do no harm.
    if timeframe.duration.longest > (MAX_STEPS + 1) * timeframe.interval.longest:
        raise WrongField(
            "t",
            f"{text or timeframe} has more than {MAX_STEPS:,} steps, which is the most "
            "that a page shows: choose a longer step or a shorter range",
        )
    return timeframe


def read_range(form: Form, now: int, since: StoredSince) -> Range | None:
    """
    Read a range from the fields ``t``, ``start``, ``from`` and ``to``.

    :param form: the fields.
    :param now: the current time, in Unix seconds.
    :param since: returns since when a scale is stored, in Unix seconds.
    :returns: the range; ``None`` if the fields are empty.
    :raises WrongField: if a field is wrong.
    """
    if form["from"] or form["to"]:
        return _between(form, now, since)
    if not form["t"]:
        return None
    start = _read_start(form["start"], now) if form["start"] else None
    text = form["t"].strip()

    def pick(duration: Span) -> Span:
        begin = max(0, duration.before(now)) if start is None else start
        return pick_step(duration, begin, since)

    try:
        timeframe = Timeframe.parse(text, pick)
    except InvalidTimeframe:
        raise WrongField(
            "t",
            "write a length of time such as 5d, or one with a step such as 2w6h; the "
            "units are m minutes, h hours, d days, w weeks, M months, y years",
        ) from None
    return Range(check_steps(timeframe, text), start)


def _between(form: Form, now: int, since: StoredSince) -> Range:
    first = _read_date(form, "from")
    last = _read_date(form, "to")
    start = int(datetime.combine(first, time(), UTC).timestamp())
    if start > now:
        raise WrongField("from", f"{first} is in the future")
    days = (last - first).days + 1
    if days < 1:
        raise WrongField("to", f"{last} is before {first}")
    duration = Span(days, "d")
    try:
        Span.parse(str(duration))
    except InvalidTimeframe as error:
        raise WrongField("from", str(error)) from None
    return Range(Timeframe(duration, pick_step(duration, start, since)), start)


def _read_date(form: Form, name: str) -> date:
    try:
        found = date.fromisoformat(form[name])
        datetime.combine(found, time(), UTC).timestamp()
    except (OverflowError, ValueError):
        raise WrongField(name, "choose a day, such as 2026-07-04") from None
    if found.year < 1970:
        raise WrongField(name, f"{found} is before 1970")
    return found


def _read_start(text: str, now: int) -> int:
    try:
        found = datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except (OverflowError, ValueError):
        raise WrongField(
            "t", "the start must be a day or a minute in UTC, such as 2026-07-04T13:00"
        ) from None
    if not 0 <= found <= now:
        raise WrongField("t", "the start must be between 1970 and now")
    return int(found)


def _start_text(start: int) -> str:
    text = f"{datetime.fromtimestamp(start, UTC):%Y-%m-%dT%H:%M}"
    return text.removesuffix("T00:00")


def _moment_text(begin: int) -> str:
    clock = f"{datetime.fromtimestamp(begin, UTC):%H:%M}"
    return day(begin) if clock == "00:00" else f"{day(begin)}, {clock} UTC"
