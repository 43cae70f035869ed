"""
The tables and lists of the "Coming from" pages, for tests that try each line.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

DOCS = Path(__file__).parent.parent / "docs"

_CELL = re.compile(r"^   (\*| ) - (.*)$")


def read_tables(page: str) -> dict[str, list[tuple[str, str]]]:
    """
    The two-column tables of a page, by the heading above them, without their heads.
    """
    tables: dict[str, list[tuple[str, str]]] = {}
    heading = ""
    cells: list[str] | None = None
    lines = (DOCS / page).read_text("utf-8").splitlines()
    for n, line in enumerate(lines):
        if n and set(line) in ({"="}, {"-"}) and len(line) > 3:
            heading = lines[n - 1]
        elif line.startswith(".. list-table::"):
            cells = []
        elif cells is not None and (found := _CELL.match(line)):
            cells.append(found[2])
        elif cells and line.startswith("       "):
            cells[-1] += " " + line.strip()
        elif cells and line and not line.startswith(" "):
            tables[heading] = _pairs(cells)
            cells = None
    if cells:
        tables[heading] = _pairs(cells)
    return tables


def read_bullets(page: str) -> list[str]:
    """
    The items of the lists of a page.
    """
    items: list[str] = []
    inside = False
    for line in (DOCS / page).read_text("utf-8").splitlines():
        if line.startswith("- "):
            items.append(line[2:])
            inside = True
        elif inside and line.startswith("  "):
            items[-1] += " " + line.strip()
        else:
            inside = False
    return items


def literals(text: str) -> list[str]:
    """
    The code in a text of a page.
    """
    return re.findall(r"``(.+?)``", text)


def _pairs(cells: list[str]) -> list[tuple[str, str]]:
    return list(zip(cells[2::2], cells[3::2], strict=True))


class EveryLine:
    """
    A mix-in: each line of a table has a test, named in :attr:`lines`.

    :cvar page: the file.
    :cvar heading: the heading above the table.
    :cvar lines: the names of tests, by the left cells.
    """

    page: ClassVar[str]
    heading: ClassVar[str]
    lines: ClassVar[dict[str, str]]

    def test_every_line(self: Any) -> None:
        """Each line of the table has a test, and each test has its line."""
        table = dict(read_tables(self.page)[self.heading])
        self.assertEqual(sorted(table), sorted(self.lines))
        for name in self.lines.values():
            self.assertTrue(callable(getattr(self, name)), name)

    def right(self: Any) -> str:
        """
        What the page says beside the line of the test that runs.
        """
        method = self.id().rpartition(".")[2]
        (left,) = [left for left, name in self.lines.items() if name == method]
        cell: str = dict(read_tables(self.page)[self.heading])[left]
        return cell

    def code(self: Any, number: int = 0) -> str:
        """
        A piece of code that the page has beside the line of the test that runs.
        """
        return literals(self.right())[number]
