"""
The evaluation of targets.

A series has the finest steps, of a minute, an hour or a day, that are stored for all of
its time and are not too many. Its first point is the one after the start of the range,
its last one contains the end of the range, as in Graphite's own storage.
"""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.task import deferLater

from txstathat.collector.api.graphite.arguments import Range, bind
from txstathat.collector.api.graphite.functions import FUNCTIONS
from txstathat.collector.api.graphite.paths import Pattern, path_of_name
from txstathat.collector.api.graphite.series import TimeSeries, Values
from txstathat.collector.api.graphite.stats import StatFinder
from txstathat.collector.api.graphite.targets import Call, Path
from txstathat.collector.archive.archive import Archive
from txstathat.collector.errors import Refusal
from txstathat.points.timeframe import Span, Timeframe

__all__ = [
    "MAX_CALLS",
    "MAX_POINTS",
    "MAX_RESULTS",
    "MAX_SERIES",
    "MAX_STEPS",
    "Evaluation",
]

#: The most functions and paths that a request can evaluate. The arguments of timeShift
#: and movingAverage are evaluated twice.
MAX_CALLS = 500
#: The most series that a request can read.
MAX_SERIES = 1_000
#: The most points that a request can read.
MAX_POINTS = 200_000
#: The most points that the functions of a request can make, all together.
MAX_RESULTS = 1_000_000
#: The most points of a series.
MAX_STEPS = 2_000

# How many points are handled at once. More would block the reactor for long.
_POINTS_AT_ONCE = 10_000
_SCALES = (("minute", "m", 60), ("hour", "h", 3_600), ("day", "d", 86_400))


class Evaluation:
    """
    Evaluates the targets of one request, within its limits.

    :param archive: the stats.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._finder = StatFinder(archive)
        self._now = int(archive.store.clock.seconds())
        self._calls = self._series = self._points = self._results = self._busy = 0

    async def evaluate(self, target: Path | Call, range: Range) -> list[TimeSeries]:
        """
        Return the series of a target.

        :param target: the parsed target.
        :param range: the range.
        :raises Refusal: 400 if the target is not valid, or the request asks for too
            much.
        """
        self._calls += 1
        if self._calls > MAX_CALLS:
            raise Refusal(
                400, f"a request can have at most {MAX_CALLS} functions and paths"
            )
        if isinstance(target, Path):
            return await self._read(target.text, range)
        function = FUNCTIONS.get(target.name)
        if function is None:
            known = ", ".join(FUNCTIONS)
            raise Refusal(
                400,
                f"the function {target.name[:40]!r} is not known; these are: {known}",
            )
        call = bind(function, target, range)
        call.series = call.original = await self._all(call.targets, range)
        if function.widen is not None:
            call.series = await self._all(call.targets, function.widen(call))
        if function.params[0].type != "seriesList":
            return self._made(function.apply(call))
        result: list[TimeSeries] = []
        for one in call.series:
            result += self._made(function.apply(replace(call, series=[one])))
            await self._pause(len(one.values))
        return result

    async def _all(self, targets: list[Path | Call], range: Range) -> list[TimeSeries]:
        return [
            series
            for target in targets
            for series in await self.evaluate(target, range)
        ]

    async def _read(self, path: str, range: Range) -> list[TimeSeries]:
        if range.start >= self._now:
            return []
        stats = await self._finder.find(Pattern(path), MAX_SERIES - self._series)
        if not stats:
            return []
        scale, unit, step = self._scale(range)
        start, end = _edges(range, step, self._now)
        self._spend(len(stats), (end - start) // step)
        # What has expired cannot be read. One second more, since time goes on.
        stored = self._archive.stored_since(scale) + 1
        begin = max(start, -int(-stored // step) * step)
        empty: Values = [None] * ((min(begin, end) - start) // step)
        result = [
            TimeSeries(
                path_of_name(stat.name),
                path,
                start,
                step,
                list(empty),
                "sum" if stat.counter else "average",
            )
            for stat in stats
        ]
        if begin >= min(end, self._now + 1):
            return result
        frame = Timeframe(Span((end - begin) // step, unit), Span(1, unit))
        data = await self._archive.data(stats, frame, start=begin)
        for number, more in enumerate(data):
            one = result[number]
            result[number] = replace(one, values=one.values + more.values)
            await self._pause(len(more.buckets))
        return result

    def _spend(self, series: int, steps: int) -> None:
        self._series += series
        self._points += series * steps
        if self._series > MAX_SERIES:
            raise Refusal(400, f"a request can have at most {MAX_SERIES} series")
        if self._points > MAX_POINTS:
            raise Refusal(
                400,
                f"a request can read at most {MAX_POINTS} points: request fewer "
                "series, or less time",
            )

    def _made(self, result: list[TimeSeries]) -> list[TimeSeries]:
        """
        Count the points that a function has made.
        """
        self._results += sum(len(one.values) for one in result)
        if self._results > MAX_RESULTS:
            raise Refusal(
                400,
                f"the functions of a request can make at most {MAX_RESULTS} points: "
                "request fewer series, or longer intervals",
            )
        return result

    async def _pause(self, points: int) -> None:
        """
        Let other requests be answered, if much has been done since the last pause.

        :param points: how many points were handled.
        """
        self._busy += points
        if self._busy > _POINTS_AT_ONCE:
            self._busy = 0
            await deferLater(self._archive.timers, 0)

    def _scale(self, range: Range) -> tuple[str, str, int]:
        """
        Return the finest scale for a range: its name, its unit, and its seconds.
        """
        for scale in _SCALES:
            name, _, step = scale
            start, end = _edges(range, step, self._now)
            stored = self._archive.stored_since(name) + 1 <= start or name == "day"
            if stored and (end - start) // step <= MAX_STEPS:
                return scale
        raise Refusal(
            400, f"from, until: this is more than {MAX_STEPS} days; request less"
        )


def _edges(range: Range, step: int, now: int) -> tuple[int, int]:
    """
    Return when the first step of a range begins, and the last one ends.
    """
    start = range.start - range.start % step + step
    end = min(range.end, now)
    end += step - end % step
    return start, max(end, start + step)
