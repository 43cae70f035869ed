"""
How far an import has come: a small file beside the one that is imported.

What is sent is noted before it is sent, so whatever kills an import, the next one knows
which lines were accepted, and which may have been: those it sends again as the same
request, under the same id.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Journal", "JournalUnreadable", "Position", "HashingReader"]


class JournalUnreadable(Exception):
    """
    What is in the file's place is no journal; says so.
    """


@dataclass(frozen=True, slots=True)
class Position:
    """
    A place in a file of lines, and what is before it.

    :ivar line: the number of lines.
    :ivar digest: of these lines.
    """

    line: int = 0
    digest: str = ""


class HashingReader:
    """
    Lines as they are read, with a mark after each.

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
    def mark(self) -> Position:
        """
        Where it is.
        """
        return Position(self._line, self._digest.hexdigest())


@dataclass(slots=True)
class Journal:
    """
    How far an import has come.

    :ivar url: where the points go.
    :ivar sender: tells whose they are, without telling the key.
    :ivar done: up to where they were accepted.
    :ivar sending: up to where the request goes of which it is not known whether it was
        accepted; ``None`` when there is none.
    :ivar since: when that was sent for the first time, in Unix seconds.
    """

    url: str
    sender: str
    done: Position = Position()
    sending: Position | None = None
    since: float = 0.0

    @classmethod
    def read(cls, path: Path) -> Journal | None:
        """
        Read a journal.

        :returns: ``None`` if there is none.
        :raises JournalUnreadable: if the file is something else.
        :raises OSError: if it cannot be read.
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
            raise JournalUnreadable(
                f"{path} was not written by txstathat import: it does not say how far "
                "the import has come"
            ) from None

    def write(self, path: Path) -> None:
        """
        Write it, whole or not at all, and have it on the disk.

        :raises OSError: if that cannot be done.
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
