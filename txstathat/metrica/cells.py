"""
From events to cells: in which cells an event counts, and the keys of these cells.

On each axis an event counts under its choice and under "all". It counts in one cell for
each combination of these, in one time bucket of each stored scale. A batch contains the
event and what is above its choices; the store finds the cells. The key of a cell is
JSON: for each axis a choice, or ``null`` for all choices. So different selections have
different keys, whatever texts the choices are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import TypeAlias

from txstathat.metrica.axes import Axis, Choice, as_json
from txstathat.metrica.calendar import ALL, coarsen
from txstathat.stores.interface import (
    Above,
    Addition,
    Increment,
    Key,
    TimeBucket,
)

__all__ = [
    "YEARS",
    "Event",
    "buckets_of",
    "cell_key",
    "cells_of",
    "choice_group",
    "increments",
    "keys_above",
    "seen_choices",
]

#: The choices of an event, one for each axis; ``None`` for an unknown choice.
Event: TypeAlias = tuple[Choice | None, ...]

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
    additions: Mapping[tuple[str, Event], Addition],
) -> list[Increment]:
    """
    Return what to add to the store for some events.

    :param name: the name of the Metrica.
    :param retention: its stored scales, finest last, and for how many seconds.
    :param additions: the events, by label of the time bucket in the finest scale and by
        choices.
    """
    by_label: dict[str, dict[Key, Addition]] = {}
    texts: dict[Choice | None, str] = {}
    for (label, event), addition in additions.items():
        for choice in event:
            if choice not in texts:
                texts[choice] = as_json(choice)
        key = tuple([texts[choice] for choice in event])
        by_label.setdefault(label, {})[key] = addition
    return [
        Increment(buckets_of(label, retention), {name: cells})
        for label, cells in by_label.items()
    ]


def keys_above(axes: Sequence[Axis], events: Iterable[Event]) -> Above:
    """
    Return, for each axis, the parts of keys above a choice: "all", and on a
    hierarchical axis the beginnings of its path.

    :param axes: the axes.
    :param events: the events.
    """
    above: list[dict[str, list[str]]] = []
    for axis, choices in zip(axes, zip(*events, strict=True), strict=True):
        parts = {}
        for choice in set(choices):
            if choice is not None:
                *higher, text = map(as_json, axis.prefixes(choice))
                parts[text] = [as_json(None), *higher]
        above.append(parts)
    return above


def seen_choices(
    name: str,
    axes: Sequence[tuple[str, Axis]],
    additions: Mapping[tuple[str, Event], Addition],
) -> dict[tuple[str, str], list[str]]:
    """
    Return the choices of some events that the store should remember.

    :param name: the name of the Metrica.
    :param axes: its axes with their keywords.
    :param additions: the events, by label of the time bucket and by choices.
    :returns: the choices as JSON, by name and group.
    """
    groups: dict[tuple[str, str], set[str]] = {
        (name, YEARS): {label[:4] for label, _ in additions}
    }
    for n, (keyword, axis) in enumerate(axes):
        for choice in {event[n] for _, event in additions}:
            if choice is not None:
                for path, text in axis.groups(choice):
                    group = (name, choice_group(keyword, path))
                    groups.setdefault(group, set()).add(as_json(text))
    return {group: sorted(texts) for group, texts in groups.items()}
