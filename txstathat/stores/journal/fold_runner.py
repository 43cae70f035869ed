"""
Folds the journal of a store slice by slice, in whatever thread calls.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from txstathat.stores.journal.due import FoldDue

__all__ = ["SLICE_SECONDS", "FoldRunner", "Folding", "IFold"]

#: For how many seconds a slice of a fold takes about: commits wait for it.
SLICE_SECONDS = 0.015


class IFold(Protocol):
    """
    A fold that has begun.
    """

    @property
    def is_last(self) -> bool:
        """Whether no rows were left out."""

    @property
    def folded(self) -> float:
        """About how many additions it has added, as the journal counts them."""

    def prepare(self) -> None:
        """Prepare the next slice. This may take long: it needs no lock."""


Fold = TypeVar("Fold", bound=IFold)


class Folding(Protocol[Fold]):
    """
    The folds of a kind of store.
    """

    def begin(self, takes_over: bool) -> tuple[Fold | None, int]:
        """
        Begin a fold, or go on with one that has begun.

        :param takes_over: whether to do so even if another process is about it.
        :returns: the fold, ``None`` if there is nothing to do; and about how many
            additions the journal has.
        """

    def step(self, fold: Fold) -> tuple[bool | None, int]:
        """
        Fold a slice.

        :returns: whether more is left of the fold, ``None`` if another process has gone
            on with it; and about how many additions the journal has now.
        """


class FoldRunner(Generic[Fold]):
    """
    Runs folds of a journal. One thread may fold while another one adds: they take turns
    with slices.

    :param folding: begins folds, and adds their slices.
    :param due: notes what happens to the journal.
    :param monotonic: a monotonic clock, in seconds.
    """

    def __init__(
        self, folding: Folding[Fold], due: FoldDue, monotonic: Callable[[], float]
    ) -> None:
        self._folding = folding
        self._due = due
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._fold: Fold | None = None
        # Whether a thread does the part of a fold that takes long, and no lock.
        self._preparing = False

    def run_slice(self) -> bool:
        """
        Fold a slice, unless another process is about it.

        :returns: whether more is left of what was in the journal.
        :raises StoreUnavailable: if the database cannot be written.
        """
        with self._lock:
            return self._fold_slice(takes_over=False)

    def run_most(self, seconds: float | None = None) -> None:
        """
        Fold what is in the journal now.

        :param seconds: for how many seconds at most.
        """
        end = None if seconds is None else self._monotonic() + seconds
        with self._lock:
            while self._fold_slice():
                if end is not None and self._monotonic() > end:
                    break

    def make_room(self, additions: int) -> None:
        """
        Fold what is beyond the limit of the journal, but not much more than is to be
        added. So writers slow down to the speed of folding, and no one waits for long.

        :param additions: how many additions are to be added.
        """
        goal = self._due.goal(additions)
        if self._due.unfolded <= goal:
            return
        # Do not wait for a thread that prepares a fold, unless the journal grows much
        # meanwhile: with many axes that takes seconds.
        if self._preparing and not self._due.is_far_behind:
            return
        with self._lock:
            while self._due.unfolded > goal:
                self._fold_slice()
                if self._fold is None:
                    break  # preparing the next fold takes long

    def _fold_slice(self, takes_over: bool = True) -> bool:
        fold, self._fold = self._fold, None
        self._preparing = True
        try:
            if fold is None:
                fold, left = self._folding.begin(takes_over)
                if fold is None:
                    self._due.note_folded(min(left, 1))
                    return False
            fold.prepare()
        finally:
            self._preparing = False
        return self._step(fold)

    def _step(self, fold: Fold) -> bool:
        more, left = self._folding.step(fold)
        if more:
            self._fold = fold
            self._due.note_slice(left, fold.folded)
            return True
        # If another process goes on with this fold, look again later.
        self._due.note_folded(min(left, 1) if more is None else left)
        return more is not None and not fold.is_last
