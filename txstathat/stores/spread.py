"""
Spreads the additions of a batch over its cells: over the time buckets that several
increments have in common, and over the keys above a key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from json import JSONDecoder
from typing import TypeAlias, TypeVar

from txstathat.stores.interface import (
    Above,
    Addition,
    Amounts,
    Increment,
    Key,
    TimeBucket,
)
from txstathat.stores.sums import Events, merge

__all__ = [
    "add_up",
    "key_parts",
    "key_text",
    "lists_of",
    "longest_lasting",
    "merge_amounts",
    "roll_up",
    "spread",
]

Kind = TypeVar("Kind")
Bucket = TypeVar("Bucket")

_Cells: TypeAlias = Mapping[str, Mapping[Key, Addition]]

_DECODER = JSONDecoder()


def key_text(key: Key) -> str:
    """
    Return the text of a key.
    """
    return key if isinstance(key, str) else f"[{','.join(key)}]"


def key_parts(text: str) -> tuple[str, ...]:
    """
    Return the parts of a key; none if it is not a JSON list without spaces.

    :param text: the key.
    """
    parts = []
    at = 1
    try:
        while at < len(text) - 1:
            _, end = _DECODER.raw_decode(text, at)
            parts.append(text[at:end])
            at = end + 1
    except ValueError:
        return ()
    return tuple(parts)


def add_up(total: dict[Kind, Addition], more: Iterable[tuple[Kind, Addition]]) -> None:
    """
    Add sums to others.

    :param total: the sums to which they are added.
    :param more: the sums.
    """
    find = total.get
    for key, one in more:
        old = find(key)
        total[key] = one if old is None else merge(old, one)


def lists_of(buckets: Iterable[Iterable[Bucket]]) -> dict[Bucket, tuple[int, ...]]:
    """
    Return in which lists each time bucket is, as the ordered indexes of the lists.

    :param buckets: lists of time buckets.
    """
    sets: dict[Bucket, list[int]] = {}
    for number, one in enumerate(buckets):
        for bucket in one:
            sets.setdefault(bucket, []).append(number)
    return {bucket: tuple(numbers) for bucket, numbers in sets.items()}


def roll_up(
    cells: Mapping[Key, Addition],
    above: Above,
    wanted: Sequence[Collection[str]] | None = None,
) -> dict[Key, Addition]:
    """
    Add to the keys above each key. One part of the keys after the other is rolled up:
    so sums that meet are added once.

    :param cells: the sums by key; all keys have as many parts as ``above``.
    :param above: the parts above each part.
    :param wanted: for each place in a key, the parts that are of interest; by default
        all.
    :returns: the sums by key, with those above.
    """
    rolled: dict[tuple[str, ...], Addition] = dict(cells)  # type: ignore[arg-type]
    for n, parts in enumerate(above):
        interesting = None if wanted is None else wanted[n]
        more = []
        for key, sums in rolled.items():
            for part in parts.get(key[n], ()):
                if interesting is None or part in interesting:
                    more.append(((*key[:n], part, *key[n + 1 :]), sums))
        if interesting is not None:
            rolled = {key: one for key, one in rolled.items() if key[n] in interesting}
        add_up(rolled, more)
    return rolled  # type: ignore[return-value]


def merge_amounts(several: Sequence[Amounts]) -> Amounts:
    """
    Return what several batches add together.

    :param several: what each of them adds; a Metrica has the same definition in all.
    """
    if len(several) == 1:
        return several[0]
    definitions: dict[str, str] = {}
    cells: dict[tuple[TimeBucket, ...], list[_Cells]] = {}
    events: dict[tuple[TimeBucket, ...], tuple[list[str], list[int | float]]] = {}
    choices: dict[tuple[str, str], dict[str, None]] = {}
    above: dict[str, list[dict[str, Sequence[str]]]] = {}
    for amounts in several:
        definitions.update(amounts.definitions)
        for increment in amounts.increments:
            buckets = tuple(increment.buckets)
            if isinstance(increment, Events):
                # It is faster to sum up all of them together.
                names, values = events.setdefault(buckets, ([], []))
                names += increment.names
                values += increment.amounts
            else:
                cells.setdefault(buckets, []).append(increment.cells)
        for group, texts in amounts.choices.items():
            choices.setdefault(group, {}).update(dict.fromkeys(texts))
        for name, places in amounts.above.items():
            merged = above.setdefault(name, [{} for _ in places])
            for parts, more in zip(merged, places, strict=True):
                parts.update(more)
    return Amounts(
        definitions,
        [
            *(Events(buckets, *columns) for buckets, columns in events.items()),
            *(
                Increment(buckets, _merge_cells(some))
                for buckets, some in cells.items()
            ),
        ],
        {group: list(texts) for group, texts in choices.items()},
        above,
    )


def longest_lasting(
    buckets: Iterable[Iterable[TimeBucket]],
) -> dict[tuple[str, str], TimeBucket]:
    """
    Return time buckets by scale and label: of those that differ only in when they
    expire, the one that lasts longest.

    :param buckets: lists of time buckets.
    """
    found: dict[tuple[str, str], TimeBucket] = {}
    for bucket in chain.from_iterable(buckets):
        old = found.setdefault(bucket[:2], bucket).ttl
        if old is not None and (bucket.ttl is None or bucket.ttl > old):
            found[bucket[:2]] = bucket
    return found


def spread(amounts: Amounts) -> list[Increment]:
    """
    Return the increments of a batch so that each time bucket is in one of them, and all
    keys are texts.

    :param amounts: what the batch adds.
    """
    ttls = longest_lasting(one.buckets for one in amounts.increments)
    lists = [[one[:2] for one in each.buckets] for each in amounts.increments]
    cells = [increment.cells for increment in amounts.increments]
    found: dict[tuple[int, ...], list[TimeBucket]] = {}
    for place, numbers in lists_of(lists).items():
        found.setdefault(numbers, []).append(ttls[place])
    increments = []
    for numbers, buckets in found.items():
        merged = _merge_cells([cells[n] for n in numbers])
        texts = {
            name: _texts(additions, amounts.above.get(name))
            for name, additions in merged.items()
        }
        increments.append(Increment(buckets, texts))
    return increments


def _merge_cells(several: Sequence[_Cells]) -> dict[str, Mapping[Key, Addition]]:
    merged = dict(several[0])
    totals: dict[str, dict[Key, Addition]] = {}
    for cells in several[1:]:
        for name, additions in cells.items():
            if name not in merged:
                merged[name] = additions
                continue
            total = totals.get(name)
            if total is None:
                merged[name] = total = totals[name] = dict(merged[name])
            add_up(total, additions.items())
    return merged


def _texts(
    additions: Mapping[Key, Addition], above: Above | None
) -> dict[Key, Addition]:
    texts: dict[Key, Addition] = {}
    rolled = additions if above is None else roll_up(additions, above)
    # A text and a tuple may be the same key.
    add_up(texts, ((key_text(key), one) for key, one in rolled.items()))
    return texts
