"""
The store as a Twisted program sees it: :class:`Store` runs a backend off the reactor.

A backend is a plain object with blocking methods, which knows one database
(:class:`IBackend`). All that is asynchronous about stores is here.
"""
# mypy: disable-error-code="misc"

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, cast

from twisted.internet.defer import (
    Deferred,
    DeferredList,
    execute,
    fail,
    inlineCallbacks,
    succeed,
)
from twisted.internet.interfaces import IReactorThreads, IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool
from zope.interface import Interface, implementer

from txstathat.errors import StoreClosed, StoreUnavailable
from txstathat.stores.batching import WriteBatcher
from txstathat.stores.interface import (
    ANY,
    Answer,
    Batch,
    Cell,
    CellKey,
    IEntry,
    IStore,
)

__all__ = [
    "CLOSE_PATIENCE",
    "MAX_WRITE",
    "IBackend",
    "Inline",
    "Runner",
    "Store",
    "Threads",
]

#: How many entries one write of the store's gather makes up at most: an entry may be
#: tens of thousands of cells (:data:`txstathat.metrica.metrica.MAX_CELLS`).
MAX_WRITE = 8
#: For how many seconds closing waits for what is gathered to be written.
CLOSE_PATIENCE = 5.0

T = TypeVar("T")


class IBackend(Interface):
    """
    One database, blocking. Methods mean what those of
    :class:`~txstathat.stores.interface.IStore` mean; they raise what those fail with.

    ``add``, ``drop``, ``drop_expired`` and ``put_record`` are called one at a time, the
    others also while one of these runs, as many at a time as the runner has readers.
    """

    def open() -> None:
        """Connect, and check that the database can be used."""

    def add(batches: Sequence[Batch]) -> list[Answer]:
        """See :meth:`.IStore.add`."""

    def drop(name: str, unchanged: tuple[CellKey, Cell] | None) -> bool:
        """See :meth:`.IStore.drop`."""

    def drop_expired(limit: int) -> int:
        """See :meth:`.IStore.drop_expired`."""

    def read(keys: Sequence[CellKey]) -> list[Cell | None]:
        """See :meth:`.IStore.read`."""

    def choices(name: str, group: str) -> list[str]:
        """See :meth:`.IStore.choices`."""

    def definitions(names: Sequence[str] | None) -> dict[str, str]:
        """See :meth:`.IStore.definitions`."""

    def records(kind: str) -> dict[str, str]:
        """See :meth:`.IStore.records`."""

    def put_record(kind: str, id: str, text: str | None, was: str | None) -> bool:
        """See :meth:`.IStore.put_record`."""

    def close() -> None:
        """Disconnect. Nothing is called after this."""


class Runner(Protocol):
    """
    Runs a backend's methods.
    """

    def write(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """Run one that writes."""

    def read(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """Run one that reads."""

    def stop(self) -> None:
        """Stop, when nothing runs any more."""


class Inline:
    """
    Runs them at once, where they are called: for a database in memory.
    """

    def write(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """See :meth:`Runner.write`."""
        return execute(function, *args)

    read = write

    def stop(self) -> None:
        """See :meth:`Runner.stop`."""


class Threads:
    """
    Runs them in threads: one that writes, and others that read.

    :param reactor: to which the results come back.
    :param readers: how many threads read.
    """

    def __init__(self, reactor: IReactorThreads, readers: int) -> None:
        self._reactor = reactor
        self._writer = ThreadPool(0, 1, "txstathat-store-writer")
        self._readers = ThreadPool(0, readers, "txstathat-store-readers")
        self._writer.start()
        self._readers.start()

    def write(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """See :meth:`Runner.write`."""
        return deferToThreadPool(self._reactor, self._writer, function, *args)

    def read(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """See :meth:`Runner.read`."""
        return deferToThreadPool(self._reactor, self._readers, function, *args)

    def stop(self) -> None:
        """See :meth:`Runner.stop`."""
        # The end of the reactor may come amid a close, which stops it as well.
        for pool in (self._writer, self._readers):
            if pool.started:
                pool.stop()


@implementer(IStore)
class Store:
    """
    A store; made by :func:`txstathat.stores.open_store`.

    :param backend: its database, not opened yet.
    :param runner: runs the backend.
    :param clock: tells the time.
    :param reactor: closes the store when it has shut down all else, if given.
    """

    def __init__(
        self,
        backend: Any,
        runner: Runner,
        clock: IReactorTime,
        reactor: Any = None,
    ) -> None:
        self.clock = clock
        self.batcher: WriteBatcher[IEntry, Answer] = WriteBatcher(
            self._write_entries, clock, max_write=MAX_WRITE
        )
        self._backend = backend
        self._runner = runner
        self._reactor = reactor
        self._triggers: list[Any] = []
        self._closing: list[Deferred[None]] | None = None
        self._closed = False
        self._running: set[Deferred[Any]] = set()

    @inlineCallbacks
    def open(self) -> Any:
        """
        Open the database. When that fails, the store is closed.

        :returns: fires with the store.
        """
        try:
            yield self._call(self._runner.write, self._backend.open)
        except BaseException:
            yield self.close()
            raise
        if self._reactor is not None:
            # Services that are being stopped before the shutdown may still write and
            # ask: the end comes when all that was waited for then is done.
            self._triggers = [
                self._reactor.addSystemEventTrigger(phase, "shutdown", step)
                for phase, step in (
                    ("before", self._before_shutdown),
                    ("during", self._shut_down),
                )
            ]
        return self

    def _before_shutdown(self) -> Deferred[None]:
        del self._triggers[0]  # it has fired
        return self._gathered()

    def _gathered(self) -> Deferred[None]:
        settled = self.batcher.settled()
        return settled.addTimeout(CLOSE_PATIENCE, self.clock, lambda *_: None)

    def _shut_down(self) -> None:
        # No reactor runs any more that a thread could answer to: wait for the threads.
        self._triggers = []
        self._end()
        self._runner.stop()
        self._backend.close()

    def _end(self) -> None:
        self._closed = True
        self.batcher.abandon(
            StoreUnavailable("the store was closed before this could be written")
        )

    def add(self, batches: Sequence[Batch]) -> Deferred[list[Answer]]:
        """See :meth:`.IStore.add`."""
        return self._call(self._runner.write, self._backend.add, list(batches))

    def read(self, keys: Sequence[CellKey]) -> Deferred[list[Cell | None]]:
        """See :meth:`.IStore.read`."""
        if not keys:
            return succeed([])
        return self._call(self._runner.read, self._backend.read, list(keys))

    def choices(self, name: str, group: str) -> Deferred[list[str]]:
        """See :meth:`.IStore.choices`."""
        return self._call(self._runner.read, self._backend.choices, name, group)

    def definitions(
        self, names: Sequence[str] | None = None
    ) -> Deferred[dict[str, str]]:
        """See :meth:`.IStore.definitions`."""
        return self._call(self._runner.read, self._backend.definitions, names)

    def drop(
        self, name: str, unchanged: tuple[CellKey, Cell] | None = None
    ) -> Deferred[bool]:
        """See :meth:`.IStore.drop`."""
        return self._call(self._runner.write, self._backend.drop, name, unchanged)

    def drop_expired(self, limit: int = 10_000) -> Deferred[int]:
        """See :meth:`.IStore.drop_expired`."""
        return self._call(self._runner.write, self._backend.drop_expired, limit)

    def records(self, kind: str) -> Deferred[dict[str, str]]:
        """See :meth:`.IStore.records`."""
        return self._call(self._runner.read, self._backend.records, kind)

    def put_record(
        self, kind: str, id: str, text: str | None, was: str | None = ANY
    ) -> Deferred[bool]:
        """See :meth:`.IStore.put_record`."""
        return self._call(
            self._runner.write, self._backend.put_record, kind, id, text, was
        )

    def close(self) -> Deferred[None]:
        """See :meth:`.IStore.close`."""
        closed: Deferred[None] = Deferred()
        if self._closing is not None:
            self._closing.append(closed)
            return closed
        if self._closed:
            return succeed(None)
        self._closing = [closed]
        self._close().addBoth(self._close_done)
        return closed

    @inlineCallbacks
    def _close(self) -> Any:
        yield self._gathered()
        if self._closed:
            return  # the reactor's shutdown was first
        self._end()
        # A backend's calls are bounded in time, each by its own time limits.
        yield DeferredList([_outcome(one) for one in self._running])
        yield self._runner.write(self._backend.close)

    def _close_done(self, result: object) -> None:
        for trigger in self._triggers:
            self._reactor.removeSystemEventTrigger(trigger)
        self._triggers = []
        self._closed = True
        self._runner.stop()
        waiting, self._closing = self._closing or [], None
        for closed in waiting:
            closed.callback(None)

    def _write_entries(self, entries: list[IEntry]) -> Deferred[list[Answer]]:
        return self.add([entry.encode() for entry in entries])

    def _call(
        self,
        run: Callable[..., Deferred[T]],
        method: Callable[..., T],
        *args: Any,
    ) -> Deferred[T]:
        if self._closed:
            return fail(StoreClosed())
        running = run(method, *args)
        if not running.called:
            self._running.add(running)
            running.addBoth(self._ran, running)
        # A Deferred of the caller's own: what they add to it, and when they cancel it,
        # is no business of ours.
        return _outcome(running)

    def _ran(self, result: T, running: Deferred[Any]) -> T:
        self._running.discard(running)
        return result


def _outcome(running: Deferred[T]) -> Deferred[T]:
    """
    A new Deferred that comes to the same result.
    """
    result: Deferred[T] = Deferred()

    def pass_on(outcome: Any) -> Any:
        result.callback(cast(T, outcome))
        return None

    running.addBoth(pass_on)
    return result
