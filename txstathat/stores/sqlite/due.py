"""
When the journal of a SQLite store is to be folded.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["FOLD_AT", "FOLD_SECONDS", "READ_SECONDS", "FoldDue"]

#: With how many additions the journal is folded at once, by default.
FOLD_AT = 50_000
#: After how many seconds the journal is folded, however few additions it has.
FOLD_SECONDS = 2.0
#: After how many seconds it is folded if it is read meanwhile: reading it takes longer
#: than reading cells.
READ_SECONDS = 0.2


class FoldDue:
    """
    Notes what happens to the journal, in any thread.

    :param fold_at: with how many additions it is folded at once.
    :param monotonic: a monotonic clock, in seconds.
    """

    def __init__(self, fold_at: int, monotonic: Callable[[], float]) -> None:
        self._fold_at = fold_at
        self._monotonic = monotonic
        # When the last fold ended, or, if that is later, the next row was written.
        self._since = monotonic()
        # How many additions the journal has.
        self._additions = 0
        self._was_read = False

    def note_added(self, additions: int) -> None:
        """
        Note a commit.

        :param additions: how many additions the journal has now.
        """
        if not self._additions:
            self._since = self._monotonic()
        self._additions = additions

    def note_folded(self, additions: int) -> None:
        """
        Note the end of a fold.

        :param additions: how many additions the journal has now.
        """
        self._since = self._monotonic()
        self._was_read = False
        self._additions = additions

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
