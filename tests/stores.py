"""
The stores that the tests run on: one :class:`Host` for each kind.

Servers are started once for a whole test run, at private ports and in temporary folders,
and stopped at its end.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from txstathat.stores import IStore, open_store

#: A Sunday; what the tests' clocks start at.
NOW = 1_400_000_000.0


class MemoryHost:
    """Stores in memory: a new one each time."""

    #: Whether the store's time is the test's clock.
    clocked = True
    #: Whether what was added is there when the store is opened again.
    lasting = False

    def __init__(self, case: TestCase) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.case = case

    def url(self) -> str:
        """Where a store of this test is."""
        return "memory:"

    def open(self, **options: Any) -> Deferred[IStore]:
        """Open a store, and close it at the end of the test."""

        def opened(store: IStore) -> IStore:
            self.case.addCleanup(store.close)
            return store

        return open_store(
            self.url(), reactor=reactor, clock=self.clock, **options
        ).addCallback(opened)


class SqliteHost(MemoryHost):
    """Stores in one SQLite file."""

    lasting = True

    def __init__(self, case: TestCase) -> None:
        super().__init__(case)
        self.path = case.mktemp()

    def url(self) -> str:
        """Where the file is."""
        return f"sqlite:{self.path}"
