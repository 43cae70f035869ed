"""
The charts of tiles, as SVG. They need no script, and a page with many of them is small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from twisted.web.template import Tag, tags

from txstathat.collector.archive.records.comments import Comment
from txstathat.collector.archive.series import Series
from txstathat.collector.number_text import number
from txstathat.collector.pages.sparkline import strokes
from txstathat.printable import printable

__all__ = ["Line", "plot"]

_WIDTH, _HEIGHT = 600.0, 180.0
# The shortest steps with which a time is shown, not only a date, in seconds.
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Line:
    """
    What is drawn of one stat.

    :ivar values: a value for each step; ``None`` where there is none.
    :ivar bars: whether to draw bars, and not a line.
    :ivar base: a value that the axis must show.
    """

    values: Sequence[int | float | None]
    bars: bool = False
    base: float = 0.0


def plot(
    lines: Sequence[Line],
    series: Series,
    marks: Sequence[Comment],
    text: str,
    *,
    shared_axis: bool = True,
) -> Tag:
    """
    Draw a chart. The style sheet sets its colors and widths.

    :param lines: what to draw.
    :param series: the series whose steps they have.
    :param marks: what to mark, within these steps.
    :param text: what the chart shows, for screen readers.
    :param shared_axis: whether all lines have one axis, with its numbers beside it.
    """
    svg = Tag(
        "svg",
        attributes={
            "class": "plot",
            "viewBox": f"0 0 {_WIDTH:g} {_HEIGHT:g}",
            # It fills its tile. The strokes do not scale.
            "preserveAspectRatio": "none",
            "role": "img",
            "aria-label": printable(text),
        },
    )
    ranges = [_range([line]) for line in lines]
    if shared_axis:
        ranges = [_range(lines)] * len(lines)
    for up in (0.0, 0.5, 1.0):
        y = f"{_HEIGHT * (1 - up):g}"
        svg(_shape("line", "grid", x1="0", x2=f"{_WIDTH:g}", y1=y, y2=y))
    for n, (line, (low, high)) in enumerate(zip(lines, ranges, strict=True)):
        svg(_bars(line, n, low, high) if line.bars else _polylines(line, n, low, high))
    begin = series.buckets[0].time
    end = series.timeframe.interval.end_of(series.buckets[-1].time)
    for mark in marks:
        svg(_mark(mark, (mark.time - begin) / max(1, end - begin)))
    axis = tags.transparent()
    if shared_axis and lines:
        low, high = ranges[0]
        axis = tags.div(
            tags.span(number(high)), tags.span(number(low)), class_="plot-scale"
        )
    return tags.div(
        tags.div(axis, tags.div(svg, class_="plot-canvas"), class_="plot-area"),
        tags.div(_time(begin, series), _time(end, series), class_="plot-times"),
        class_="plot-frame",
    )


def _range(lines: Sequence[Line]) -> tuple[float, float]:
    known: list[float] = []
    for line in lines:
        known += [value for value in line.values if value is not None]
        known.append(line.base)
    low, high = min(known, default=0.0), max(known, default=1.0)
    # A constant is in the middle.
    return (low, high) if high > low else (low - 1.0, high + 1.0)


def _mark(mark: Comment, across: float) -> Tag:
    x = f"{_WIDTH * across:.1f}"
    stroke = _shape("line", "mark", x1=x, x2=x, y1="0", y2=f"{_HEIGHT:g}")
    return stroke(Tag("title")(printable(mark.text)))


def _shape(name: str, class_: str, **attributes: str) -> Tag:
    return Tag(name, attributes=dict[Any, Any](attributes | {"class": class_}))


def _height(value: float, low: float, high: float) -> float:
    # Halves, since the difference of the largest floats would overflow.
    return (value / 2 - low / 2) / (high / 2 - low / 2) * _HEIGHT


def _bars(line: Line, n: int, low: float, high: float) -> Tag:
    group = _shape("g", f"bars c{n}")
    width = _WIDTH / max(1, len(line.values))
    zero = _height(min(max(0.0, low), high), low, high)
    last = len(line.values) - 1
    for at, value in enumerate(line.values):
        if not value:
            continue
        top = _height(value, low, high)
        group(
            _shape(
                "rect",
                "part" if at == last else "bar",
                x=f"{(at + 0.1) * width:.1f}",
                width=f"{0.8 * width:.1f}",
                y=f"{_HEIGHT - max(top, zero):.1f}",
                height=f"{abs(top - zero):.1f}",
            )
        )
    return group


def _polylines(line: Line, n: int, low: float, high: float) -> Tag:
    group = _shape("g", f"lines c{n}")
    step = _WIDTH / max(1, len(line.values))

    def place(at: int, value: float) -> str:
        return f"{(at + 0.5) * step:.1f},{_HEIGHT - _height(value, low, high):.1f}"

    for kind, points in strokes(line.values, place):
        group(_shape("polyline", kind, points=points))
    return group


def _time(t: int, series: Series) -> Tag:
    """
    A time below a chart, in UTC. The script shows it in the viewer's time zone, unless
    the steps are days of UTC.
    """
    when = datetime.fromtimestamp(t, UTC)
    if series.timeframe.interval.longest >= _DAY:
        return tags.time(f"{when.day} {when:%b %Y}", datetime=f"{when:%Y-%m-%d}")
    return tags.time(f"{when:%m-%d %H:%M} UTC", datetime=f"{when:%Y-%m-%dT%H:%M}Z")
