"""
From events to cells: in which cells an event counts, and the keys of these cells.

On each axis an event counts under its choice and under "all". It counts in one cell for
each combination of these, in one time bucket of each stored scale. A batch contains the
event and what is above its choices; the store finds the cells. The key of a cell is
JSON: for each axis a choice, or ``null`` for all choices. So different selections have
different keys, whatever texts the choices are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from math import prod
from typing import Any, TypeAlias

from txstathat.metrica.axes import Axis, Choice, as_json
from txstathat.metrica.calendar import ALL, coarsen
from txstathat.stores.interface import (
    Above,
    TimeBucket,
)
from txstathat.stores.sums import SumColumns

__all__ = [
    "YEARS",
    "Event",
    "buckets_of",
    "cell_key",
    "cells_of",
    "choice_group",
    "distinct_choices",
    "increments",
    "keys_above",
    "seen_choices",
]

#: The choices of an event, one for each axis; ``None`` for an unknown choice.
Event: TypeAlias = tuple[Choice | None, ...]

# The part of a key for all choices of an axis.
_EVERY_CHOICE = as_json(None)

#: The group of choices for the years with events. No group of an axis has this name.
YEARS = "years"


def cell_key(event: Event) -> str:
    """
    Return the key of the cell for all events with these choices.
    """
    return as_json(event)


def choice_group(axis: str, path: Sequence[str] = ()) -> str:
    """
    Return the name of the group of the choices of an axis.

    :param axis: the keyword of the axis.
    :param path: on a hierarchical axis: the group of the parts one level below this.
    """
    return as_json([axis, *path])


def cells_of(axes: Sequence[Axis], event: Event) -> int:
    """
    Return in how many cells of each time bucket an event counts.
    """
    return prod(
        1 + (0 if choice is None else len(axis.prefixes(choice)))
        for axis, choice in zip(axes, event, strict=True)
    )


def buckets_of(label: str, retention: Mapping[str, float | None]) -> list[TimeBucket]:
    """
    Return the time buckets in which an event counts, from the coarsest.

    :param label: the label of its time bucket in the finest scale, or finer.
    :param retention: the stored scales, finest last, and for how many seconds.
    """
    return [
        TimeBucket(ALL, "", None),
        *(TimeBucket(one, coarsen(label, one), ttl) for one, ttl in retention.items()),
    ]


def increments(
    name: str,
    retention: Mapping[str, float | None],
    sums: Mapping[str, Mapping[Event, Iterable[Any]]],
) -> list[SumColumns]:
    """
    Return what to add to the store for some events.

    :param name: the name of the Metrica.
    :param retention: its stored scales, finest last, and for how many seconds.
    :param sums: the fields of an addition for each event, by label of the time bucket
        in the finest scale and by choices.
    """
    text_of = _Texts().__getitem__
    return [
        SumColumns(
            buckets_of(label, retention),
            name,
            [list(map(text_of, choices)) for choices in zip(*some, strict=True)],
            list(zip(*some.values(), strict=True)),
        )
        for label, some in sums.items()
    ]


class _Texts(dict[Choice | None, str]):
    """
    The JSON of choices, each encoded once.
    """

    def __missing__(self, choice: Choice | None) -> str:
        text = self[choice] = as_json(choice)
        return text


def distinct_choices(events: Iterable[Event]) -> list[set[Choice]]:
    """
    Return the choices of some events, for each axis.
    """
    return [{*choices} - {None} for choices in zip(*events, strict=True)]


def keys_above(axes: Sequence[Axis], choices: Sequence[Collection[Choice]]) -> Above:
    """
    Return, for each axis, the parts of keys above a choice: "all", and on a
    hierarchical axis the beginnings of its path.

    :param axes: the axes.
    :param choices: the choices on each axis.
    """
    above: list[dict[str, list[str]]] = []
    for axis, some in zip(axes, choices, strict=True):
        parts = {}
        for choice in some:
            *higher, text = map(as_json, axis.prefixes(choice))
            parts[text] = [_EVERY_CHOICE, *higher]
        above.append(parts)
    return above


def seen_choices(
    name: str,
    axes: Mapping[str, Axis],
    choices: Sequence[Collection[Choice]],
    labels: Iterable[str],
) -> dict[tuple[str, str], list[str]]:
    """
    Return the choices of some events that the store should remember.

    :param name: the name of the Metrica.
    :param axes: its axes by keyword.
    :param choices: the choices of the events on each axis.
    :param labels: the labels of their time buckets.
    :returns: the choices as JSON, by name and group.
    """
    groups: dict[tuple[str, str], set[str]] = {
        (name, YEARS): {label[:4] for label in labels}
    }
    for (keyword, axis), some in zip(axes.items(), choices, strict=True):
        for choice in some:
            for path, text in axis.groups(choice):
                group = (name, choice_group(keyword, path))
                groups.setdefault(group, set()).add(as_json(text))
    return {group: sorted(texts) for group, texts in groups.items()}
