"""
A batch as the scripts of a Redis store take it, and its cells as the texts that they
are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from txstathat.stores.interface import Addition, Batch, Cell, TimeBucket
from txstathat.stores.redis.keys import Keys, as_json
from txstathat.stores.sums import as_cell

__all__ = ["Part", "milliseconds", "read_addition", "read_cell"]


class Part:
    """
    The part of a batch that one call of :data:`.redis_scripts.ADD` adds.

    :param keys: the store's keys.
    :param batch: the batch.
    :param tag: of the slot in which all of it is.

    :ivar definitions: of Metricas, by name.
    :ivar choices: choices seen, with their Metrica's name and group.
    """

    def __init__(self, keys: Keys, batch: Batch, tag: str) -> None:
        self._keys = keys
        self._batch = batch
        self._tag = tag
        self._call: tuple[list[str], str] | None = None
        self.definitions: Any = {}
        self.increments: list[
            tuple[str, Sequence[TimeBucket], Mapping[str, Addition]]
        ] = []
        self.choices: list[tuple[tuple[str, str], Sequence[str]]] = []

    def add(
        self, name: str, stretches: Sequence[TimeBucket], cells: Mapping[str, Addition]
    ) -> None:
        """
        Add to some stretches of a Metrica.
        """
        self.increments.append((name, stretches, cells))

    def call(self) -> tuple[list[str], str]:
        """
        What the script is called with: keys, and the plan.
        """
        if self._call is None:
            self._call = self._prepare()
        return self._call

    def _prepare(self) -> tuple[list[str], str]:
        keys = [
            self._keys.key(self._tag, f"part:{self._batch.id}"),
            self._keys.key(self._tag, "scratch"),
            # A part without definitions does not touch them, and may be elsewhere.
            self._keys.names if self.definitions else self._keys.key(self._tag, "none"),
        ]
        # What is added in several places need be told only once.
        cells: list[list[str]] = []
        numbers: dict[int, int] = {}
        increments: list[list[str | int]] = []
        for name, stretches, added in self.increments:
            number = numbers.get(id(added))
            if number is None:
                cells.append(_flat(added.items()))
                number = numbers[id(added)] = len(cells)
            increments.append([name, number, len(keys) + 1])
            for scale, label, keep in stretches:
                keys.append(self._keys.stretch(name, scale, label))
                kept = "" if keep is None else milliseconds(keep)
                increments[-1].append(kept)
        choices = []
        for (name, group), seen in self.choices:
            keys.append(self._keys.choices(name, group))
            choices.append([len(keys), *seen])
        plan = {
            "digest": self._batch.digest,
            "remember": milliseconds(self._batch.remember),
            "definitions": [text for both in self.definitions.items() for text in both],
            "cells": cells,
            "increments": increments,
            "choices": choices,
        }
        return keys, as_json(plan)


def _flat(cells: Iterable[tuple[str, Addition]]) -> list[str]:
    flat = []
    for key, (whole, events, least, most, real, rest) in cells:
        flat.append(key)
        if real is None:
            flat.append(f"{whole} {events} {least} {most}")
        else:
            flat.append(f"{whole} {events} {least!r} {most!r} {real!r} {rest!r}")
    return flat


def read_addition(text: str) -> Addition:
    """
    What a cell is made of.

    :param text: the cell's text.
    """
    whole, events, least, most, *floats = text.split(" ")
    real, rest = map(float, floats) if floats else (None, 0.0)
    return Addition(int(whole), int(events), _number(least), _number(most), real, rest)


def read_cell(text: str) -> Cell:
    """
    The cell that a text stands for.
    """
    return as_cell(*read_addition(text))


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def milliseconds(seconds: float) -> str:
    """
    A time to keep, as Redis takes it.
    """
    return str(max(1, int(seconds * 1000)))
