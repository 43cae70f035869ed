"""
Axes: the parameters by which events can be told apart.

Inside, a choice is text (or, on a hierarchical axis, a tuple of texts). Outside, it is
what the axis says it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

__all__ = ["Axis", "Choice", "HierarchicalAxis", "StoredChoiceAxis"]

_ENCODER = json.JSONEncoder(separators=(",", ":"), sort_keys=True)

#: A choice as it is kept: text, or a path of texts.
Choice: TypeAlias = str | tuple[str, ...]


class Axis:
    """
    A parameter of an event.

    A choice is its ``str()``: 18 and ``'18'`` are one.

    :param choices: the only values that are allowed; they come back as they were given
        here, in this order. Without them any value is allowed and those seen are
        remembered, as on a :class:`StoredChoiceAxis`.
    :param value_type: ``str`` or ``int``: what remembered choices come back as.
    :raises ValueError: if two of the choices have the same text, if there are none, or
        if one is not of the value type.
    """

    _kind = "stored"

    def __init__(
        self, choices: Sequence[Any] | None = None, *, value_type: type = str
    ) -> None:
        if value_type not in (str, int):
            raise ValueError(f"value_type must be str or int, not {value_type!r}")
        self._int = value_type is int
        #: The choices that are allowed, or ``None`` when any is.
        self.choices: list[Any] | None = None
        self._allowed: dict[str, Any] = {}
        if choices is not None:
            for choice in choices:
                text = self._text(choice)
                if text in self._allowed:
                    raise ValueError(f"the choice {text!r} is there twice")
                self._allowed[text] = choice
            if not self._allowed:
                raise ValueError("choices must not be empty")
            self.choices = list(self._allowed.values())

    def encode(self, value: Any) -> Choice:
        """
        A value as it is kept.

        :raises ValueError: if the axis does not allow it.
        """
        text = value if type(value) is str and not self._int else self._text(value)
        if self._allowed and text not in self._allowed:
            raise ValueError(
                f"{text!r} is none of the choices: "
                + ", ".join(map(repr, self._allowed))
            )
        return text

    def decode(self, choice: Choice) -> Any:
        """
        A kept choice as the value it stands for.
        """
        if self._allowed:
            return self._allowed[str(choice)]
        return int(str(choice)) if self._int else choice

    def groups(self, choice: Choice) -> list[tuple[tuple[str, ...], str]]:
        """
        What to remember of a choice: in which group of choices, and as what.
        """
        return [] if self._allowed else [((), str(choice))]

    def prefixes(self, choice: Choice) -> list[Choice]:
        """
        All the choices under which an event with this choice counts.
        """
        return [choice]

    def describe(self) -> list[Any]:
        """
        The axis, as it is kept with the Metrica's name.
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
        Remembered choices in the order in which they are told.
        """
        return sorted(texts, key=self._sort_key)

    def _text(self, value: Any) -> str:
        if not self._int:
            return str(value)
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise ValueError(f"{value!r} is no whole number")
        try:
            # By way of int, so that '018' and 18 are one.
            return str(int(value))
        except ValueError:
            raise ValueError(f"{value!r} is no whole number") from None


class StoredChoiceAxis(Axis):
    """
    An axis on which any value is allowed; the values seen are remembered.

    :param value_type: ``int`` to have them come back as ints, else they are strings. An
        int axis refuses booleans, and text that is no whole number.
    """

    def __init__(self, *, value_type: type = str) -> None:
        super().__init__(value_type=value_type)


class HierarchicalAxis(Axis):
    """
    An axis whose values are paths: tuples. An event at ``('out', 'se', 'google')`` also
    counts under ``('out',)`` and ``('out', 'se')``.
    """

    _kind = "hierarchical"

    #: How many parts a path may have.
    MAX_DEPTH = 16

    def __init__(self) -> None:
        super().__init__()

    def encode(self, value: Any) -> Choice:
        """
        A path as it is kept.

        :raises ValueError: if it is no tuple or list, is empty, or is too deep.
        """
        if not isinstance(value, (tuple, list)):
            raise ValueError(f"{value!r} is no path: pass a tuple, such as ('a', 'b')")
        if not 1 <= len(value) <= self.MAX_DEPTH:
            raise ValueError(
                f"a path has 1 to {self.MAX_DEPTH} parts, not {len(value)}"
            )
        return tuple(str(part) for part in value)

    def decode(self, choice: Choice) -> Any:
        """
        A path is told as it is kept.
        """
        return tuple(choice)

    def groups(self, choice: Choice) -> list[tuple[tuple[str, ...], str]]:
        """
        Each part of a path is remembered under the parts before it.
        """
        path = tuple(choice)
        return [(path[:n], part) for n, part in enumerate(path)]

    def prefixes(self, choice: Choice) -> list[Choice]:
        """
        The path, and each path above it.
        """
        path = tuple(choice)
        return [path[: n + 1] for n in range(len(path))]


def as_json(thing: Any) -> str:
    """
    The one way in which choices, keys and definitions are written: JSON in ASCII, the
    shortest. It is collision-free for any text, and the same everywhere.
    """
    return _ENCODER.encode(thing)
