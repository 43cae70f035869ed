"""
Short texts that tell events apart, few enough to be kept: the bound on them, and the
stat names made of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from string import Formatter
from typing import cast

from txstathat.points.model import MAX_NAME, check_name

__all__ = ["OTHER", "Labels", "StatName", "class_label"]

#: What everything is called that comes after a bound on labels is reached.
OTHER = "other"


def _class_label(cls: type) -> str:
    """
    A class by its module and name; a built-in one by its name alone.
    """
    if cls.__module__ == "builtins":
        return cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}"


class_label = cast("Callable[[type], str]", lru_cache(maxsize=1024)(_class_label))


class Labels(dict[str, str]):
    """
    The first labels seen, up to a bound. Looked up, each is itself; what comes later is
    :data:`OTHER`.

    :param maximum: how many labels there may be besides :data:`OTHER`.
    :ivar refused: how often a label had to give way to :data:`OTHER`.
    """

    def __init__(self, maximum: int) -> None:
        super().__init__()
        if maximum < 1:
            raise ValueError(f"at least one label must be allowed, not {maximum!r}")
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

    :param template: text with the names of fields in braces.
    :param fields: the fields that there are.
    :raises ValueError: if the template names another field, or makes no valid name.
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
        The name for these fields, always valid: ``~``, which would post to several
        stats, becomes ``-``; what cannot be printed becomes ``?``; what is too long
        is cut.
        """
        name = self._template.format_map(fields).replace("~", "-")
        name = "".join(c if c.isprintable() else "?" for c in name)
        return name[:MAX_NAME]
