"""
The asynchronous store: :class:`Store` runs a backend outside the reactor's thread.

A backend is a plain object with blocking methods that knows one database
(:class:`IBackend`). Everything asynchronous about stores is in this module.
"""
# mypy: disable-error-code="misc"

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol, TypeVar, cast

from twisted.internet.defer import (
    Deferred,
    DeferredList,
    execute,
    fail,
    inlineCallbacks,
    succeed,
)
from twisted.internet.interfaces import (
    IDelayedCall,
    IReactorCore,
    IReactorThreads,
    IReactorTime,
)
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import Interface, implementer

from txstathat.errors import StoreClosed, StoreUnavailable
from txstathat.stores.batching import WriteBatcher
from txstathat.stores.interface import (
    ANY,
    Cell,
    CellKey,
    IEntry,
    IStore,
    WriteBatch,
    WriteResult,
)
from txstathat.stores.listing import Group, ListedRow, ListPage, ListQuery

__all__ = [
    "CLOSE_TIMEOUT",
    "FOLD_RETRY_SECONDS",
    "MAX_WRITE",
    "IBackend",
    "IStoreReactor",
    "Inline",
    "Runner",
    "Store",
    "Threads",
]

#: How many entries one write of the store's batcher has at most. An entry may be tens
#: of thousands of cells (:data:`txstathat.metrica.metrica.MAX_CELLS`).
MAX_WRITE = 8
#: For how many seconds closing waits until the batcher has written everything.
CLOSE_TIMEOUT = 5.0

#: After how many seconds a fold is tried again that has failed.
FOLD_RETRY_SECONDS = 1.0

T = TypeVar("T")


class IStoreReactor(IReactorCore, IReactorThreads, IReactorTime):
    """The parts of a reactor that a store uses: threads, time, and shutdown events."""


class IBackend(Interface):
    """
    One database. Its methods block. They do the same as the methods of
    :class:`~txstathat.stores.interface.IStore` with the same name, and raise what those
    fail with.

    Calls of ``add``, ``drop``, ``rename``, ``drop_expired``, ``erase_deleted``,
    ``put_record`` and ``put_listed`` never overlap. The others may run at the same time
    as one of these, and in several threads at once (as many as the runner has readers).
    """

    def open() -> None:
        """Connect, and check that the database can be used."""

    def add(batches: Sequence[WriteBatch]) -> list[WriteResult]:
        """See :meth:`.IStore.add`."""

    def drop(name: str, unchanged: tuple[CellKey, Cell] | None) -> bool:
        """See :meth:`.IStore.drop`."""

    def rename(name: str, new: str) -> bool:
        """See :meth:`.IStore.rename`."""

    def drop_expired(limit: int) -> int:
        """See :meth:`.IStore.drop_expired`."""

    def erase_deleted() -> None:
        """See :meth:`.IStore.erase_deleted`."""

    def read(keys: Sequence[CellKey]) -> list[Cell | None]:
        """See :meth:`.IStore.read`."""

    def choices(name: str, group: str) -> list[str]:
        """See :meth:`.IStore.choices`."""

    def definitions(names: Sequence[str]) -> dict[str, str]:
        """Return the definitions of some Metricas; an unknown name is left out."""

    def definitions_after(name: str | None) -> tuple[dict[str, str], str | None]:
        """
        Return the next of all definitions: as many as take a few hundredths of a
        second, if other reads wait meanwhile.

        :param name: what the last call returned; ``None`` at first.
        :returns: definitions by name; and what to pass to the next call, ``None`` if
            there are no more.
        """

    def count_definitions(apart_from: Sequence[str]) -> int:
        """See :meth:`.IStore.count_definitions`."""

    def records(kind: str) -> dict[str, str]:
        """See :meth:`.IStore.records`."""

    def record(kind: str, id: str) -> str | None:
        """See :meth:`.IStore.record`."""

    def put_record(kind: str, id: str, text: str | None, was: str | None) -> bool:
        """See :meth:`.IStore.put_record`."""

    def put_listed(rows: Sequence[ListedRow], gone: Sequence[str]) -> None:
        """See :meth:`.IStore.put_listed`."""

    def list_page(query: ListQuery) -> ListPage:
        """See :meth:`.IStore.list_page`."""

    def listed_names(ids: Sequence[str]) -> dict[str, str]:
        """See :meth:`.IStore.listed_names`."""

    def list_groups(query: ListQuery) -> list[Group]:
        """See :meth:`.IStore.list_groups`."""

    def size() -> int:
        """See :meth:`.IStore.size`."""

    def fold() -> bool:
        """
        Do a part of the work that was put off when batches were added. It takes a few
        hundredths of a second. This may overlap with all other methods.

        :returns: whether there is more to do at once.
        :raises StoreUnavailable: if the database cannot be written.
        """

    def fold_due() -> float | None:
        """
        Return in how many seconds to call :meth:`fold`; ``None`` if there is nothing to
        do. This does not block.
        """

    def close() -> None:
        """Disconnect. This is the last call."""


class Runner(Protocol):
    """
    Runs the methods of a backend.
    """

    def write(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """Run a function that writes. Fires with what it returns."""

    def read(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """Run a function that reads. Fires with what it returns."""

    def fold(self, function: Callable[..., T]) -> Deferred[T]:
        """Run a function beside the others. Fires with what it returns."""

    def stop(self) -> None:
        """Stop. The caller makes sure that no function is running."""


class Inline:
    """
    A runner that calls each function directly: for a database in memory.
    """

    def write(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """See :meth:`Runner.write`."""
        return execute(function, *args)

    read = fold = write

    def stop(self) -> None:
        """See :meth:`Runner.stop`."""


class Threads:
    """
    A runner with one thread for writing, one for folding, and others for reading.

    :param reactor: receives the results of the threads.
    :param readers: the number of threads for reading.
    """

    def __init__(self, reactor: IReactorThreads, readers: int) -> None:
        self._reactor = reactor
        self._writer = ThreadPool(0, 1, "txstathat-store-writer")
        self._readers = ThreadPool(0, readers, "txstathat-store-readers")
        self._folder = ThreadPool(0, 1, "txstathat-store-folder")
        for pool in self._pools():
            pool.start()

    def _pools(self) -> tuple[ThreadPool, ...]:
        return self._writer, self._readers, self._folder

    def write(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """See :meth:`Runner.write`."""
        return deferToThreadPool(self._reactor, self._writer, function, *args)

    def read(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """See :meth:`Runner.read`."""
        return deferToThreadPool(self._reactor, self._readers, function, *args)

    def fold(self, function: Callable[..., T]) -> Deferred[T]:
        """See :meth:`Runner.fold`."""
        return deferToThreadPool(self._reactor, self._folder, function)

    def stop(self) -> None:
        """See :meth:`Runner.stop`."""
        # The reactor may shut down during a close; then both call this.
        for pool in self._pools():
            if pool.started:
                pool.stop()


@implementer(IStore)
class Store:
    """
    A store. Use :func:`txstathat.stores.open_store` to create one.

    :param backend: the database, not opened yet.
    :param runner: runs the methods of the backend.
    :param clock: the source of time.
    :param reactor: if given, the store closes when this reactor shuts down, after
        everything else.
    :param timers: schedules what waits; by default ``clock``.
    """

    _log = Logger()

    def __init__(
        self,
        backend: IBackend,
        runner: Runner,
        clock: IReactorTime,
        reactor: IReactorCore | None = None,
        timers: IReactorTime | None = None,
    ) -> None:
        self.clock = clock
        self._timers = timers or clock
        self.batcher: WriteBatcher[IEntry, WriteResult] = WriteBatcher(
            self._write_entries, self._timers, max_write=MAX_WRITE
        )
        self._backend = backend
        self._runner = runner
        self._reactor = reactor
        self._triggers: list[Any] = []
        # Those who wait for a close that has begun.
        self._close_waiters: list[Deferred[None]] | None = None
        self._closed = False
        self._running: set[Deferred[Any]] = set()
        self._fold_call: IDelayedCall | None = None
        self._folding = False
        self._fold_failed_before = False

    def __repr__(self) -> str:
        # Neither the URL, which may have a password, nor the path.
        kind = type(self._backend).__name__.removesuffix("Backend")
        return f"<Store: {kind}{', closed' if self._closed else ''}>"

    @inlineCallbacks
    def open(self) -> Generator[Deferred[Any], Any, Store]:
        """
        Open the database. If that fails, the store is closed.

        :returns: fires with the store; fails with what the backend raises.
        """
        try:
            yield self._call(self._runner.write, self._backend.open)
        except BaseException:
            yield self.close()
            raise
        if self._reactor is not None:
            # Services that stop before the shutdown may still write and read. So this
            # flushes before the shutdown, and closes during it.
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
        return self._flush()

    def _flush(self) -> Deferred[None]:
        settled = self.batcher.settled()
        return settled.addTimeout(CLOSE_TIMEOUT, self._timers, lambda *_: None)

    def _shut_down(self) -> None:
        # The reactor no longer delivers results from threads: wait for the threads.
        self._triggers = []
        self._refuse_calls()
        self._runner.stop()
        self._backend.close()

    def _refuse_calls(self) -> None:
        self._closed = True
        self._stop_waiting()
        self.batcher.abandon(
            StoreUnavailable("the store was closed before this could be written")
        )

    def add(self, batches: Sequence[WriteBatch]) -> Deferred[list[WriteResult]]:
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
        if names is None:
            return Deferred.fromCoroutine(self._all_definitions())
        return self._call(self._runner.read, self._backend.definitions, names)

    async def _all_definitions(self) -> dict[str, str]:
        # Other reads have their turn between two pieces.
        found: dict[str, str] = {}
        last: str | None = None
        while True:
            some, last = await self._call(
                self._runner.read, self._backend.definitions_after, last
            )
            found.update(some)
            if last is None:
                return found

    def count_definitions(self, apart_from: Sequence[str] = ()) -> Deferred[int]:
        """See :meth:`.IStore.count_definitions`."""
        return self._call(
            self._runner.read, self._backend.count_definitions, list(apart_from)
        )

    def drop(
        self, name: str, unchanged: tuple[CellKey, Cell] | None = None
    ) -> Deferred[bool]:
        """See :meth:`.IStore.drop`."""
        return self._call(self._runner.write, self._backend.drop, name, unchanged)

    def rename(self, name: str, new: str) -> Deferred[bool]:
        """See :meth:`.IStore.rename`."""
        return self._call(self._runner.write, self._backend.rename, name, new)

    def drop_expired(self, limit: int = 10_000) -> Deferred[int]:
        """See :meth:`.IStore.drop_expired`."""
        return self._call(self._runner.write, self._backend.drop_expired, limit)

    def erase_deleted(self) -> Deferred[None]:
        """See :meth:`.IStore.erase_deleted`."""
        return self._call(self._runner.write, self._backend.erase_deleted)

    def records(self, kind: str) -> Deferred[dict[str, str]]:
        """See :meth:`.IStore.records`."""
        return self._call(self._runner.read, self._backend.records, kind)

    def record(self, kind: str, id: str) -> Deferred[str | None]:
        """See :meth:`.IStore.record`."""
        return self._call(self._runner.read, self._backend.record, kind, id)

    def put_record(
        self, kind: str, id: str, text: str | None, was: str | None = ANY
    ) -> Deferred[bool]:
        """See :meth:`.IStore.put_record`."""
        return self._call(
            self._runner.write, self._backend.put_record, kind, id, text, was
        )

    def put_listed(
        self, rows: Sequence[ListedRow], gone: Sequence[str] = ()
    ) -> Deferred[None]:
        """See :meth:`.IStore.put_listed`."""
        return self._call(
            self._runner.write, self._backend.put_listed, list(rows), list(gone)
        )

    def list_page(self, query: ListQuery) -> Deferred[ListPage]:
        """See :meth:`.IStore.list_page`."""
        return self._call(self._runner.read, self._backend.list_page, query)

    def listed_names(self, ids: Sequence[str]) -> Deferred[dict[str, str]]:
        """See :meth:`.IStore.listed_names`."""
        return self._call(self._runner.read, self._backend.listed_names, list(ids))

    def list_groups(self, query: ListQuery) -> Deferred[list[Group]]:
        """See :meth:`.IStore.list_groups`."""
        return self._call(self._runner.read, self._backend.list_groups, query)

    def size(self) -> Deferred[int]:
        """See :meth:`.IStore.size`."""
        return self._call(self._runner.read, self._backend.size)

    def close(self) -> Deferred[None]:
        """See :meth:`.IStore.close`."""
        closed: Deferred[None] = Deferred()
        if self._close_waiters is not None:
            self._close_waiters.append(closed)
            return closed
        if self._closed:
            return succeed(None)
        self._close_waiters = [closed]
        self._close().addBoth(self._close_done)
        return closed

    @inlineCallbacks
    def _close(self) -> Generator[Deferred[Any], Any, None]:
        yield self._flush()
        if self._closed:
            return  # the shutdown of the reactor came first
        self._refuse_calls()
        # The time limits of the backend bound how long these take.
        yield DeferredList([_copy_result(one) for one in self._running])
        yield self._runner.write(self._backend.close)

    def _close_done(self, result: object) -> None:
        if self._reactor is not None:
            for trigger in self._triggers:
                self._reactor.removeSystemEventTrigger(trigger)
        self._triggers = []
        self._closed = True
        self._runner.stop()
        waiters, self._close_waiters = self._close_waiters or [], None
        for closed in waiters:
            closed.callback(None)

    def _write_entries(self, entries: list[IEntry]) -> Deferred[list[WriteResult]]:
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
        self._running.add(running)
        running.addBoth(self._ran, running)
        # The caller gets a Deferred of its own, so that its callbacks and cancelling do
        # not affect ours.
        return _copy_result(running)

    def _ran(self, result: T, running: Deferred[Any]) -> T:
        self._running.discard(running)
        self._plan_fold()
        return result

    def _plan_fold(self, at_least: float = 0.0) -> None:
        due = self._backend.fold_due()
        if due is None or self._folding or self._closed:
            return
        due = max(due, at_least)
        if self._fold_call is not None:
            if self._fold_call.getTime() <= self.clock.seconds() + due:
                return
            self._fold_call.cancel()
        self._fold_call = self.clock.callLater(due, self._fold)

    def _stop_waiting(self) -> None:
        if self._fold_call is not None:
            self._fold_call.cancel()
            self._fold_call = None

    def _fold(self) -> None:
        self._fold_call = None
        self._folding = True
        folding = self._runner.fold(self._backend.fold)
        self._running.add(folding)
        folding.addCallbacks(
            self._folded,
            self._fold_failed,
            callbackArgs=(folding,),
            errbackArgs=(folding,),
        )

    def _folded(self, more: bool, folding: Deferred[Any]) -> None:
        self._folding = self._fold_failed_before = False
        self._running.discard(folding)
        if more and not self._closed:
            self._fold()
        else:
            self._plan_fold()

    def _fold_failed(self, failure: Failure, folding: Deferred[Any]) -> None:
        self._folding = False
        self._running.discard(folding)
        # What is not folded is not lost. While the store is unavailable, writes fail
        # too, and are reported.
        if not self._fold_failed_before and failure.check(StoreUnavailable) is None:
            self._fold_failed_before = True
            self._log.failure("cannot fold the journal of the store", failure)
        self._plan_fold(FOLD_RETRY_SECONDS)


def _copy_result(source: Deferred[T]) -> Deferred[T]:
    """
    Return a new Deferred that fires with the result of another one, or fails with its
    failure.
    """
    copy: Deferred[T] = Deferred()

    def copy_result(result: Any) -> None:
        copy.callback(cast(T, result))

    source.addBoth(copy_result)
    return copy
