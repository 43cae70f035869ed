"""
Options and arguments that several commands take.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import click

from txstathat.errors import InvalidPoint
from txstathat.points.amounts import epoch_seconds, parse_amount

__all__ = [
    "AMOUNT",
    "TIME",
    "NumberCommand",
    "add_options",
]


class _Amount(click.ParamType):  # type: ignore[type-arg]
    name = "number"

    def convert(self, value: Any, param: Any, ctx: Any) -> int | Decimal:
        try:
            amount = parse_amount(str(value), "amount")
            # The exact number, not the nearest float.
            return amount if isinstance(amount, int) else Decimal(value)
        except InvalidPoint as error:
            self.fail(error.problem, param, ctx)


class _Time(click.ParamType):  # type: ignore[type-arg]
    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        try:
            try:
                return epoch_seconds(float(value))
            except InvalidPoint:
                raise
            except ValueError:
                when = datetime.fromisoformat(value)
                if when.utcoffset() is None:
                    self.fail(
                        f"{value!r} has no time zone: write {when.isoformat()}Z or "
                        f"{when.isoformat()}+01:00",
                        param,
                        ctx,
                    )
                return epoch_seconds(when)
        except InvalidPoint as error:
            self.fail(error.problem, param, ctx)
        except ValueError:
            self.fail(
                f"{value!r} is not a time: give Unix seconds or ISO 8601", param, ctx
            )


AMOUNT = _Amount()
TIME = _Time()


class NumberCommand(click.Command):
    """
    A command with an argument that may be a negative number, such as -5.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """
        Parse options and arguments.
        """
        try:
            return super().parse_args(ctx, [*args])
        except click.NoSuchOption as error:
            if error.option_name[1:2] not in {*"0123456789."}:
                raise
        ctx.ignore_unknown_options = True
        return super().parse_args(ctx, args)


def add_options(
    command: Callable[..., None], options: list[Callable[..., Any]]
) -> Callable[..., None]:
    """
    Add options to a command, in the order of its help.
    """
    for option in reversed(options):
        command = option(command)
    return command
