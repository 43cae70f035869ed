"""
Finding the bad points of a batch that the server refused.

The server may name one, which is taken out. Else single points, spread over the batch,
are sent one after the other. If the server refuses all of them alike, it would refuse
the rest too. As soon as it takes one, the batch is halved until the bad points are
alone: one bad point of a thousand costs about 22 requests.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from txstathat.client.outcome import Outcome
from txstathat.delivery.batch import Batch
from txstathat.delivery.policy import MAX_NAMED, PROBES
from txstathat.errors import StatHatAPIError
from txstathat.points.model import Point

__all__ = ["Probe", "Trace", "halves", "may_be_all", "named_point"]

#: What differs between two messages for the same reason: numbers, and what is quoted.
_DETAILS = re.compile(r"'[^']*'|\"[^\"]*\"|[0-9]+")


@dataclass(slots=True)
class Trace:
    """
    What is known of the parts of a batch; they share it.

    :ivar mixed: whether the server takes some points of the whole.
    :ivar named: how many points in a row were taken out because the server named them.
    :ivar resent: see :class:`~txstathat.delivery.batch.Batch`.
    :ivar due: when to send it, on the monotonic clock.
    """

    mixed: bool = False
    named: int = 0
    resent: int = 0
    due: float = -math.inf


@dataclass(slots=True)
class Probe:
    """
    Single points of a batch, sent to see whether the server refuses all of it.

    :ivar batch: the batch.
    :ivar points: its points.
    :ivar refused: which of them were refused, and why.
    """

    batch: Batch
    points: Sequence[Point]
    refused: dict[int, Exception] = field(default_factory=dict)

    @property
    def index(self) -> int:
        """
        Which point to send next.
        """
        # The first and the last are among them: bad points often come in one row.
        return len(self.refused) * (len(self.points) - 1) // (PROBES - 1)

    @property
    def id(self) -> str:
        """
        The ``Idempotency-Key`` of that point, the same whenever it is sent.
        """
        return f"{self.batch.id}-{self.index}"

    def refuse(self, outcome: Outcome) -> bool:
        """
        Note that the next point was refused.

        :returns: whether it was refused as those before it were.
        """
        assert outcome.error is not None
        point = self.points[self.index]
        first = next(iter(self.refused.items()), None)
        self.refused[self.index] = outcome.error
        if first is None:
            return True
        kind = _kind(outcome.error, point)
        return kind == _kind(first[1], self.points[first[0]])

    @property
    def is_over(self) -> bool:
        """
        Whether enough points were refused.
        """
        return len(self.refused) == PROBES

    def rest(self, *without: int) -> list[int]:
        """
        The points that were not refused, and not those either.
        """
        gone = {*self.refused, *without}
        return [index for index in range(len(self.points)) if index not in gone]


def _kind(error: Exception, point: Point) -> tuple[object, str]:
    text = error.msg if isinstance(error, StatHatAPIError) else str(error)
    text = _DETAILS.sub("", text.replace(point.stat, ""))
    return getattr(error, "status", type(error)), text


def named_point(outcome: Outcome, points: int, trace: Trace | None) -> int | None:
    """
    The point to take out of a batch because the server names it.
    """
    index = outcome.bad_point
    if index is None or index >= points:
        return None
    return index if trace is None or trace.named < MAX_NAMED else None


def may_be_all(points: int, trace: Trace | None) -> bool:
    """
    Whether all points of a refused batch may be bad, so that it is to be probed.
    """
    return points > PROBES and (trace is None or not trace.mixed)


def halves(indices: Sequence[int]) -> list[Sequence[int]]:
    """
    Points in two groups, or in one if there is only one of them.
    """
    middle = len(indices) // 2
    return [half for half in (indices[:middle], indices[middle:]) if half]
