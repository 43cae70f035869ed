"""
Every way to count, with every kind of object: what :mod:`tests.test_life` tries in each
state of a program. This imports no reactor.
"""

from __future__ import annotations

from typing import Any

from twisted.python.failure import Failure

from txstathat import (
    NullStatHat,
    StatHatService,
    tee,
    txStatHat,
    txStatHatClassic,
)
from txstathat.testing import MemoryStatHat

__all__ = ["everything", "table", "use"]


def everything(
    client: txStatHat, service: StatHatService, classic: txStatHatClassic
) -> dict[str, Any]:
    """
    Each kind of object that counts.
    """
    return {
        "client": client,
        "service": service,
        "null": NullStatHat(),
        "fake": MemoryStatHat(ignore_errors=True),
        "tee": tee(client, service),
        "scoped client": client.scoped("web1 "),
        "scoped service": service.scoped("web1 "),
        "classic": classic,
    }


def use(stats: Any) -> dict[str, str]:
    """
    Count in each way.

    :returns: the result of each call: ``'pending'``, the text of its result, the type of
        its failure, or the type of what is returned in place of a Deferred.
    """
    results: dict[str, str] = {}

    def note(kind: str, made: Any) -> None:
        if not hasattr(made, "addBoth"):
            results[kind] = type(made).__name__
            return
        results[kind] = "pending"

        def done(result: Any) -> None:
            failed = isinstance(result, Failure)
            results[kind] = result.type.__name__ if failed else str(result)

        made.addBoth(done)

    threads = stats.from_threads()
    cases: list[tuple[str, Any, Any]] = [
        ("count", ("a",), (7,)),
        ("value", ("v", 1), ("v", "x")),
        ("tick", ("a",), ("",)),
    ]
    for name, good, bad in cases:
        note(f"good {name}", getattr(stats, name)(*good))
        note(f"bad {name}", getattr(stats, name)(*bad))
        note(f"strict {name}", getattr(stats, name)(*bad, ignore_errors=False))
        note(f"thread {name}", getattr(threads, name)(*good))
        note(f"thread bad {name}", getattr(threads, name)(*bad))
    note("good bound count", stats.stat("a").count())
    note("good bound value", stats.stat("v").value(1))
    note("good bound tick", stats.stat("a").tick())
    repr(stats), str(getattr(stats, "health", ""))
    return results


def table(
    client: txStatHat, service: StatHatService, classic: txStatHatClassic
) -> dict[str, dict[str, str]]:
    """
    The results of :func:`use` for each of :func:`everything`.
    """
    objects = everything(client, service, classic)
    return {name: use(each) for name, each in objects.items()}
