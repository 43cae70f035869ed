"""
Mistakes that a type checker must report.

mypy checks this file, and nothing runs it: mypy complains about an ignored error that does
not occur. See typing_program.py for what type checkers must accept.
"""

from __future__ import annotations

from txstathat import IStatHat, StatHatService, ez_count, stathat_from_env, txStatHat


def bad(sh: txStatHat) -> None:
    sh.count(b"a")  # type: ignore[arg-type]
    sh.count("a", "1")  # type: ignore[arg-type]
    sh.count("a", 1, 5)  # type: ignore[call-arg]
    sh.value("a")  # type: ignore[call-arg]
    sh.post([("a", 1)])  # type: ignore[list-item]
    txStatHat("key", timeout="10")  # type: ignore[arg-type]
    txStatHat("key", nonsense=1)  # type: ignore[call-arg]
    StatHatService(sh, on_ambiguous="again")  # type: ignore[arg-type]
    ez_count("key", "a", timeout="10")  # type: ignore[arg-type]
    ez_count("key", "a", nonsense=1)  # type: ignore[call-arg]
    stathat_from_env(max_waiting="1")  # type: ignore[arg-type]
    stats: IStatHat = object()  # type: ignore[assignment]
    taken: bool = sh.count("a")  # type: ignore[assignment]
    print(taken, stats)
