"""
GraphQL operations as text, from which no value can break out.

Values stand in the text as literals, since variables would need the names of the
server's own types, which differ from one server version to the next.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

__all__ = ["EnumValue", "Value", "operation"]


class EnumValue(str):
    """
    A value of a GraphQL enum, written without quotes: an identifier, checked before.
    """


Value: TypeAlias = "str | bool | EnumValue | Mapping[str, Value]"


def operation(
    kind: str,
    name: str,
    arguments: Mapping[str, Value],
    selection: Sequence[str] = (),
) -> str:
    """
    Write an operation with one field.

    :param kind: ``'query'`` or ``'mutation'``.
    :param name: the field.
    :param arguments: the field's arguments; their names are identifiers.
    :param selection: which parts of the answer are asked for, where it has parts.
    """
    selected = f"{{{','.join(selection)}}}" if selection else ""
    return f"{kind}{{{name}({_pairs(arguments)}){selected}}}"


def _pairs(values: Mapping[str, Value]) -> str:
    return ",".join(f"{name}:{_literal(value)}" for name, value in values.items())


def _literal(value: Value) -> str:
    if isinstance(value, Mapping):
        return f"{{{_pairs(value)}}}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, EnumValue):
        return str(value)
    # JSON's string escapes are GraphQL's (section 2.9.4 of its specification).
    return json.dumps(value, ensure_ascii=False)
