"""
Disk jobs: each runs in the delivery's thread and returns what it achieved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from txstathat.delivery.batch import SealedBatch
from txstathat.delivery.spool.folder import SpoolFolder
from txstathat.delivery.spool.results import Adopted, Dropped

__all__ = ["Job", "JobResult", "adopt", "close", "load", "run_job", "write"]


@dataclass(slots=True)
class JobResult:
    """
    What a job achieved.

    :ivar error: why it failed, if it did.
    :ivar found: what it found in files of processes that have ended; ``None`` if it
        did not look.
    :ivar loaded: batches that it read.
    :ivar saved: whether all new batches are on disk, or were dropped.
    :ivar removed: whether the finished batches are no longer on disk.
    :ivar dropped: batches that it dropped.
    :ivar abandoned: the numbers of damaged files that it set aside.
    """

    error: Exception | None = None
    found: Adopted | None = None
    loaded: list[SealedBatch] = field(default_factory=list)
    saved: bool = False
    removed: bool = False
    dropped: list[Dropped] = field(default_factory=list)
    abandoned: list[int] = field(default_factory=list)


#: Uses a folder, and notes what it achieves.
Job = Callable[[SpoolFolder, JobResult], object]


def run_job(folder: SpoolFolder, job: Job) -> JobResult:
    """
    Run a job. The result holds the exception that it raised.
    """
    result = JobResult()
    try:
        job(folder, result)
    except Exception as error:
        result.error = error
    result.dropped = folder.take_dropped()
    result.abandoned = folder.take_abandoned()
    return result


def adopt(folder: SpoolFolder, result: JobResult) -> None:
    """
    Adopt the files of processes that have ended.
    """
    result.found = Adopted()
    folder.adopt(result.found)


def load(limit: int) -> Job:
    """
    Make a job that reads the next batches.

    :param limit: the most batches.
    """

    def job(folder: SpoolFolder, result: JobResult) -> None:
        result.loaded = folder.load(limit)

    return job


def write(
    finished: Sequence[SealedBatch], new: Sequence[SealedBatch], now: float
) -> Job:
    """
    Make a job that removes batches and adds others; see :meth:`SpoolFolder.write`.
    """

    def job(folder: SpoolFolder, result: JobResult) -> None:
        try:
            folder.write(finished, new, now)
        except Exception:
            # A full disk has no room for new batches, but old ones can be removed.
            if finished and new:
                folder.write(finished, (), now)
                result.removed = True
            raise
        result.saved = result.removed = True

    return job


def close(unsent: Sequence[SealedBatch]) -> Job:
    """
    Make a job that closes every file.

    :param unsent: batches that were read and not sent.
    """

    def job(folder: SpoolFolder, result: JobResult) -> None:
        folder.close(unsent)

    return job
