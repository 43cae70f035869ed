"""
Reads the cells of a Metrica from its store.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime

from txstathat.errors import DefinitionMismatch, StoreUnavailable
from txstathat.metrica.schema import Schema
from txstathat.stores.interface import Cell, CellKey, IStore

__all__ = ["FLUSH_TIMEOUT", "Reader"]

#: For how many seconds a read waits until the earlier kicks are written.
FLUSH_TIMEOUT = 5.0


class Reader:
    """
    Reads the cells of a Metrica.

    All its Deferreds fail with :class:`~txstathat.errors.DefinitionMismatch` if the
    store has another definition for this name, and with
    :class:`~txstathat.errors.StoreUnavailable` if the store cannot be read, or if the
    earlier kicks were not written within :data:`FLUSH_TIMEOUT` seconds. Cancelling them
    has no side effects.

    :param schema: the schema of the Metrica.
    :param store: its store; ``None`` if :meth:`bind` sets it later.
    :param clock: the source of time; by default the clock of the store.
    """

    def __init__(
        self, schema: Schema, store: IStore | None, clock: IReactorTime | None = None
    ) -> None:
        self.schema = schema
        self._clock = clock
        self._bound = store
        self._definition_checked = False

    def bind(self, store: IStore) -> None:
        """
        Set the store.
        """
        self._bound = store
        self._definition_checked = False

    @property
    def store(self) -> IStore:
        """
        The store.

        :raises StoreUnavailable: if there is none.
        """
        if self._bound is None:
            raise StoreUnavailable(
                f"the Metrica {self.schema.name!r} has no store: call its bind(store)"
            )
        return self._bound

    @property
    def clock(self) -> IReactorTime:
        """
        The source of time.

        :raises StoreUnavailable: if it is the clock of the store, and there is none.
        """
        if self._clock is not None:
            return self._clock
        clock: IReactorTime = self.store.clock
        return clock

    def cells(self, keys: Sequence[CellKey]) -> Deferred[list[Cell | None]]:
        """
        Read cells, including all kicks made before this call.

        :returns: fires with a cell for each key; ``None`` for an empty one.
        """
        return self.ready().addCallback(lambda _: self.stored_cells(keys))

    def stored_cells(self, keys: Sequence[CellKey]) -> Deferred[list[Cell | None]]:
        """
        Read cells without waiting for kicks. Call :meth:`ready` before.

        :returns: fires with a cell for each key; ``None`` for an empty one.
        """
        return self.store.read(keys)

    def choices(self, group: str) -> Deferred[list[str]]:
        """
        Read the choices seen in a group.

        :returns: fires with the choices, sorted as texts.
        """
        return self.ready().addCallback(
            lambda _: self.store.choices(self.schema.name, group)
        )

    def ready(self) -> Deferred[None]:
        """
        Wait until the earlier kicks are written, and check the stored definition.

        :returns: fires with ``None`` when the kicks made before this call are written
            or have failed, and the store has the right definition or none.
        """
        try:
            ready: Deferred[None] = self.store.batcher.settled()
        except StoreUnavailable:
            return fail()
        if not ready.called:
            ready.addTimeout(FLUSH_TIMEOUT, self.clock, _not_written)
        if self._definition_checked:
            return ready
        return ready.addCallback(
            lambda _: self.store.definitions([self.schema.name])
        ).addCallback(self._check_definition)

    def _check_definition(self, definitions: dict[str, str]) -> None:
        name, definition = self.schema.name, self.schema.definition
        stored = definitions.get(name)
        if stored is not None and stored != definition:
            raise DefinitionMismatch(
                f"the store has {name!r} with the definition {stored}, not "
                f"{definition}; use another name, or drop the stored Metrica"
            )
        self._definition_checked = stored is not None


def _not_written(result: object, timeout: float) -> None:
    raise StoreUnavailable(
        f"the earlier kicks were not written within {timeout:g} seconds"
    )
