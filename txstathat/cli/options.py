"""
Options and arguments that several commands take.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import click

from txstathat.client import API_URL, txStatHat
from txstathat.errors import InvalidPoint
from txstathat.points import epoch_seconds, parse_amount

__all__ = [
    "AMOUNT",
    "TIME",
    "NumberCommand",
    "add_options",
    "make_client",
    "server_options",
    "timeout_option",
]


class _Amount(click.ParamType):  # type: ignore[type-arg]
    name = "number"

    def convert(self, value: Any, param: Any, ctx: Any) -> int | Decimal:
        try:
            amount = parse_amount(str(value), "amount")
            # What was typed, not the nearest float.
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
                        f"{value!r} has no offset from UTC; with one it is written "
                        f"{when.isoformat()}Z or {when.isoformat()}+01:00",
                        param,
                        ctx,
                    )
                return epoch_seconds(when)
        except InvalidPoint as error:
            self.fail(error.problem, param, ctx)
        except ValueError:
            self.fail(f"{value!r} is neither Unix seconds nor ISO 8601", param, ctx)


AMOUNT = _Amount()
TIME = _Time()


class NumberCommand(click.Command):
    """
    A command with an argument that may be a negative number, such as -5.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """
        Tell options and arguments apart.
        """
        try:
            return super().parse_args(ctx, [*args])
        except click.NoSuchOption as error:
            if error.option_name[1:2] not in {*"0123456789."}:
                raise
        ctx.ignore_unknown_options = True
        return super().parse_args(ctx, args)


def timeout_option(default: float) -> Callable[..., Any]:
    """
    The option that limits how long a request may take.
    """
    return click.option(
        "--timeout",
        default=default,
        show_default=True,
        metavar="SECONDS",
        help="How long one request may take.",
    )


def server_options(command: Callable[..., None]) -> Callable[..., None]:
    """
    Add the options that say where to post and with which key.
    """
    options = [
        click.option(
            "--ezkey",
            envvar="TXSTATHAT_EZKEY",
            metavar="KEY",
            help="The EZ key. Better set TXSTATHAT_EZKEY: others on this machine can "
            "see a command line.",
        ),
        click.option(
            "--url",
            envvar="TXSTATHAT_URL",
            default=API_URL,
            show_default=True,
            metavar="URL",
            help="The server (or TXSTATHAT_URL).",
        ),
        timeout_option(10.0),
    ]
    return add_options(command, options)


def add_options(
    command: Callable[..., None], options: list[Callable[..., Any]]
) -> Callable[..., None]:
    """
    Add options to a command, in the order in which its help shows them.
    """
    for option in reversed(options):
        command = option(command)
    return command


def make_client(ezkey: str | None, url: str, timeout: float) -> txStatHat:
    """
    The client that the options describe.

    :raises click.UsageError: if they describe none.
    """
    if not ezkey:
        raise click.UsageError(
            "no EZ key: set TXSTATHAT_EZKEY to your account's EZ key "
            "(or, where nobody else can look, pass --ezkey)"
        )
    try:
        return txStatHat(ezkey, ignore_errors=False, url=url, timeout=timeout)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
