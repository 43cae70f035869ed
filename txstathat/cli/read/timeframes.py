"""
The option ``--timeframe``, and the steps of a dataset.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from txstathat.errors import InvalidTimeframe
from txstathat.points.timeframe import MAX_BUCKETS, Span, Timeframe, pick_interval

__all__ = ["fill_gaps", "timeframe_option"]


def timeframe_option(default: str) -> Callable[..., Any]:
    """
    The option that sets how far to look back, and in which steps.

    :param default: the default timeframe.
    """
    return click.option(
        "--timeframe",
        "-t",
        default=default,
        show_default=True,
        metavar="TIMEFRAME",
        callback=_check_timeframe,
        help="Duration and step: 1w3h is one week in steps of three hours. With only a "
        "duration, such as 5d, a step is picked. Units: m h d w M y.",
    )


def _check_timeframe(context: Any, option: Any, text: str) -> str:
    try:
        return str(Timeframe.parse(text, _pick_step))
    except InvalidTimeframe as error:
        raise click.BadParameter(error.problem) from None


def _pick_step(duration: Span) -> Span:
    """
    Pick a step for which a server has the detail, unless it stores less than usual.
    """
    from txstathat.collector.archive.series import scale_of
    from txstathat.collector.archive.stats import RETENTION

    def fits(step: Span) -> bool:
        stored = RETENTION[scale_of(step)]
        return stored is None or duration.longest + step.longest <= stored

    return pick_interval(duration, fits)


def fill_gaps(
    values: Mapping[int, float | None], timeframe: str, until: int = 0
) -> list[float | None]:
    """
    The values of a dataset in order, with ``None`` for intervals without data.

    :param values: the values, by the beginnings of their intervals in Unix seconds.
    :param timeframe: the dataset's timeframe.
    :param until: a time that the result must reach, in Unix seconds.
    """
    try:
        interval = Timeframe.parse(timeframe).interval
    except InvalidTimeframe:
        return list(values.values())
    by_bucket = {interval.bucket(time): value for time, value in values.items()}
    if not by_bucket:
        return []
    first, last = min(by_bucket), max(*by_bucket, interval.bucket(until))
    if last - first > MAX_BUCKETS:
        return list(values.values())
    return [by_bucket.get(bucket) for bucket in range(first, last + 1)]
