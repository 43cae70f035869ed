"""
The progress of an import: a small file beside the imported one.

It is written before each request. So after any interruption the next import knows which
lines were accepted, and which may have been: it sends those again as the same request,
with the same id.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["HashingReader", "ImportProgress", "Position", "ProgressUnreadable"]


class ProgressUnreadable(Exception):
    """
    The file is not a progress file. The text says so.
    """


@dataclass(frozen=True, slots=True)
class Position:
    """
    A position in a file of lines.

    :ivar line: the number of lines before it.
    :ivar digest: the SHA-256 of these lines, in hexadecimal.
    """

    line: int = 0
    digest: str = ""


class HashingReader:
    """
    Iterates over lines, and knows the position after the last one read.

    :param lines: the lines.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = lines
        self._digest = hashlib.sha256()
        self._line = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self._digest.update(line.encode("utf-8"))
            self._line += 1
            yield line

    @property
    def position(self) -> Position:
        """
        The position after the last line read.
        """
        return Position(self._line, self._digest.hexdigest())


@dataclass(slots=True)
class ImportProgress:
    """
    The progress of an import.

    :ivar url: the server's URL.
    :ivar sender: a short hash of the URL and the key, which shows a change of the key.
    :ivar done: the end of the accepted points.
    :ivar sending: the end of the request in doubt, which may have been accepted;
        ``None`` when no request is in doubt.
    :ivar since: when that request was sent first, in Unix seconds.
    """

    url: str
    sender: str
    done: Position = Position()
    sending: Position | None = None
    since: float = 0.0

    @classmethod
    def read(cls, path: Path) -> ImportProgress | None:
        """
        Read a progress file.

        :param path: the file.
        :returns: the progress, or ``None`` if the file does not exist.
        :raises ProgressUnreadable: if the file is something else.
        :raises OSError: if the file cannot be read.
        """
        try:
            found = json.loads(path.read_bytes())
            sending = found["sending"]
            return cls(
                str(found["url"]),
                str(found["sender"]),
                Position(**found["done"]),
                None if sending is None else Position(**sending),
                float(found["since"]),
            )
        except FileNotFoundError:
            return None
        except (KeyError, TypeError, ValueError):
            raise ProgressUnreadable(
                f"{path} is not a progress file of txstathat import"
            ) from None

    def write(self, path: Path) -> None:
        """
        Write the file atomically, and sync it to the disk.

        :param path: the file.
        :raises OSError: if it cannot be written.
        """
        unfinished = path.with_name(f"{path.name}.unfinished")
        with unfinished.open("w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
