"""
Texts for people and programs, without tables: numbers, names, times, questions.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from datetime import UTC, datetime

import click

from txstathat.printable import printable

__all__ = [
    "SPARK_WIDTH",
    "age_text",
    "confirm",
    "json_text",
    "lines_text",
    "name_text",
    "number_text",
    "points_text",
    "quoted",
    "size_text",
    "sparkline",
    "time_text",
]

#: The most characters of a sparkline.
SPARK_WIDTH = 60

_BARS = "▁▂▃▄▅▆▇█"


def json_text(thing: object) -> str:
    """
    Return JSON for a terminal or a program: readable, with escapes for the characters
    that are not printable.
    """
    text = json.dumps(thing, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def number_text(number: float | None) -> str:
    """
    A number for people: an int with all digits, a float with six; empty for ``None``.
    """
    if number is None:
        return ""
    return f"{number:,}" if isinstance(number, int) else f"{number:,.6g}"


def name_text(name: str) -> str:
    """
    The name of a stat for people: in quotes if it begins or ends with white space.
    """
    return printable(name if name == name.strip() else repr(name))


def quoted(name: str) -> str:
    """
    The name of a stat in a sentence: in quotes if it contains white space.
    """
    return printable(repr(name) if any(map(str.isspace, name)) else name)


def age_text(seconds: float) -> str:
    """
    A length of time since something for people, such as ``'5 min ago'``.

    :param seconds: the time in seconds.
    """
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= length:
            return f"{int(seconds // length):,} {unit} ago"
    return "now"


def time_text(t: float) -> str:
    """
    Write a time in UTC, to the minute.

    :param t: Unix seconds.
    """
    return f"{datetime.fromtimestamp(t, UTC):%Y-%m-%d %H:%M} UTC"


def points_text(number: int) -> str:
    """
    The subject and verb of a sentence, such as ``'1 point was'``.

    :param number: the number of points.
    """
    return "1 point was" if number == 1 else f"{number:,} points were"


def size_text(size: int) -> str:
    """
    A number of bytes for people, such as ``'1.7 MB'``.
    """
    if size < 1_000:
        return f"{size} bytes"
    number, units = float(size), iter(("kB", "MB", "GB", "TB"))
    unit = ""
    while number >= 999.95 and (following := next(units, "")):
        number, unit = number / 1_000, following
    return f"{number:,.1f} {unit}"


def confirm(question: str, done: str = "deleted") -> None:
    """
    Ask a yes-or-no question, and exit unless the answer is yes. If the reactor runs, it
    waits for the answer.

    :param question: the question.
    :param done: what happens after a yes, for the message after another answer.
    """
    # The handler of a running reactor would not end the question.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        # Click before 8.2 writes a space to standard output.
        with redirect_stdout(sys.stderr):
            if click.confirm(question, err=True):
                return
    except click.Abort:
        click.echo(err=True)
    finally:
        signal.signal(signal.SIGINT, handler)
    click.echo(f"Nothing was {done}. To go on without a question, add --yes.", err=True)
    sys.exit(1)


def lines_text(first: int, last: int) -> str:
    """
    A range of lines, such as ``'lines 2 to 5'`` or ``'line 2'``.
    """
    return f"line {first}" if first == last else f"lines {first} to {last}"


def sparkline(values: Sequence[float | None]) -> str:
    """
    A line of bars, scaled from the smallest value to the largest.

    :param values: the values; ``None`` leaves a gap. If there are more than
        :data:`SPARK_WIDTH`, a bar shows the mean of several neighbours.
    """
    bars = min(len(values), SPARK_WIDTH)
    means: list[float | None] = []
    for bar in range(bars):
        part = values[bar * len(values) // bars : (bar + 1) * len(values) // bars]
        known = [value for value in part if value is not None]
        means.append(
            sum(value / len(known) for value in known) if known else None,
        )
    present = [mean for mean in means if mean is not None]
    low, high = min(present, default=0), max(present, default=0)
    # Halves, because the difference of two large numbers may overflow.
    span = high / 2 - low / 2
    return "".join(
        " "
        if mean is None
        else _BARS[round((mean / 2 - low / 2) / span * 7) if span else 0]
        for mean in means
    )
