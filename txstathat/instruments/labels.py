"""
Labels of events, limited in number, and stat names made of labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from string import Formatter
from typing import cast

from txstathat.points.names import MAX_NAME, check_name
from txstathat.printable import printable

__all__ = ["OTHER", "Labels", "StatName", "class_label"]

#: The label of everything beyond the limit.
OTHER = "other"


def _class_label(cls: type) -> str:
    """
    The module and name of a class; of a built-in class only the name.
    """
    if cls.__module__ == "builtins":
        return cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}"


class_label = cast("Callable[[type], str]", lru_cache(maxsize=1024)(_class_label))


class Labels(dict[str, str]):
    """
    The labels seen first. Looking up one of them returns it; looking up a label beyond
    the limit returns :data:`OTHER`.

    :param maximum: the limit, at least 1; :data:`OTHER` does not count.
    :raises ValueError: if the limit is below 1.
    :ivar refused: how often :data:`OTHER` replaced a label.
    """

    def __init__(self, maximum: int) -> None:
        super().__init__()
        if maximum < 1:
            raise ValueError(f"maximum={maximum!r}: must be at least 1")
        self.refused = 0
        self._maximum = maximum

    def __missing__(self, label: str) -> str:
        if len(self) >= self._maximum:
            self.refused += 1
            return OTHER
        self[label] = label
        return label


class StatName:
    """
    A template for stat names, such as ``'{view} ms'``.

    :param template: a text with the names of fields in braces.
    :param fields: the known fields.
    :raises ValueError: if the template has an unknown field, or makes invalid names.
    """

    def __init__(self, template: str, fields: Iterable[str]) -> None:
        known = sorted(fields)
        for _, field, spec, conversion in Formatter().parse(template):
            if field is not None and (field not in known or spec or conversion):
                raise ValueError(
                    f"{template!r}: a field must be one of "
                    f"{', '.join(f'{{{name}}}' for name in known)}"
                )
        self._template = template
        check_name(self.of(**dict.fromkeys(known, "x")))

    def of(self, **fields: str) -> str:
        """
        Make the name. It is always valid: ``~``, which would post to several stats,
        becomes ``-``, an unprintable character ``?``, and a long name is cut.

        :param fields: the text for each known field.
        """
        name = self._template.format_map(fields).replace("~", "-")
        return printable(name[:MAX_NAME], "?")
