"""
GraphQL operations as text, safe against injection.

Values are literals in the text. Variables would need the names of the server's types,
which differ between server versions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

__all__ = ["EnumValue", "GraphQLValue", "operation"]


class EnumValue(str):
    """
    A value of a GraphQL enum, written without quotes. It must be a checked identifier.
    """


GraphQLValue: TypeAlias = "str | bool | EnumValue | Mapping[str, GraphQLValue]"


def operation(
    kind: str,
    name: str,
    arguments: Mapping[str, GraphQLValue],
    selection: Sequence[str] = (),
) -> str:
    """
    Write an operation with one field.

    :param kind: ``'query'`` or ``'mutation'``.
    :param name: the field.
    :param arguments: the field's arguments; their names are identifiers.
    :param selection: the requested fields of the result; empty if it has no fields.
    """
    selected = f"{{{','.join(selection)}}}" if selection else ""
    return f"{kind}{{{name}({_pairs(arguments)}){selected}}}"


def _pairs(values: Mapping[str, GraphQLValue]) -> str:
    return ",".join(f"{name}:{_literal(value)}" for name, value in values.items())


def _literal(value: GraphQLValue) -> str:
    if isinstance(value, Mapping):
        return f"{{{_pairs(value)}}}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, EnumValue):
        return str(value)
    # JSON's string escapes are GraphQL's (section 2.9.4 of its specification).
    return json.dumps(value, ensure_ascii=False)
