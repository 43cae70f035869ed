"""
The numbers of a chart, from which its picture, page, JSON and CSV are made.
"""

from __future__ import annotations

import csv
import io
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, TypeAlias

from txstathat.points.spreadsheet import safe_cell

__all__ = ["Choice", "Level", "Mark", "Number", "Table", "exact", "gaps"]

_NO_WORD = re.compile(r"[\W_]+")

Number: TypeAlias = int | float | None


def exact(value: Number) -> str:
    """
    Write a number for people: a float with 10 digits.

    :param value: the number; ``None`` gives an empty text.
    """
    if value is None:
        return ""
    return f"{value:.10g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Mark:
    """
    A note at a moment, such as a deployment: a vertical line, and words in the table.

    :ivar time: the moment, as an aware datetime.
    :ivar text: the words.
    """

    time: datetime
    text: str


@dataclass(frozen=True)
class Level:
    """
    A horizontal line, such as the threshold of an alert.

    :ivar value: its height, in the unit of the first column of numbers.
    :ivar text: what it means.
    """

    value: int | float
    text: str


@dataclass(frozen=True)
class Choice:
    """
    A control that changes one parameter of the query.

    :ivar name: the parameter.
    :ivar label: its name for the viewer.
    :ivar value: the current value.
    :ivar options: the values and their texts; empty for a field to type a number in.
    """

    name: str
    label: str
    value: str
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Table:
    """
    Rows of numbers, each with a label, and how to draw them.

    :ivar kind: ``pie``, ``bars`` (of the first numbers; others are lines), ``lines``,
        ``pair`` (two lines, each with an axis of its own), ``axes`` (the same for more
        lines) or ``panels``.
    :ivar title: the heading.
    :ivar columns: the heading of the labels, then that of each number.
    :ivar rows: labels with their numbers. A label is a text, or the beginning of a time
        bucket as a datetime in the Metrica's zone.
    :ivar total: the sum of all that is shown; ``None`` where a sum has no meaning.
    :ivar scale: the scale of the time buckets; ``None`` if the labels are texts.
    :ivar zone: the time zone of days, months and years.
    :ivar links: for each row the query that zooms in on it; empty if there is none.
    :ivar trail: texts and queries of the coarser timespans.
    :ivar choices: the controls.
    :ivar hidden: the other parameters of the query, which the controls preserve.
    :ivar expired: the scale of the detail that has expired, so that it is not shown;
        empty if none has.
    :ivar stored_from: from when on all detail is stored; ``None`` if that is never.
    :ivar unit: the unit of the numbers; empty for none.
    :ivar unfinished: whether the last time bucket has not ended. It is drawn dotted.
    :ivar earlier: whether the last numbers are those of an earlier time, for
        comparison. They are drawn as a faint dashed line, across gaps.
    :ivar marks: notes at moments, in the order of time, in the zone of the labels.
        They need time buckets.
    :ivar levels: horizontal lines.
    :ivar figure: writes a number for people.
    :ivar subject: what the numbers are of, for names of files; empty if the title says
        it.
    """

    kind: str
    title: str
    columns: list[str]
    rows: list[tuple[str | datetime, list[Number]]]
    total: Number = None
    scale: str | None = None
    zone: str = "UTC"
    links: list[str] = field(default_factory=list)
    trail: list[tuple[str, str]] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    hidden: list[tuple[str, str]] = field(default_factory=list)
    expired: str = ""
    stored_from: datetime | None = None
    unit: str = ""
    unfinished: bool = False
    earlier: bool = False
    marks: Sequence[Mark] = ()
    levels: Sequence[Level] = ()
    figure: Callable[[Number], str] = exact
    subject: str = ""

    @property
    def file_name(self) -> str:
        """
        The name of a file with the chart, without its ending: letters, digits and
        hyphens.
        """
        words = _NO_WORD.sub("-", f"{self.subject} {self.title}").strip("-")
        return words[:100] or "chart"

    def label(self, row: int) -> str:
        """
        A row's label as text: hours and minutes with their offset from UTC; days,
        months and years as dates of the Metrica's zone.

        :param row: the index of the row.
        """
        label = self.rows[row][0]
        return label if isinstance(label, str) else _time_text(label, self.scale)

    @property
    def stored_from_text(self) -> str | None:
        """
        ``stored_from`` as text; see :meth:`label`.
        """
        stored = self.stored_from
        return None if stored is None else _time_text(stored, self.expired)

    @cached_property
    def marks_by_row(self) -> dict[int, list[Mark]]:
        """
        The marks in each time bucket, by the index of its row. Those before the first
        one are left out.
        """
        found: dict[int, list[Mark]] = {}
        begins = [begin for begin, _ in self.rows if isinstance(begin, datetime)]
        for mark in self.marks:
            row = bisect_right(begins, mark.time) - 1
            if row >= 0:
                found.setdefault(row, []).append(mark)
        return found

    def as_json(self) -> bytes:
        """
        Write the table as a JSON object.
        """
        fields: dict[str, Any] = {
            "kind": self.kind,
            "title": self.title,
            "scale": self.scale,
            "zone": self.zone,
            "total": self.total,
            "columns": self.columns,
            "rows": [[self.label(n), *row[1]] for n, row in enumerate(self.rows)],
        }
        if self.links:
            fields["links"] = self.links
        if self.expired:
            fields["expired"] = self.expired
            fields["stored_from"] = self.stored_from_text
        if self.unit:
            fields["unit"] = self.unit
        marks = [mark for row in self.marks_by_row.values() for mark in row]
        if marks:
            fields["notes"] = [[mark.time.isoformat(), mark.text] for mark in marks]
        if self.levels:
            fields["levels"] = [[level.value, level.text] for level in self.levels]
        return json.dumps(fields, allow_nan=False).encode("ascii")

    def as_csv(self) -> bytes:
        """
        Write the table as CSV with a line of headings, in UTF-8.
        """
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow([safe_cell(column) for column in self.columns])
        for n, (_, numbers) in enumerate(self.rows):
            writer.writerow([safe_cell(self.label(n)), *numbers])
        return text.getvalue().encode("utf-8", "backslashreplace")


def _time_text(begin: datetime, scale: str | None) -> str:
    if scale in ("hour", "minute"):
        return begin.isoformat(timespec="minutes")
    return begin.date().isoformat()[: {"year": 4, "month": 7}.get(str(scale))]


def gaps(scale: str, series: Sequence[tuple[datetime, Any]]) -> dict[str, Any]:
    """
    The fields of a table that say which detail has expired.

    :param scale: the scale of the time buckets.
    :param series: the beginnings of time buckets, each with a number; ``None`` for
        expired detail.
    """
    lost = [n for n, (_, number) in enumerate(series) if number is None]
    if not lost:
        return {}
    stored = series[lost[-1] + 1 :]
    return {"expired": scale, "stored_from": stored[0][0] if stored else None}
