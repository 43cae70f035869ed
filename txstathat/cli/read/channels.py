"""
``txstathat channels``: manage the channels through which alerts reach people.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

import click

from txstathat.cli.options import add_options
from txstathat.cli.output import confirm
from txstathat.cli.read.alert_changes import show_results
from txstathat.cli.read.alert_output import moment
from txstathat.cli.read.stats import CommandFailed, with_client
from txstathat.cli.settings import reader_options
from txstathat.cli.tables import format_options, show_rows
from txstathat.collector.channels.kinds import FIELDS
from txstathat.collector.channels.model import ChannelField
from txstathat.export.client import StatHatExport
from txstathat.export.models import ChannelInfo
from txstathat.printable import printable

__all__ = ["channels"]

_COLUMNS = tuple(field.name for field in fields(ChannelInfo))
_WORDS = {
    "webhook": "posts to a web hook",
    "email": "sends e-mail",
    "ntfy": "publishes to a topic of ntfy",
    "pagerduty": "sends to a service of PagerDuty",
}
# Where another option has the name of the setting.
_FLAGS = {"url": "hook"}
# The settings of all kinds, by their names.
_SETTINGS = {field.name: field for of_kind in FIELDS.values() for field in of_kind}


@click.group()
def channels() -> None:
    """
    Set up how alerts reach people: e-mail, web hooks and others.

    The alerts of your own server notify people through channels. A secret, such as a
    password, is in a file that only the server reads: see "txstathat serve --secrets".
    """


@channels.command("list")
@format_options
@reader_options
def list_channels(output: str | None, **server: Any) -> None:
    """
    List all channels.

    Parts of an address that may be secret are not shown.
    """

    async def work(client: StatHatExport) -> None:
        found = await client.channels()
        columns = ("name", "kind", "address", "state", "last error")
        show_rows(
            output,
            columns if output is None else _COLUMNS,
            [tuple(asdict(channel).values()) for channel in found],
            as_table=[
                (
                    channel.name,
                    channel.kind,
                    channel.address,
                    "failing" if channel.failing else "ok",
                    _error_text(channel),
                )
                for channel in found
            ],
            none="There are no channels.",
        )

    with_client(server, work)


def _error_text(channel: ChannelInfo) -> str:
    if channel.last_error is None:
        return ""
    return f"{moment(channel.last_error_at)}: {channel.last_error}"


@channels.group("add")
def add() -> None:
    """
    Add a channel of a kind.
    """


def _option(field: ChannelField) -> Callable[..., Any]:
    flag = f"--{_FLAGS.get(field.name, field.name)}"
    kind: Any = click.Choice(field.choices) if field.choices else None
    default: dict[str, Any] = {}
    if field.default:
        default = {"default": field.default, "show_default": True}
    return click.option(
        flag,
        _parameter(field),
        type=click.File() if field.lines else kind,
        required=field.required,
        **default,
        help=field.help + (" Give a file; - for standard input." * field.lines),
    )


def _parameter(field: ChannelField) -> str:
    return f"setting_{field.name}"


def _add_kind(kind: str) -> None:
    def command(name: str, secret: str, **options: Any) -> None:
        settings = {}
        for field in FIELDS[kind]:
            given = options.pop(_parameter(field))
            text = given.read() if field.lines and given else given
            settings[field.name] = text or ""

        async def work(client: StatHatExport) -> None:
            await client.create_channel(name, kind, settings, secret)
            click.echo(
                f"Added the channel {printable(name)}. To test it: txstathat "
                f"channels test {printable(name)}"
            )

        with_client(options, work)

    command.__doc__ = f"Add the channel NAME, which {_WORDS[kind]}."
    made = reader_options(command)
    made = click.option(
        "--secret",
        default="",
        metavar="NAME",
        help="The name of the file with the secret. It is in a folder with the name of "
        "the host, in the directory of txstathat serve --secrets.",
    )(made)
    for field in reversed(FIELDS[kind]):
        made = _option(field)(made)
    add.command(kind)(click.argument("name")(made))


for _kind in FIELDS:
    _add_kind(_kind)


def _edit_options(command: Callable[..., None]) -> Callable[..., None]:
    """
    Add an option for each setting of any kind.
    """
    kinds: dict[str, list[str]] = {}
    for kind, of_kind in FIELDS.items():
        for field in of_kind:
            kinds.setdefault(field.name, []).append(kind)
    return add_options(
        command,
        [
            click.option(
                f"--{_FLAGS.get(name, name)}",
                _parameter(field),
                type=click.File() if field.lines else None,
                help=f"For {' and '.join(kinds[name])}: {field.help}"
                + (" Give a file; - for standard input." * field.lines),
            )
            for name, field in _SETTINGS.items()
        ],
    )


@channels.command("edit")
@click.argument("name")
@_edit_options
@click.option(
    "--secret",
    metavar="NAME",
    help="The name of the file with the secret; '' for none.",
)
@reader_options
def edit(name: str, secret: str | None, **options: Any) -> None:
    """
    Change the channel NAME. What is not given stays as it is.

    If the host changes, what may be a secret must be given again, or as '' or an empty
    file: the hook, the headers, the body, the topic.
    """
    settings = {}
    for field in _SETTINGS.values():
        given = options.pop(_parameter(field))
        if given is not None:
            settings[field.name] = given.read() if field.lines else given
    if not settings and secret is None:
        raise click.UsageError("pass what to change, such as --secret NAME")

    async def work(client: StatHatExport) -> None:
        await client.edit_channel(name, settings, secret)
        click.echo(f"The channel {printable(name)} is changed.")

    with_client(options, work)


@channels.command("remove")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@reader_options
def remove(name: str, yes: bool, **server: Any) -> None:
    """
    Remove the channel NAME. Notices that wait for it are dropped.
    """

    async def work(client: StatHatExport) -> None:
        if not yes:
            await _find(client, name)
            confirm(f"Remove the channel {printable(name)}?", "removed")
        await client.delete_channel(name)
        click.echo(f"The channel {printable(name)} is removed.")

    with_client(server, work)


async def _find(client: StatHatExport, name: str) -> ChannelInfo:
    for channel in await client.channels():
        if channel.name == name:
            return channel
    raise CommandFailed(f"there is no channel {name!r}; see txstathat channels list")


@channels.command("test")
@click.argument("name")
@reader_options
def test(name: str, **server: Any) -> None:
    """
    Send a test message through the channel NAME.
    """

    async def work(client: StatHatExport) -> None:
        show_results([await client.test_channel(name)])

    with_client(server, work)
