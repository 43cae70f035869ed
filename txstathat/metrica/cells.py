"""
From events to cells: in which cells an event counts, and the keys of these cells.

An event counts in each combination of its choices and "all", in one time bucket of each
stored scale. The key of a cell is JSON: for each axis a choice, or ``null`` for all of
them. So different selections have different keys, for any text as a choice.
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

#: The choices of an event, one for each axis; ``None`` for an unknown choice.
Event: TypeAlias = tuple[Choice | None, ...]

Kind = TypeVar("Kind")

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


def spread(
    retention: Mapping[str, float | None],
    by_label: Mapping[str, Mapping[Kind, Addition]],
) -> list[tuple[list[TimeBucket], Mapping[Kind, Addition]]]:
    """
    Spread additions over the time buckets of all stored scales.

    :param retention: the stored scales, finest last, and for how many seconds.
    :param by_label: the additions by label of a time bucket, which must be of the
        finest scale or finer, then by event (or any other key).
    :returns: lists of time buckets, with the additions to each bucket in the list. A
        bucket is in only one list.
    """
    # A coarser bucket with only one finer bucket in it has the same additions: then the
    # two are in the same list, and share one mapping.
    spreads: list[tuple[list[TimeBucket], Mapping[Kind, Addition]]] = [
        ([], additions) for additions in by_label.values()
    ]
    current = dict(zip(by_label, spreads, strict=True))
    for scale in (*reversed([*retention]), ALL):
        groups: dict[str, list[tuple[list[TimeBucket], Mapping[Kind, Addition]]]] = {}
        for label, finer in current.items():
            groups.setdefault(coarsen(label, scale), []).append(finer)
        current = {}
        for label, group in groups.items():
            if len(group) == 1:
                current[label] = group[0]
            else:
                current[label] = ([], _merged([additions for _, additions in group]))
                spreads.append(current[label])
            buckets, _ = current[label]
            buckets.append(TimeBucket(scale, label, retention.get(scale)))
    # If the labels are finer than the finest scale, some were only merged.
    return [(buckets, additions) for buckets, additions in spreads if buckets]


def increments(
    name: str,
    axes: Sequence[Axis],
    retention: Mapping[str, float | None],
    additions: Mapping[tuple[str, Event], Addition],
) -> list[Increment]:
    """
    Return what to add to the store for some events.

    :param name: the name of the Metrica.
    :param axes: its axes.
    :param retention: its stored scales, finest last, and for how many seconds.
    :param additions: the events, by label of the time bucket in the finest scale and by
        choices.
    """
    by_label: dict[str, dict[Event, Addition]] = {}
    for (label, event), addition in additions.items():
        by_label.setdefault(label, {})[event] = addition
    return [
        Increment(buckets, {name: _expand(axes, events)})
        for buckets, events in spread(retention, by_label)
    ]


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


def _merged(group: Sequence[Mapping[Kind, Addition]]) -> dict[Kind, Addition]:
    merged = dict(group[0])
    for additions in group[1:]:
        for kind, addition in additions.items():
            old = merged.get(kind)
            merged[kind] = addition if old is None else merge(old, addition)
    return merged


def _expand(
    axes: Sequence[Axis], events: Mapping[Event, Addition]
) -> dict[str, Addition]:
    """
    Return the cells of a time bucket. One axis after the other is rolled up: each cell
    is also added to the cells above it, up to "all".
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
    for n, parts_above in enumerate(above):
        for key, addition in list(cells.items()):
            for part in parts_above.get(key[n], ()):
                key_above = (*key[:n], part, *key[n + 1 :])
                old = cells.get(key_above)
                cells[key_above] = addition if old is None else merge(old, addition)
    return {f"[{','.join(key)}]": addition for key, addition in cells.items()}
