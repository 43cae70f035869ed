"""
What ``txstathat import`` reads: points, each with its number and position.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeAlias

from txstathat.cli.output import lines_text
from txstathat.cli.send.import_progress import HashingReader, Position
from txstathat.cli.send.point_formats import BadLine, open_text, read_each, read_lines
from txstathat.cli.send.saved_stats import (
    Found,
    is_data_file,
    is_folder,
    read_data,
    read_folder,
)
from txstathat.points.model import Point

__all__ = ["LinesSource", "PlacedPoint", "SavedSource", "Source", "open_source"]

#: The number of a line or point, from 1; the point, or its problem; the position after.
PlacedPoint: TypeAlias = tuple[int, Point | BadLine, Position]


class Source(Protocol):
    """
    Points that can be read several times, always in the same order.
    """

    def read(self) -> Iterator[PlacedPoint]:
        """
        Read all points.

        :raises BadLine: for a line after which nothing more can be read.
        :raises OSError: if a file cannot be read.
        """

    def where(self, first: int, last: int) -> str:
        """
        Name the places of some points for a message.

        :param first: the number of the first one.
        :param last: the number of the last one.
        """

    def problem(self, bad: BadLine) -> str:
        """
        Describe a problem and its place for a message.
        """


class LinesSource:
    """
    A file with the lines of ``txstathat post``.

    :param path: the file.
    :param form: as for :func:`~txstathat.cli.send.point_formats.read_each`.
    """

    def __init__(self, path: Path, form: str | None = None) -> None:
        self._path = path
        self._form = form

    def read(self) -> Iterator[PlacedPoint]:
        """
        See :meth:`Source.read`.
        """
        with open_text(str(self._path)) as stream:
            reader = HashingReader(read_lines(stream))
            for number, point in read_each(reader, self._form):
                yield number, point, reader.position

    def where(self, first: int, last: int) -> str:
        """
        See :meth:`Source.where`.
        """
        return lines_text(first, last)

    def problem(self, bad: BadLine) -> str:
        """
        See :meth:`Source.problem`.
        """
        return f"{self._path}: {bad}"


class SavedSource:
    """
    Data saved from StatHat. Its points are numbered from 1.

    :param path: the file or folder.
    :param read_points: reads it.
    """

    def __init__(self, path: Path, read_points: Callable[[], Iterator[Found]]) -> None:
        self._path = path
        self._read_points = read_points

    def read(self) -> Iterator[PlacedPoint]:
        """
        See :meth:`Source.read`.
        """
        digest = hashlib.sha256()
        for number, (where, point) in enumerate(self._read_points(), 1):
            if isinstance(point, BadLine):
                point = BadLine(number, f"{where}: {point.problem}")
            digest.update(f"{point!r}\n".encode("utf-8", "surrogatepass"))
            yield number, point, Position(number, digest.hexdigest())

    def where(self, first: int, last: int) -> str:
        """
        See :meth:`Source.where`.
        """
        places = [where for where, _ in self._some(first, last)]
        return places[0] if first == last else f"{places[0]} to {places[-1]}"

    def _some(self, first: int, last: int) -> Iterator[Found]:
        for number, found in enumerate(self._read_points(), 1):
            if number in (first, last):
                yield found
            if number >= last:
                return

    def problem(self, bad: BadLine) -> str:
        """
        See :meth:`Source.problem`.
        """
        return f"{self._path}: {bad.problem}"


def open_source(path: Path, form: str | None, kind: str) -> Source:
    """
    The source for a file or folder.

    :param path: the file or folder.
    :param form: the format of its lines, ``'csv'``, ``'jsonl'``, or ``None``.
    :param kind: the kind of the stats in a data file, ``'counter'`` or ``'value'``.
    :raises OSError: if it cannot be read.
    """
    if is_folder(path):
        return SavedSource(path, lambda: read_folder(path))
    if form is None and is_data_file(path):
        return SavedSource(path, lambda: read_data(path, kind))
    return LinesSource(path, form)
