"""
What ``txstathat import`` reads: points, each with its place and a mark.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeAlias

from txstathat.cli.output import lines_text
from txstathat.cli.send.journal import HashingReader, Position
from txstathat.cli.send.point_formats import BadLine, open_text, read_each, read_lines
from txstathat.cli.send.saved_stats import (
    Found,
    is_data_file,
    is_folder,
    read_data,
    read_folder,
)
from txstathat.points.model import Point

__all__ = ["LinesSource", "Noted", "SavedSource", "Source", "open_source"]

#: Where a point is, from 1; the point, or what is wrong there; and a mark after it.
Noted: TypeAlias = tuple[int, Point | BadLine, Position]


class Source(Protocol):
    """
    Points that can be read again and again, always in the same order.
    """

    def read(self) -> Iterator[Noted]:
        """
        Read all of them.

        :raises BadLine: for a line after which nothing can be read.
        :raises OSError: if something cannot be read.
        """

    def where(self, first: int, last: int) -> str:
        """
        Name some of the places that were read.
        """

    def problem(self, bad: BadLine) -> str:
        """
        Say what is wrong, and where.
        """


class LinesSource:
    """
    A file of lines, as ``txstathat post`` takes them.

    :param path: the file.
    :param form: as for :func:`~txstathat.cli.send.point_formats.read_each`.
    """

    def __init__(self, path: Path, form: str | None = None) -> None:
        self._path = path
        self._form = form

    def read(self) -> Iterator[Noted]:
        """
        As :meth:`Source.read`.
        """
        with open_text(str(self._path)) as stream:
            tape = HashingReader(read_lines(stream))
            for number, point in read_each(tape, self._form):
                yield number, point, tape.mark

    def where(self, first: int, last: int) -> str:
        """
        As :meth:`Source.where`.
        """
        return lines_text(first, last)

    def problem(self, bad: BadLine) -> str:
        """
        As :meth:`Source.problem`.
        """
        return f"{self._path}: {bad}"


class SavedSource:
    """
    What StatHat's users saved; its places are the points, by their number.

    :param path: the file or folder.
    :param found: reads it.
    """

    def __init__(self, path: Path, found: Callable[[], Iterator[Found]]) -> None:
        self._path = path
        self._found = found

    def read(self) -> Iterator[Noted]:
        """
        As :meth:`Source.read`.
        """
        digest = hashlib.sha256()
        for number, (where, point) in enumerate(self._found(), 1):
            if isinstance(point, BadLine):
                point = BadLine(number, f"{where}: {point.problem}")
            digest.update(f"{point!r}\n".encode("utf-8", "surrogatepass"))
            yield number, point, Position(number, digest.hexdigest())

    def where(self, first: int, last: int) -> str:
        """
        As :meth:`Source.where`.
        """
        places = [where for where, _ in self._some(first, last)]
        return places[0] if first == last else f"{places[0]} to {places[-1]}"

    def _some(self, first: int, last: int) -> Iterator[Found]:
        for number, found in enumerate(self._found(), 1):
            if number in (first, last):
                yield found
            if number >= last:
                return

    def problem(self, bad: BadLine) -> str:
        """
        As :meth:`Source.problem`.
        """
        return f"{self._path}: {bad.problem}"


def open_source(path: Path, form: str | None, kind: str) -> Source:
    """
    What a file or folder holds.

    :param path: the file or folder.
    :param form: what its lines are, if that was said.
    :param kind: what the stats of a data file are, ``'counter'`` or ``'value'``.
    :raises OSError: if it cannot be read.
    """
    if is_folder(path):
        return SavedSource(path, lambda: read_folder(path))
    if form is None and is_data_file(path):
        return SavedSource(path, lambda: read_data(path, kind))
    return LinesSource(path, form)
