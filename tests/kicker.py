"""
A process that kicks at full speed until it is killed: ``python -m tests.kicker URL``.

It prints the number of each event when the event is in the store. Each number is a
choice of its own, so that the test can compare them exactly.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import task
from twisted.internet.defer import gatherResults, inlineCallbacks

from txstathat.metrica import Metrica, StoredChoiceAxis
from txstathat.stores import IStore, open_store

#: How many kicks are under way at any time.
TASKS = 50


def numbered(store: IStore) -> Metrica:
    """Create the Metrica of numbered events."""
    return Metrica(
        "numbered",
        [("number", StoredChoiceAxis(value_type=int))],
        store,
        scales=["day"],
    )


@inlineCallbacks
def main(_: Any, url: str, first: str) -> Any:
    """Kick until the process is killed."""
    store = yield open_store(url)
    metrica = numbered(store)
    numbers = iter(range(int(first), 10**9))

    @inlineCallbacks
    def run() -> Any:
        for number in numbers:
            yield metrica.kick(number=number)
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()

    yield gatherResults([run() for _ in range(TASKS)])


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
