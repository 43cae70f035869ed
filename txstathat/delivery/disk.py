"""
Jobs for the disk: each is tried in the delivery's thread, and tells how far it came.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from txstathat.delivery.batch import Batch
from txstathat.delivery.folder import Folder, Found, Lost

__all__ = ["Done", "Job", "adopt", "attempt", "close", "load", "write"]


@dataclass(slots=True)
class Done:
    """
    What a job did.

    :ivar error: what went wrong, if anything did.
    :ivar found: what processes that have ended had left.
    :ivar loaded: batches that were read.
    :ivar saved: whether all new batches are on disk, or were given up.
    :ivar removed: whether the finished ones are gone from there.
    :ivar lost: what was given up.
    """

    error: Exception | None = None
    found: Found = field(default_factory=Found)
    loaded: list[Batch] = field(default_factory=list)
    saved: bool = False
    removed: bool = False
    lost: list[Lost] = field(default_factory=list)


#: Uses a folder, and notes what it did.
Job = Callable[[Folder, Done], object]


def attempt(folder: Folder, job: Job) -> Done:
    """
    Do a job; whatever goes wrong is in what is returned.
    """
    done = Done()
    try:
        job(folder, done)
    except Exception as error:
        done.error = error
    done.lost = folder.take_lost()
    return done


def adopt(folder: Folder, done: Done) -> None:
    """
    Take over what processes that have ended left.
    """
    folder.adopt(done.found)


def load(limit: int) -> Job:
    """
    Read the next batches.
    """

    def job(folder: Folder, done: Done) -> None:
        done.loaded = folder.load(limit)

    return job


def write(finished: Sequence[Batch], new: Sequence[Batch], now: float) -> Job:
    """
    Remove batches and add others.
    """

    def job(folder: Folder, done: Done) -> None:
        try:
            folder.write(finished, new, now)
        except Exception:
            # A full disk has no room for new batches, but old ones can be removed.
            if finished and new:
                folder.write(finished, (), now)
                done.removed = True
            raise
        done.saved = done.removed = True

    return job


def close(unsent: Sequence[Batch]) -> Job:
    """
    Close every file.
    """

    def job(folder: Folder, done: Done) -> None:
        folder.close(unsent)

    return job
