"""
What a type checker must accept, and what it must refuse.

Checked by mypy, never run: each ignored error has to be there, or mypy complains.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from twisted.internet.defer import Deferred

from txstathat import Count, Value, ez_count, stathat_from_env, txStatHat
from txstathat.interfaces import IStatHat
from txstathat.testing import MemoryStatHat


async def good(sh: txStatHat) -> None:
    taken: bool = await sh.count("a")
    deferred: Deferred[bool] = sh.value("b", Decimal("0.1"), t=5, ignore_errors=False)
    await sh.count("c", Fraction(1, 2), t=Fraction(5))
    await sh.post([Count("a"), Value("b", 0.5)])
    outcome = await sh.send([Count("a")], "id")
    error: Exception | None = outcome.error
    stats: IStatHat = MemoryStatHat()
    await stats.tick("a")
    await stathat_from_env().count("a")
    await ez_count("key", "a", 2)
    print(taken, deferred, error)


def bad(sh: txStatHat) -> None:
    sh.count(b"a")  # type: ignore[arg-type]
    sh.count("a", "1")  # type: ignore[arg-type]
    sh.count("a", 1, 5)  # type: ignore[call-arg]
    sh.value("a")  # type: ignore[call-arg]
    sh.post([("a", 1)])  # type: ignore[list-item]
    txStatHat("key", timeout="10")  # type: ignore[arg-type]
    txStatHat("key", nonsense=1)  # type: ignore[call-arg]
    taken: bool = sh.count("a")  # type: ignore[assignment]
    print(taken)
