"""
Find the bad points of a batch that the server refused.

If the server names a point, that point is taken out. Otherwise single points, spread
over the batch, are sent one after the other. If the server refuses all of them for the
same reason, it would refuse the rest too. Once it accepts one, the batch is halved
until the bad points are alone: one bad point of a thousand costs about 22 requests.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from txstathat.client.outcome import Outcome
from txstathat.delivery.batch import SealedBatch
from txstathat.delivery.sending.retry_policy import MAX_NAMED, PROBES
from txstathat.errors import StatHatAPIError
from txstathat.points.model import Point

__all__ = ["Probe", "SearchState", "halves", "may_be_all", "named_point"]

#: What differs between two messages for the same reason: numbers and quoted text.
_DETAILS = re.compile(r"'[^']*'|\"[^\"]*\"|[0-9]+")


@dataclass(slots=True)
class SearchState:
    """
    What is known of the parts of a divided batch. The parts share one state.

    :ivar mixed: whether the server accepts some points of the original batch.
    :ivar named: how many points in a row were taken out because the server named them.
    :ivar resent: see :class:`~txstathat.delivery.batch.SealedBatch`.
    :ivar due: when to send the part, on the monotonic clock.
    """

    mixed: bool = False
    named: int = 0
    resent: int = 0
    due: float = -math.inf


@dataclass(slots=True)
class Probe:
    """
    Single points of a batch, sent to learn whether the server refuses all of it.

    :ivar batch: the batch.
    :ivar points: its points.
    :ivar refused: the points that were refused, by index, and the errors.
    """

    batch: SealedBatch
    points: Sequence[Point]
    refused: dict[int, Exception] = field(default_factory=dict)

    @property
    def index(self) -> int:
        """
        The index of the point to send next.
        """
        # The first and the last point are included: bad points often come in one row.
        return len(self.refused) * (len(self.points) - 1) // (PROBES - 1)

    @property
    def id(self) -> str:
        """
        The ``Idempotency-Key`` of that point, the same whenever it is sent.
        """
        return f"{self.batch.id}-{self.index}"

    def refuse(self, outcome: Outcome) -> bool:
        """
        Note that the server refused the point at :attr:`index`.

        :returns: whether it gave the same reason as for the points before.
        """
        assert outcome.error is not None
        point = self.points[self.index]
        first = next(iter(self.refused.items()), None)
        self.refused[self.index] = outcome.error
        if first is None:
            return True
        reason = _reason(outcome.error, point)
        return reason == _reason(first[1], self.points[first[0]])

    @property
    def is_over(self) -> bool:
        """
        Whether enough points were refused to reject the whole batch.
        """
        return len(self.refused) == PROBES

    def remaining(self, *without: int) -> list[int]:
        """
        Return the points that were not refused, by index.

        :param without: points to leave out as well.
        """
        excluded = {*self.refused, *without}
        return [index for index in range(len(self.points)) if index not in excluded]


def _reason(error: Exception, point: Point) -> tuple[object, str]:
    text = error.msg if isinstance(error, StatHatAPIError) else str(error)
    text = _DETAILS.sub("", text.replace(point.stat, ""))
    return getattr(error, "status", type(error)), text


def named_point(outcome: Outcome, points: int, state: SearchState | None) -> int | None:
    """
    Return the index of the point to take out because the server names it, if any.

    :param points: how many points the batch has.
    """
    index = outcome.bad_point
    if index is None or index >= points:
        return None
    return index if state is None or state.named < MAX_NAMED else None


def may_be_all(points: int, state: SearchState | None) -> bool:
    """
    Whether all points of a refused batch may be bad, so that probing pays.

    :param points: how many points the batch has.
    """
    return points > PROBES and (state is None or not state.mixed)


def halves(indices: Sequence[int]) -> list[Sequence[int]]:
    """
    Divide points into two groups, or into one if there is only one point.
    """
    middle = len(indices) // 2
    return [half for half in (indices[:middle], indices[middle:]) if half]
