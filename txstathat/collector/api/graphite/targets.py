"""
The parser of targets: what to draw, in Graphite's language of paths and functions.

A target is a path, such as ``web.*.count``, or a call with targets, numbers, quoted
strings, ``true``, ``false`` and ``None`` as arguments
(https://graphite.readthedocs.io/en/latest/render_api.html#target).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TypeAlias

from txstathat.collector.errors import Refusal

__all__ = ["MAX_DEPTH", "MAX_TARGET", "Call", "Expression", "Path", "Scalar", "parse"]

#: The most characters that a target can have.
MAX_TARGET = 10_000
#: How deep calls can be nested.
MAX_DEPTH = 20

#: A constant argument.
Scalar: TypeAlias = int | float | str | bool | None

_SPACE = re.compile(r"\s*")
_STRING = re.compile(r"'([^']*)'|\"([^\"]*)\"")
# Commas are allowed only within braces.
_WORD = re.compile(r"(?:\{[^{}()'\"\s]*\}|[^\s(){},='\"|\\])+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
# Whole numbers with more characters become floats.
_MAX_DIGITS = 15
_CONSTANTS: dict[str, Scalar] = {"true": True, "false": False, "none": None}


@dataclass(frozen=True, slots=True)
class Path:
    """
    A path or pattern.

    :ivar text: the path.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """
    A call of a function.

    :ivar name: the name of the function.
    :ivar args: the arguments.
    :ivar named: the arguments that were passed by name.
    """

    name: str
    args: list[Expression] = field(default_factory=list)
    named: dict[str, Expression] = field(default_factory=dict)


#: A parsed target, or an argument.
Expression: TypeAlias = Path | Call | Scalar


def parse(text: str) -> Path | Call:
    """
    Parse a target.

    :raises Refusal: 400 if it is not valid, too long, or nested too deeply.
    """
    if len(text) > MAX_TARGET:
        raise Refusal(400, f"target: is longer than {MAX_TARGET} characters")
    parser = _Parser(text)
    expression = parser.expression(0)
    parser.skip_space()
    if parser.at < len(text):
        raise parser.error("the end of the target")
    if not isinstance(expression, Path | Call):
        raise Refusal(400, f"target: {text[:40]!r} is no path and no function")
    return expression


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def error(self, expected: str) -> Refusal:
        found = self.text[self.at : self.at + 20]
        return Refusal(
            400,
            f"target: expected {expected} at character {self.at + 1}, not "
            f"{found!r}" + ("" if found else " (the target ends there)"),
        )

    def skip_space(self) -> None:
        space = _SPACE.match(self.text, self.at)
        self.at = space.end() if space else self.at

    def take(self, character: str) -> bool:
        self.skip_space()
        if not self.text.startswith(character, self.at):
            return False
        self.at += 1
        return True

    def expression(self, depth: int) -> Expression:
        self.skip_space()
        string = _STRING.match(self.text, self.at)
        if string is not None:
            self.at = string.end()
            return string[1] if string[1] is not None else string[2]
        word = _WORD.match(self.text, self.at)
        if word is None:
            raise self.error("a path, a function or a constant")
        self.at = word.end()
        if self.take("("):
            return self.call(word[0], depth + 1)
        if word[0].lower() in _CONSTANTS:
            return _CONSTANTS[word[0].lower()]
        return _number(word[0]) if _NUMBER.fullmatch(word[0]) else Path(word[0])

    def call(self, name: str, depth: int) -> Call:
        if depth > MAX_DEPTH:
            raise Refusal(400, f"target: is nested deeper than {MAX_DEPTH} calls")
        call = Call(name)
        if self.take(")"):
            return call
        while True:
            argument = self.expression(depth)
            if isinstance(argument, Path) and self.take("="):
                if argument.text in call.named:
                    raise Refusal(400, f"{name}: {argument.text} is passed twice")
                call.named[argument.text] = self.expression(depth)
            elif call.named:
                raise self.error("another argument by name")
            else:
                call.args.append(argument)
            if self.take(")"):
                return call
            if not self.take(","):
                raise self.error("',' or ')'")


def _number(text: str) -> int | float:
    if len(text) <= _MAX_DIGITS and text.lstrip("+-").isdigit():
        return int(text)
    number = float(text)
    if not math.isfinite(number):
        raise Refusal(400, f"target: {text[:40]} is beyond the largest float")
    return number
