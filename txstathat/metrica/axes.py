"""
Axes: the parameters of events.

The store has a choice as a text (on a hierarchical axis as several texts). An axis
converts it from and to the value in the program.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

__all__ = ["Axis", "Choice", "HierarchicalAxis", "StoredChoiceAxis"]

_ENCODER = json.JSONEncoder(separators=(",", ":"), sort_keys=True)

#: An encoded choice: text, or a path of texts.
Choice: TypeAlias = str | tuple[str, ...]


class Axis:
    """
    A parameter of an event.

    A choice is its ``str()``: 18 and ``'18'`` are the same choice.

    :param choices: the allowed values. Queries return them as they are here, in this
        order. Without this, any value is allowed, and the store remembers those it has
        seen, as on a :class:`StoredChoiceAxis`.
    :param value_type: ``str`` or ``int``: the type of remembered choices in results.
    :raises ValueError: if two of the choices have the same text, if the list is empty,
        or if a choice is not of the value type.
    """

    _kind = "stored"

    def __init__(
        self, choices: Sequence[Any] | None = None, *, value_type: type = str
    ) -> None:
        if value_type not in (str, int):
            raise ValueError(f"value_type must be str or int, not {value_type!r}")
        self._int = value_type is int
        self._text: Callable[[Any], str] = _whole_text if self._int else str
        #: The allowed choices, or ``None`` if any value is allowed.
        self.choices: list[Any] | None = None
        self._allowed: dict[str, Any] = {}
        if choices is not None:
            for choice in choices:
                text = self._text(choice)
                if text in self._allowed:
                    raise ValueError(f"the choice {text!r} occurs twice")
                self._allowed[text] = choice
            if not self._allowed:
                raise ValueError("choices must not be empty")
            self.choices = list(self._allowed.values())

    def encode(self, value: Any) -> Choice:
        """
        Encode a value.

        :raises ValueError: if the axis does not allow it.
        """
        text = self._text(value)
        if self._allowed and text not in self._allowed:
            raise ValueError(
                f"{text!r} is not one of the choices: "
                + ", ".join(map(repr, self._allowed))
            )
        return text

    @property
    def encoder(self) -> Callable[[Any], Choice]:
        """:meth:`encode`, or a faster function that does the same on this axis."""
        if self._allowed or type(self).encode is not Axis.encode:
            return self.encode
        return self._text

    def decode(self, choice: Choice) -> Any:
        """
        Return the value of an encoded choice.
        """
        if self._allowed:
            return self._allowed[str(choice)]
        return int(str(choice)) if self._int else choice

    def groups(self, choice: Choice) -> list[tuple[tuple[str, ...], str]]:
        """
        Return what to remember of a choice: pairs of a path, which names the group of
        choices, and a text.
        """
        return [] if self._allowed else [((), str(choice))]

    def prefixes(self, choice: Choice) -> list[Choice]:
        """
        Return all choices under which an event with this choice counts.
        """
        return [choice]

    def describe(self) -> list[Any]:
        """
        Return the axis as a part of the definition of its Metrica.
        """
        kind = "choices" if self._allowed else self._kind
        described: list[Any] = [kind, "int" if self._int else "str"]
        if self._allowed:
            described.append(list(self._allowed))
        return described

    @property
    def _sort_key(self) -> Callable[[Any], Any] | None:
        return int if self._int else None

    def sort(self, texts: Sequence[str]) -> list[str]:
        """
        Sort remembered choices into the order of results.
        """
        return sorted(texts, key=self._sort_key)


class StoredChoiceAxis(Axis):
    """
    An axis that allows any value. The store remembers the values it has seen.

    :param value_type: ``int`` or ``str``: the type of the values in results. An int
        axis refuses booleans, and texts that are not whole numbers.
    """

    def __init__(self, *, value_type: type = str) -> None:
        super().__init__(value_type=value_type)


class HierarchicalAxis(Axis):
    """
    An axis of paths, which are tuples. An event at ``('out', 'se', 'google')`` also
    counts under ``('out',)`` and ``('out', 'se')``. A text is a path of one part:
    ``'out'`` is ``('out',)``.
    """

    _kind = "hierarchical"

    #: How many parts a path has at most.
    MAX_DEPTH = 16

    def __init__(self) -> None:
        super().__init__()

    def encode(self, value: Any) -> Choice:
        """
        Encode a path.

        :param value: a tuple or list, or a text, which is a path of one part.
        :raises ValueError: if it is something else, is empty, or is too long.
        """
        if isinstance(value, str):
            return (value,)
        if not isinstance(value, (tuple, list)):
            raise ValueError(
                f"{value!r} is not a path; pass a tuple, such as ('a', 'b')"
            )
        if not 1 <= len(value) <= self.MAX_DEPTH:
            raise ValueError(
                f"a path has 1 to {self.MAX_DEPTH} parts, not {len(value)}"
            )
        return tuple(str(part) for part in value)

    def decode(self, choice: Choice) -> Any:
        """
        Return the path of an encoded choice.
        """
        return tuple(choice)

    def groups(self, choice: Choice) -> list[tuple[tuple[str, ...], str]]:
        """
        Return each part of the path, with the parts before it as its group.
        """
        path = tuple(choice)
        return [(path[:n], part) for n, part in enumerate(path)]

    def prefixes(self, choice: Choice) -> list[Choice]:
        """
        Return the path, and each path above it.
        """
        path = tuple(choice)
        return [path[: n + 1] for n in range(len(path))]


def _whole_text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"{value!r} is not a whole number")
    try:
        # int() makes '018' and 18 the same choice.
        return str(int(value))
    except ValueError:
        raise ValueError(f"{value!r} is not a whole number") from None


def as_json(thing: Any) -> str:
    """
    Encode choices, keys and definitions as JSON, in ASCII and without spaces. The
    result is unique for any text, and the same on every machine.
    """
    return _ENCODER.encode(thing)
