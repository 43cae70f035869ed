"""
The scripts of one Redis server, as methods.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from redis.exceptions import NoScriptError

from txstathat.stores.interface import WriteOutcome, WriteResult
from txstathat.stores.journal.prepared import MAX_LOAD, Prepared
from txstathat.stores.redis.cells import split_cells
from txstathat.stores.redis.keys import (
    KeyNames,
    as_json,
    shard_of,
    tags_of,
    unit_tag,
)
from txstathat.stores.redis.merging import Batch, MergedWrite
from txstathat.stores.redis.server.journal import Journal, encode_row, progress_of
from txstathat.stores.redis.server.journal_scripts import READ, TOTAL
from txstathat.stores.redis.server.plans import (
    UnitPlan,
    WritePlan,
    plan_text,
)
from txstathat.stores.redis.server.scripts import ADD, APPEND, DROP, HOLD, RENAME

__all__ = ["HOLD_SECONDS", "ServerStore"]

#: For how many seconds names stay out of the journal at most, from the first one on,
#: while their Metricas are changed.
HOLD_SECONDS = 10.0

_STATES = {
    "r": WriteResult(WriteOutcome.REPEATED),
    "c": WriteResult(WriteOutcome.CONFLICT),
}


class ServerStore:
    """
    The cells and the journal in one server.

    :param keys: the names of the keys.
    :param client: the client.
    :param longer: returns a context in which to wait longer than usual for a reply,
        for the number of cells that a script changes.
    """

    def __init__(
        self,
        keys: KeyNames,
        client: Any,
        longer: Callable[[int], AbstractContextManager[None]] = lambda _: nullcontext(),
    ) -> None:
        self._keys = keys
        #: See above.
        self.longer = longer
        self._client = client
        self._journal = keys.journal()
        self._append = client.register_script(APPEND)
        self._add = client.register_script(ADD)
        self._read = client.register_script(READ)
        self._total = client.register_script(TOTAL)
        self._hold = client.register_script(HOLD)
        self._drop = client.register_script(DROP)
        self._rename = client.register_script(RENAME)

    # -- writing

    def append(self, prepared: Sequence[Prepared], max_additions: int) -> str:
        """
        Append batches to the journal as one row. They have different ids, and the same
        definition of each name.

        :param max_additions: with how many additions in the journal to refuse them.
        :returns: what the script :data:`.scripts.APPEND` replies.
        """
        row, usage = encode_row(prepared)
        definitions: dict[str, str] = {}
        choices: dict[tuple[str, str], dict[str, None]] = {}
        for one in prepared:
            definitions.update(one.amounts.definitions)
            for group, texts in one.amounts.choices.items():
                choices.setdefault(group, {}).update(dict.fromkeys(texts))
        batches = [one.batch for one in prepared]
        plan = WritePlan(self._keys, batches, definitions, choices)
        fields = {
            **plan.fields,
            "load": as_json(usage.load),
            "additions": str(usage.additions),
            "max_load": as_json(MAX_LOAD),
            "max_additions": str(max_additions),
        }
        return str(self._append(keys=plan.keys, args=[plan_text(fields), row]), "utf-8")

    def results(
        self, prepared: Sequence[Prepared], reply: str
    ) -> list[WriteResult | None]:
        """
        Return the results of batches after a reply: ``None`` for those that it does not
        decide.

        :param prepared: the batches.
        :param reply: what a script that adds them replied.
        """
        what, _, rest = reply.partition(":")
        if what == "added":
            return [WriteResult(WriteOutcome.ADDED)] * len(prepared)
        if what == "known":
            return [_STATES.get(letter) for letter in rest]
        refused = (
            WriteResult(WriteOutcome.MISMATCH, rest) if what == "mismatch" else None
        )
        return [
            refused if rest in one.amounts.definitions else None for one in prepared
        ]

    def hold(self, names: Iterable[str]) -> str:
        """
        Keep names out of new rows of the journal, for :data:`HOLD_SECONDS` at most.

        :returns: the number of the hold.
        """
        arguments = [int(1000 * HOLD_SECONDS), *names]
        return str(self._hold(keys=self._journal, args=arguments), "ascii")

    def add(self, one: Prepared, hold: str) -> WriteResult | None:
        """
        Add a batch to the cells at once. No row of the journal has one of its names.

        :param hold: the number of the hold of its names.
        :returns: the result; ``None`` if it is not held any more.
        """
        write = MergedWrite([Batch(one.batch, one.amounts)])
        if write.overflow is not None:
            return WriteResult(WriteOutcome.OVERFLOW, write.overflow)
        plan = WritePlan(self._keys, [one.batch], write.definitions, write.choices)
        unit_plan = UnitPlan(self._keys, write, plan.groups.number)
        units = list(write.units.values())
        for unit in units:
            unit_plan.add(unit.name, unit_tag(unit.name, unit.key), unit.additions)
        text = plan_text({**plan.fields, **unit_plan.fields(), "hold": as_json(hold)})
        arguments = [text, "\n".join(unit_plan.begins)]
        reply = str(self._add(keys=plan.keys, args=arguments), "utf-8")
        what, _, rest = reply.partition(":")
        if what == "overflow":
            return WriteResult(WriteOutcome.OVERFLOW, units[int(rest) - 1].name)
        return self.results([one], reply)[0]

    # -- reading

    def read(
        self, client: Any, fields: dict[str, list[str]]
    ) -> tuple[float, list[list[bytes]]]:
        """
        Read cells without what the journal adds to them; see :meth:`read_all`.
        """
        now, cells, _ = self.read_all(client, fields, ())
        return now, cells

    def read_all(
        self, client: Any, fields: dict[str, list[str]], names: Collection[str]
    ) -> tuple[float, list[list[bytes]], Journal | None]:
        """
        Read cells, and the journal.

        :param client: the client to use.
        :param fields: the fields of the cells, by key.
        :param names: the names of their Metricas.
        :returns: the time of the server in milliseconds; the cells for each key,
            ``b""`` for a missing one; and the journal, if it is not empty.
        """
        reply = self._read(
            keys=[*self._journal, *fields],
            args=[as_json(list(fields.values()))],
            client=client,
        )
        journal = None
        if isinstance(reply, list):
            reply, *progress, rows = reply
            journal = Journal(progress_of(progress), rows, names)
        return *split_cells(reply, [len(some) for some in fields.values()]), journal

    def total(self, client: Any, key: str, field: str) -> tuple[bytes | None, bool]:
        """
        Read a cell, if the journal is empty.

        :param client: the client to use.
        :returns: the cell, and whether the journal was empty.
        """
        keys = [self._journal[0], key]
        try:
            # A fifth faster than the object for the script, of redis-py.
            found = client.evalsha(self._total.sha, 2, *keys, field)
        except NoScriptError:
            found = self._total(keys=keys, args=[field], client=client)
        return (None, False) if isinstance(found, list) else (found, True)

    def rows(self) -> tuple[int, list[bytes]]:
        """
        Read the journal.

        :returns: the number of its last row, and its rows.
        """
        rows, state = self._journal[:2]
        with self._client.pipeline(transaction=True) as pipeline:
            pipeline.hget(state, "folded")
            pipeline.lrange(rows, 0, -1)
            folded, found = pipeline.execute()
        return int(folded or 0) + len(found), found

    def now(self) -> float:
        """
        Return the time of the server in milliseconds.
        """
        seconds, microseconds = self._client.time()
        return float(seconds * 1000 + microseconds // 1000)

    def call(self, commands: Sequence[Sequence[str]]) -> list[Any]:
        """
        Run commands that read.

        :param commands: for each its name, its key, and its other arguments.
        """
        with self._client.pipeline(transaction=False) as pipeline:
            for words in commands:
                pipeline.execute_command(*words)
            return list(pipeline.execute())

    # -- changes of Metricas

    def drop(
        self, name: str, unchanged: tuple[str, str, str, str] | None, hold: str
    ) -> bool | None:
        """
        Delete a Metrica. No row of the journal has its name.

        :param name: its name.
        :param unchanged: a cell that must be unchanged: the tag of its unit, the ending
            of its key, its field and its bytes in hexadecimal digits.
        :param hold: the number of the hold of its name.
        :returns: whether this call deleted it; ``None`` if it is not held any more.
        """
        shard = shard_of(name)
        keys = [*self._journal, self._keys.names(shard), self._keys.units(shard)]
        arguments = [name, *tags_of(name), self._keys.prefix, hold]
        if unchanged is not None:
            tag, ending, field, digits = unchanged
            keys.append(self._keys.key(tag, ending))
            arguments += [field, digits]
        return _as_bool(self._drop(keys=keys, args=arguments))

    def rename(self, name: str, new: str, hold: str) -> bool | None:
        """
        Give a Metrica another name. No row of the journal has its name.

        :param hold: the number of the hold of its name.
        :returns: whether this call renamed it; ``None`` if it is not held any more.
        """
        keys = [
            key
            for shard in map(shard_of, (name, new))
            for key in (self._keys.names(shard), self._keys.units(shard))
        ]
        quoted = [as_json(name), as_json(new)]
        arguments = [name, new, *quoted, *tags_of(name), self._keys.prefix, hold]
        return _as_bool(self._rename(keys=[*self._journal, *keys], args=arguments))


def _as_bool(reply: int | None) -> bool | None:
    return None if reply is None else bool(reply)
