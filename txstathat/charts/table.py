"""
What a chart shows: the numbers, before they are a picture, a page, JSON or CSV.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from txstathat.points.spreadsheet import safe_cell

__all__ = ["Choice", "Number", "Table"]

Number: TypeAlias = int | float | None


@dataclass(frozen=True)
class Choice:
    """
    A control with which the viewer changes the query.

    :ivar name: the parameter.
    :ivar label: what the viewer reads.
    :ivar value: what it is now.
    :ivar options: values and their texts; none for a number to be typed.
    """

    name: str
    label: str
    value: str
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Table:
    """
    Rows of numbers, each with a label, and how to draw them.

    :ivar kind: ``pie``, ``bars``, ``lines`` or ``panels``.
    :ivar title: what it is about.
    :ivar columns: what the label is, and then what each number is.
    :ivar rows: labels with their numbers. A label is a text, or the beginning of a
        stretch of time as a datetime in the Metrica's zone.
    :ivar total: the sum over all that is shown, where that has a meaning.
    :ivar scale: the scale of stretches of time.
    :ivar zone: the zone of days and longer stretches.
    :ivar links: for each row the query that zooms in on it, if there is one.
    :ivar trail: the coarser timespans: texts and queries.
    :ivar choices: the viewer's controls.
    :ivar hidden: the rest of the query, to be kept by the controls.
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

    def label(self, row: int) -> str:
        """
        A row's label as text: hours and minutes with their offset from UTC, days and
        longer as the calendar of the Metrica's zone has them.
        """
        label = self.rows[row][0]
        if isinstance(label, str):
            return label
        if self.scale in ("hour", "minute"):
            return label.isoformat(timespec="minutes")
        return label.date().isoformat()[: {"year": 4, "month": 7}.get(str(self.scale))]

    def as_json(self) -> bytes:
        """
        As a JSON object.
        """
        thing: dict[str, Any] = {
            "kind": self.kind,
            "title": self.title,
            "scale": self.scale,
            "zone": self.zone,
            "total": self.total,
            "columns": self.columns,
            "rows": [[self.label(n), *row[1]] for n, row in enumerate(self.rows)],
        }
        if self.links:
            thing["links"] = self.links
        return json.dumps(thing, allow_nan=False).encode("ascii")

    def as_csv(self) -> bytes:
        """
        As CSV with a line of headings, in UTF-8.
        """
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow([safe_cell(column) for column in self.columns])
        for n, (_, numbers) in enumerate(self.rows):
            writer.writerow([safe_cell(self.label(n)), *numbers])
        return text.getvalue().encode("utf-8", "backslashreplace")
