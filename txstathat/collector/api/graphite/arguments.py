"""
The parameters of functions, and the check of arguments against them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from txstathat.collector.api.graphite.series import AGGREGATIONS, TimeSeries
from txstathat.collector.api.graphite.targets import Call, Expression, Path
from txstathat.collector.api.graphite.times import parse_interval
from txstathat.collector.errors import Refusal

__all__ = ["MAX_WINDOW", "Arguments", "Function", "Param", "Range", "bind"]

#: The largest number of points over which an average can move.
MAX_WINDOW = 10_000


@dataclass(frozen=True, slots=True)
class Range:
    """
    The times that a request is about.

    :ivar start: Unix seconds; the first point is after it.
    :ivar end: Unix seconds.
    """

    start: int
    end: int

    def moved(self, start: int, end: int = 0) -> Range:
        """
        Return a range with other times, which are not before 0.

        :param start: how many seconds to add to the start.
        :param end: how many seconds to add to the end.
        """
        return Range(max(0, self.start + start), max(0, self.end + end))


@dataclass(frozen=True, slots=True)
class Param:
    """
    A parameter of a function.

    :ivar name: its name.
    :ivar type: its type, as Graphite calls it.
    :ivar required: whether it must be passed.
    :ivar default: its default value; ``None`` if it has none.
    :ivar multiple: whether all further arguments belong to it, one or more.
    """

    name: str
    type: str
    required: bool = True
    default: Any = None
    multiple: bool = False

    @property
    def is_series(self) -> bool:
        """
        Whether the argument is a path or a call.
        """
        return self.type in ("seriesList", "seriesLists")

    def to_json(self) -> dict[str, Any]:
        """
        Return its description as Graphite gives it.
        """
        content: dict[str, Any] = {"name": self.name, "type": self.type}
        if self.required:
            content["required"] = True
        if self.default is not None:
            content["default"] = self.default
        if self.multiple:
            content["multiple"] = True
        if self.type == "aggFunc":
            content["options"] = sorted(AGGREGATIONS)
        return content


@dataclass(slots=True)
class Arguments:
    """
    The arguments of a call, checked.

    :ivar values: the arguments that are not series, by the name of their parameter.
    :ivar targets: the arguments that are series, not evaluated.
    :ivar series: those targets, evaluated in the range that the function needs.
    :ivar original: those targets, evaluated in the range of the call.
    :ivar range: the range of the call.
    """

    values: dict[str, Any]
    targets: list[Path | Call]
    range: Range
    series: list[TimeSeries] = field(default_factory=list)
    original: list[TimeSeries] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Function:
    """
    A function.

    :ivar name: its name.
    :ivar group: the group in which Grafana lists it.
    :ivar description: what it does.
    :ivar params: its parameters.
    :ivar apply: returns its result.
    :ivar widen: returns the range in which its series are evaluated; ``None`` if that
        is the range of the call. It needs :attr:`Arguments.original`.
    """

    name: str
    group: str
    description: str
    params: Sequence[Param]
    apply: Callable[[Arguments], list[TimeSeries]]
    widen: Callable[[Arguments], Range] | None = None

    def to_json(self) -> dict[str, Any]:
        """
        Return its description as Graphite gives it.
        """
        params = ", ".join(
            f"*{param.name}" if param.multiple else param.name for param in self.params
        )
        return {
            "name": self.name,
            "function": f"{self.name}({params})",
            "description": self.description,
            "module": "graphite.render.functions",
            "group": self.group,
            "params": [param.to_json() for param in self.params],
        }


def bind(function: Function, call: Call, range: Range) -> Arguments:
    """
    Check the arguments of a call.

    :param function: the called function.
    :param call: the call.
    :param range: the range of the call.
    :raises Refusal: 400 if they are not valid.
    """
    bound = Arguments({}, [], range)
    args, named = list(call.args), dict(call.named)
    for param in function.params:
        taken: list[Expression]
        if param.multiple:
            taken, args = args, []
        elif args:
            taken = [args.pop(0)]
        elif param.name in named:
            taken = [named.pop(param.name)]
        else:
            taken = []
        if not taken and param.required:
            raise Refusal(400, f"{call.name}: {param.name} is missing")
        if param.is_series:
            bound.targets += [_target(call.name, each) for each in taken]
            continue
        values = [_check(call.name, param, each) for each in taken]
        if param.multiple:
            bound.values[param.name] = values
        else:
            bound.values[param.name] = values[0] if values else param.default
    if args or named:
        known = ", ".join(param.name for param in function.params)
        raise Refusal(400, f"{call.name}: too many arguments; it takes {known}")
    return bound


def _target(name: str, argument: Expression) -> Path | Call:
    if isinstance(argument, Path | Call):
        return argument
    raise Refusal(400, f"{name}: {str(argument)[:40]!r} is no path and no function")


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a number")
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("a whole number")
    return value


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a text in quotes")
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _aggregation(value: Any) -> str:
    if value not in AGGREGATIONS:
        raise ValueError(f"one of {', '.join(sorted(AGGREGATIONS))}")
    return str(value)


def _interval(value: Any) -> str:
    parse_interval(_string(value), "an interval")
    return str(value)


def _window(value: Any) -> str | int:
    if isinstance(value, str):
        return _interval(value)
    if not 1 <= _integer(value) <= MAX_WINDOW:
        raise ValueError(f"from 1 to {MAX_WINDOW} points, or an interval in quotes")
    return int(value)


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "float": _number,
    "integer": _integer,
    "node": _integer,
    "string": _string,
    "boolean": _boolean,
    "aggFunc": _aggregation,
    "interval": _interval,
    "intOrInterval": _window,
}


def _check(name: str, param: Param, argument: Expression) -> Any:
    shown = argument.text if isinstance(argument, Path) else argument
    if isinstance(argument, Path | Call):
        shown = argument.text if isinstance(argument, Path) else f"{argument.name}(...)"
    elif argument is None and not param.required:
        return param.default
    else:
        try:
            return _CHECKS[param.type](argument)
        except (ValueError, TypeError) as error:
            raise Refusal(
                400, f"{name}: {param.name} must be {error}, not {str(shown)[:40]!r}"
            ) from None
    raise Refusal(
        400, f"{name}: {param.name} must be a constant, not {str(shown)[:40]!r}"
    )
