"""
When the journal of a store is to be folded.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = [
    "CLOSE_SECONDS",
    "FOLD_AT",
    "FOLD_SECONDS",
    "MAX_JOURNAL",
    "OPEN_SECONDS",
    "READ_SECONDS",
    "REFUSE_AT",
    "WAIT_AT",
    "FoldDue",
]

#: With how many additions the journal is folded at once, by default; and how many a
#: fold has if there are more than twice as many. Four single events count as one.
FOLD_AT = 50_000
#: How many additions wait to be folded before a commit at most, by default. With more,
#: a commit first folds some, but not more than twice as many as it adds.
MAX_JOURNAL = 200_000
#: With how many times as many a commit also waits while a thread prepares a fold.
WAIT_AT = 2
#: With how many times as many additions in the journal a commit is refused. That is so
#: if one process adds and another one folds, or after a huge batch.
REFUSE_AT = 4
#: After how many seconds the journal is folded, however few additions it has.
FOLD_SECONDS = 2.0
#: After how many seconds it is folded if it is read meanwhile: reading it takes longer
#: than reading cells.
READ_SECONDS = 0.2
#: For how many seconds opening a store folds at most. The rest is folded later.
OPEN_SECONDS = 2.0
#: For how many seconds closing folds at most. The rest is folded at the next opening.
CLOSE_SECONDS = 2.0


class FoldDue:
    """
    Notes what happens to the journal, in any thread.

    :param fold_at: with how many additions it is folded at once.
    :param max_journal: how many additions wait to be folded before a commit at most.
    :param monotonic: a monotonic clock, in seconds.
    """

    def __init__(
        self, fold_at: int, max_journal: int, monotonic: Callable[[], float]
    ) -> None:
        self._fold_at = fold_at
        self._max_journal = max_journal
        self._monotonic = monotonic
        # When the last fold ended, or, if that is later, the next row was written.
        self._since = monotonic()
        # How many additions the journal has, and how many of them are in the cells.
        self._additions = 0
        self._folded = 0.0
        self._was_read = False

    @property
    def unfolded(self) -> float:
        """About how many additions wait to be folded."""
        return self._additions - self._folded

    @property
    def is_far_behind(self) -> bool:
        """Whether a commit waits for whatever folds."""
        return self.unfolded > WAIT_AT * self._max_journal

    def goal(self, additions: int) -> float:
        """
        Return how many additions may wait before a commit. To get there, it folds at
        most twice as many as it adds.

        :param additions: how many additions it has.
        """
        return max(self._max_journal, self.unfolded - 2 * additions)

    def note_added(self, additions: int) -> None:
        """
        Note a commit.

        :param additions: how many additions the journal has now.
        """
        if not self._additions:
            self._since = self._monotonic()
        self._additions = additions

    def note_slice(self, additions: int, folded: float) -> None:
        """
        Note a slice of a fold, which is not at its end.

        :param additions: how many additions the journal has now.
        :param folded: how many of them the fold has added to the cells so far.
        """
        self._additions, self._folded = additions, folded

    def note_folded(self, additions: int) -> None:
        """
        Note the end of a fold.

        :param additions: how many additions the journal has now.
        """
        self._since = self._monotonic()
        self._was_read = False
        self._additions = additions
        self._folded = 0.0

    def note_read(self) -> None:
        """
        Note that the journal was read, and was not empty.
        """
        self._additions = max(1, self._additions)
        self._was_read = True

    def seconds(self) -> float | None:
        """
        Return in how many seconds to fold; ``None`` if there is nothing to fold.
        """
        if not self._additions:
            return None
        if self._additions >= self._fold_at:
            return 0.0
        wait = READ_SECONDS if self._was_read else FOLD_SECONDS
        return max(0.0, self._since + wait - self._monotonic())
