"""
The ways of sending points that are tried with every answer, and a table's failures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.answering_server import Answer
from txstathat import Count, Value, txStatHat, txStatHatClassic

#: How many wrong rows a failure shows.
MOST_SHOWN = 25

SINGLE = (Count("signups", 7),)
BATCH = (
    Count("signups", 7, 1_700_000_000),
    Count("paid", Decimal("0.1"), 1_700_000_001),
    Value("load", 0.25, 1_700_000_002),
)


@dataclass(frozen=True)
class Api:
    """
    One way to send points.

    :ivar name: what a failing test calls it.
    :ivar client: the client's class.
    :ivar points: what is sent.
    :ivar requests: how many requests that takes.
    """

    name: str
    client: Callable[..., Any]
    points: tuple[Count | Value, ...]
    requests: int

    @property
    def totals(self) -> dict[str, Decimal]:
        """What the server's ledger must hold once all is taken."""
        return {each.stat: Decimal(str(amount_of(each))) for each in self.points}


APIS = (
    Api("EZ single", txStatHat, SINGLE, 1),
    Api("EZ batch", txStatHat, BATCH, 1),
    Api("Classic single", txStatHatClassic, SINGLE, 1),
    Api("Classic batch", txStatHatClassic, BATCH, 3),
)


def amount_of(point: Count | Value) -> Any:
    """What a point counts or measures."""
    return point.count if isinstance(point, Count) else point.value


class Rows:
    """
    Runs a test for many rows, and fails with the names of all that are wrong.
    """

    def __init__(self, case: SynchronousTestCase) -> None:
        self._case = case
        self._count = 0
        self._problems: list[str] = []

    @contextmanager
    def row(self, api: Api, answer: Answer) -> Iterator[None]:
        """One row."""
        self._count += 1
        try:
            yield
        except Exception as error:
            words = str(error).partition("\n")[0]
            self._problems.append(
                f"{api.name}; {answer.name}: {type(error).__name__}: {words}"
            )

    def check(self, least: int) -> None:
        """Fail if a row is wrong, or if there were suspiciously few."""
        self._case.assertGreaterEqual(self._count, least)
        if self._problems:
            self._case.fail(
                f"{len(self._problems)} of {self._count} rows are wrong:\n"
                + "\n".join(self._problems[:MOST_SHOWN])
            )
