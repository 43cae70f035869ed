"""
The functions that targets can call.

Each does the same as Graphite's function with its name
(https://graphite.readthedocs.io/en/latest/functions.html).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate, groupby

from txstathat.collector.api.graphite.arguments import (
    Arguments,
    Function,
    Param,
    Range,
)
from txstathat.collector.api.graphite.series import (
    TimeSeries,
    Values,
    aggregate,
    consolidate,
)
from txstathat.collector.api.graphite.targets import Call, parse
from txstathat.collector.api.graphite.times import parse_interval
from txstathat.collector.errors import Refusal

__all__ = ["FUNCTIONS", "MAX_STEPS"]

#: The most points that a function can make of a series.
MAX_STEPS = 20_000

_SERIES = Param("seriesList", "seriesList")
_LISTS = Param("seriesLists", "seriesLists", multiple=True)
_RATE = (
    _SERIES,
    Param("maxValue", "float", required=False),
    Param("minValue", "float", required=False),
)


def _alias(call: Arguments) -> list[TimeSeries]:
    return [replace(one, name=call.values["newName"]) for one in call.series]


def _alias_by_node(call: Arguments) -> list[TimeSeries]:
    result = []
    for one in call.series:
        nodes = _first_path(one.name).split(".")
        named = [
            nodes[number] if -len(nodes) <= number < len(nodes) else ""
            for number in call.values["nodes"]
        ]
        result.append(replace(one, name=".".join(named)))
    return result


def _first_path(name: str) -> str:
    """
    Return the first path in the name of a series, which may be a call.
    """
    if not name.endswith(")"):
        return name
    try:
        target = parse(name)
    except Refusal:  # the name is from alias()
        return name
    while isinstance(target, Call):
        if not target.args or isinstance(target.args[0], str | float | int | None):
            return name
        target = target.args[0]
    return target.text


def _combine(how: str) -> Callable[[Arguments], list[TimeSeries]]:
    def apply(call: Arguments) -> list[TimeSeries]:
        if not call.series:
            return []
        step = _common_step(call.series)
        some = [consolidate(one, step) for one in call.series]
        start = min(one.start for one in some)
        length = (max(one.end for one in some) - start) // step
        if length > MAX_STEPS:
            raise Refusal(400, f"{how}Series: the times of these series are too far")
        rows: list[Values] = [[] for _ in range(length)]
        for one in some:
            first = (one.start - start) // step
            for number, value in enumerate(one.values, first):
                rows[number].append(value)
        name = ",".join(dict.fromkeys(one.expression for one in call.series))
        sums = all(one.consolidation == "sum" for one in some)
        values = [aggregate(how, row) for row in rows]
        name = f"{how}Series({name})"
        kind = "sum" if sums else "average"
        return [TimeSeries(name, name, start, step, values, kind)]

    return apply


def _common_step(some: list[TimeSeries]) -> int:
    step = math.lcm(*{one.step for one in some})
    if step > max(one.end - one.start for one in some) + max(one.step for one in some):
        raise Refusal(400, "these series have no step in common: combine them apart")
    return step


def _scale(call: Arguments) -> list[TimeSeries]:
    factor = float(call.values["factor"])
    return [
        one.renamed(
            f"scale({one.name},{factor:g})", _each(one, lambda value: value * factor)
        )
        for one in call.series
    ]


def _each(one: TimeSeries, change: Callable[[float], float | None]) -> Values:
    return [None if value is None else change(value) for value in one.values]


def _shift_of(call: Arguments) -> tuple[str, int]:
    text = call.values["timeShift"]
    # A shift without a sign is to the past.
    text = f"-{text}" if text[:1].isdigit() else text
    return text, parse_interval(text, "timeShift")


def _shifted_range(call: Arguments) -> Range:
    _, seconds = _shift_of(call)
    return call.range.moved(seconds, seconds)


def _time_shift(call: Arguments) -> list[TimeSeries]:
    if not call.original:
        return []
    text, _ = _shift_of(call)
    original = call.original[0]
    result = []
    for one in call.series:
        values = one.values
        if call.values["resetEnd"] and one.step == original.step:
            values = values[: len(original.values)]
        name = f'timeShift({one.name}, "{text}")'
        result.append(replace(one, name=name, start=original.start, values=values))
    return result


def _summarize(call: Arguments) -> list[TimeSeries]:
    text, how = call.values["intervalString"], call.values["func"]
    from_start = call.values["alignToFrom"]
    interval = abs(parse_interval(text, "intervalString"))
    result = []
    for one in call.series:
        start = one.start if from_start else one.start - one.start % interval
        end = one.end if from_start else one.end - one.end % interval + interval
        if interval < 1 or (end - start) // interval > MAX_STEPS:
            raise Refusal(400, f"summarize: {text!r} is too short for this time")
        parts: list[Values] = [[] for _ in range(-(-(end - start) // interval))]
        for number, value in enumerate(one.values):
            parts[(one.start + number * one.step - start) // interval].append(value)
        flag = ", true" if from_start else ""
        named = one.renamed(
            f'summarize({one.name}, "{text}", "{how}"{flag})',
            [aggregate(how, part) for part in parts],
        )
        result.append(replace(named, start=start, step=interval))
    return result


def _keep_last_value(call: Arguments) -> list[TimeSeries]:
    limit = call.values["limit"]
    return [
        one.renamed(f"keepLastValue({one.name})", _filled(one.values, limit))
        for one in call.series
    ]


def _filled(values: Values, limit: float | None) -> Values:
    filled: Values = []
    last: float | None = None
    for missing, group in groupby(values, lambda value: value is None):
        part = list(group)
        if missing:
            short = limit is None or len(part) <= limit
            filled += [last if short else None] * len(part)
        else:
            filled += part
            last = part[-1]
    return filled


def _deltas(one: TimeSeries, greatest: float | None, least: float | None) -> Values:
    """
    Return how much a counter grew at each step, if it starts again after the greatest
    value from the least.
    """
    deltas: Values = []
    before: float | None = None
    for value in one.values:
        delta, after = None, value
        if value is None or _is_outside(value, greatest, least):
            after = None
        elif before is None:
            pass
        elif value >= before:
            delta = value - before
        elif greatest is not None:
            delta = greatest + 1 + value - before - (least or 0)
        elif least is not None:
            delta = value - least
        deltas.append(delta)
        before = after
    return deltas


def _is_outside(value: float, greatest: float | None, least: float | None) -> bool:
    return (greatest is not None and value > greatest) or (
        least is not None and value < least
    )


def _non_negative_derivative(call: Arguments) -> list[TimeSeries]:
    limits = call.values["maxValue"], call.values["minValue"]
    return [
        one.renamed(f"nonNegativeDerivative({one.name})", _deltas(one, *limits))
        for one in call.series
    ]


def _per_second(call: Arguments) -> list[TimeSeries]:
    limits = call.values["maxValue"], call.values["minValue"]
    result = []
    for one in call.series:
        values = [
            None if delta is None else round(delta / one.step, 6)
            for delta in _deltas(one, *limits)
        ]
        named = one.renamed(f"perSecond({one.name})", values)
        result.append(replace(named, consolidation="average"))
    return result


def _remove_below_value(call: Arguments) -> list[TimeSeries]:
    least = call.values["n"]
    return [
        one.renamed(
            f"removeBelowValue({one.name}, {least:g})",
            _each(one, lambda value: None if value < least else value),
        )
        for one in call.series
    ]


def _window_seconds(call: Arguments) -> int:
    window = call.values["windowSize"]
    if isinstance(window, str):
        return abs(parse_interval(window, "windowSize"))
    return int(window * max((one.step for one in call.original), default=0))


def _earlier_range(call: Arguments) -> Range:
    return call.range.moved(-_window_seconds(call))


def _moving_average(call: Arguments) -> list[TimeSeries]:
    window, seconds = call.values["windowSize"], _window_seconds(call)
    text = f'"{window}"' if isinstance(window, str) else window
    result = []
    for one in call.series:
        points = seconds // one.step if isinstance(window, str) else window
        named = one.renamed(
            f"movingAverage({one.name},{text})", _moving(one.values, points)
        )
        result.append(
            replace(named, start=one.start + seconds, consolidation="average")
        )
    return result


def _moving(values: Values, points: int) -> Values:
    """
    Return the average of each value, after the first ``points``, with those before it.
    """
    present = [value for value in values if value is not None]
    # How many values there are before each index.
    before = [0, *accumulate(value is not None for value in values)]
    averages: Values = []
    for end in range(points + 1, len(values) + 1):
        window = present[before[end - points] : before[end]]
        averages.append(aggregate("average", window))
    return averages


def _constant_line(call: Arguments) -> list[TimeSeries]:
    value, start = float(call.values["value"]), call.range.start
    step = max(1, (call.range.end - start) // 2)
    name = f"constantLine({value})"
    return [TimeSeries(str(value), name, start, step, [value] * 3)]


_ALL = (
    Function(
        "alias",
        "Alias",
        "Renames a series.",
        (_SERIES, Param("newName", "string")),
        _alias,
    ),
    Function(
        "aliasByNode",
        "Alias",
        "Renames a series to some nodes of its path, counted from 0.",
        (_SERIES, Param("nodes", "node", multiple=True)),
        _alias_by_node,
    ),
    Function("sumSeries", "Combine", "Adds series.", (_LISTS,), _combine("sum")),
    Function(
        "averageSeries",
        "Combine",
        "Averages series.",
        (_LISTS,),
        _combine("average"),
    ),
    Function(
        "scale",
        "Transform",
        "Multiplies each value.",
        (_SERIES, Param("factor", "float")),
        _scale,
    ),
    Function(
        "timeShift",
        "Transform",
        "Shows another time, by default an earlier one.",
        (
            _SERIES,
            Param("timeShift", "interval"),
            Param("resetEnd", "boolean", required=False, default=True),
        ),
        _time_shift,
        _shifted_range,
    ),
    Function(
        "summarize",
        "Transform",
        "Makes one point of all in an interval.",
        (
            _SERIES,
            Param("intervalString", "interval"),
            Param("func", "aggFunc", required=False, default="sum"),
            Param("alignToFrom", "boolean", required=False, default=False),
        ),
        _summarize,
    ),
    Function(
        "keepLastValue",
        "Transform",
        "Fills gaps with the value before them.",
        (_SERIES, Param("limit", "integer", required=False)),
        _keep_last_value,
    ),
    Function(
        "nonNegativeDerivative",
        "Transform",
        "Shows how much each value has grown.",
        _RATE,
        _non_negative_derivative,
    ),
    Function(
        "perSecond",
        "Transform",
        "Shows how much each value has grown in a second.",
        _RATE,
        _per_second,
    ),
    Function(
        "removeBelowValue",
        "Filter Data",
        "Leaves out values below a number.",
        (_SERIES, Param("n", "float")),
        _remove_below_value,
    ),
    Function(
        "movingAverage",
        "Calculate",
        "Averages each value with those before it.",
        (_SERIES, Param("windowSize", "intOrInterval")),
        _moving_average,
        _earlier_range,
    ),
    Function(
        "constantLine",
        "Special",
        "Draws a line.",
        (Param("value", "float"),),
        _constant_line,
    ),
)

#: All functions, by name.
FUNCTIONS = {function.name: function for function in _ALL}
