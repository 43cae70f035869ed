"""
From events to cells: which cells an event counts in, and what they are called.

An event counts in each combination of its choices and "all", in each kept stretch of
time. A key says for each axis which choice, or ``null`` for all of them, as JSON: so no
two selections share a key, whatever text the choices are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TypeAlias, TypeVar

from txstathat.metrica.axes import Axis, Choice, as_json
from txstathat.metrica.calendar import ALL, coarsen
from txstathat.stores.interface import Addition, Increment, TimeBucket
from txstathat.stores.sums import merge

__all__ = [
    "YEARS",
    "Event",
    "cell_key",
    "cells_of",
    "choice_group",
    "increments",
    "seen_choices",
    "spread",
]

#: What an event was: on each axis its choice, or ``None`` when it is not known.
Event: TypeAlias = tuple[Choice | None, ...]

Kind = TypeVar("Kind")

#: The group in which the years seen are remembered. No axis's group has this name.
YEARS = "years"


def cell_key(event: Event) -> str:
    """
    The key of the cell in which everything counts that has these choices.
    """
    return as_json(event)


def choice_group(axis: str, path: Sequence[str] = ()) -> str:
    """
    The name of the group in which choices are remembered: those of an axis, or those
    one level below a path.
    """
    return as_json([axis, *path])


def cells_of(axes: Sequence[Axis], event: Event) -> int:
    """
    In how many cells of each stretch an event counts.
    """
    return prod(
        1 + (0 if choice is None else len(axis.prefixes(choice)))
        for axis, choice in zip(axes, event, strict=True)
    )


def spread(
    keep: Mapping[str, float | None],
    finest: Mapping[str, Mapping[Kind, Addition]],
) -> list[tuple[list[TimeBucket], Mapping[Kind, Addition]]]:
    """
    All stretches in which something counts.

    :param keep: the scales that are kept, finest last, and for how many seconds.
    :param finest: what happened, by stretch of the finest scale, and in it by event, or
        by whatever else is to be told apart.
    :returns: stretches, with what happened in each of them.
    """
    # A coarser stretch that holds one finer one holds the same: the same mapping then.
    shared: dict[int, tuple[list[TimeBucket], Mapping[Kind, Addition]]] = {}
    by_label = finest
    for scale in (*reversed([*keep]), ALL):
        groups: dict[str, list[Mapping[Kind, Addition]]] = {}
        for label, happened in by_label.items():
            groups.setdefault(coarsen(label, scale), []).append(happened)
        by_label = {
            label: group[0] if len(group) == 1 else _merged(group)
            for label, group in groups.items()
        }
        for label, happened in by_label.items():
            stretches, _ = shared.setdefault(id(happened), ([], happened))
            stretches.append(TimeBucket(scale, label, keep.get(scale)))
    return list(shared.values())


def increments(
    name: str,
    axes: Sequence[Axis],
    keep: Mapping[str, float | None],
    additions: Mapping[tuple[str, Event], Addition],
) -> list[Increment]:
    """
    All that must be added to a store for some events.

    :param name: the Metrica's name.
    :param axes: its axes.
    :param keep: the scales it keeps, finest last, and for how many seconds.
    :param additions: what happened, by stretch of the finest scale and event.
    """
    by_label: dict[str, dict[Event, Addition]] = {}
    for (label, event), addition in additions.items():
        by_label.setdefault(label, {})[event] = addition
    return [
        Increment(stretches, {name: _expand(axes, events)})
        for stretches, events in spread(keep, by_label)
    ]


def seen_choices(
    name: str,
    axes: Sequence[tuple[str, Axis]],
    additions: Mapping[tuple[str, Event], Addition],
) -> dict[tuple[str, str], list[str]]:
    """
    What must be remembered of the events' choices.
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


def _merged(group: Sequence[Mapping[Kind, Addition]]) -> dict[Kind, Addition]:
    whole = dict(group[0])
    for happened in group[1:]:
        for kind, addition in happened.items():
            old = whole.get(kind)
            whole[kind] = addition if old is None else merge(old, addition)
    return whole


def _expand(
    axes: Sequence[Axis], events: Mapping[Event, Addition]
) -> dict[str, Addition]:
    """
    The cells of a stretch, by rolling up one axis after the other: what stands under a
    choice is also added to what is above it, up to "all".
    """
    cells: dict[tuple[str, ...], Addition] = {}
    above: list[dict[str, list[str]]] = [{} for _ in axes]
    texts: list[dict[Choice | None, str]] = [{None: "null"} for _ in axes]
    for event, addition in events.items():
        parts = []
        for n, choice in enumerate(event):
            text = texts[n].get(choice)
            if text is None and choice is not None:
                *higher, text = map(as_json, axes[n].prefixes(choice))
                texts[n][choice] = text
                above[n][text] = ["null", *higher]
            parts.append(text or "null")
        cells[tuple(parts)] = addition
    for n, higher_than in enumerate(above):
        for key, addition in list(cells.items()):
            for part in higher_than.get(key[n], ()):
                place = (*key[:n], part, *key[n + 1 :])
                old = cells.get(place)
                cells[place] = addition if old is None else merge(old, addition)
    return {f"[{','.join(key)}]": addition for key, addition in cells.items()}
