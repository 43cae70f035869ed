"""
``txstathat migas``: query a migas server, or send breadcrumbs to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn
from urllib.parse import urlsplit

import click
from twisted.internet.defer import Deferred

from txstathat.cli.output import json_text
from txstathat.cli.reactor import ICommandReactor, run
from txstathat.cli.suggestions import SuggestingGroup
from txstathat.migas.client import ENDPOINT, MigasClient
from txstathat.migas.wire.answers import NAME_NOT_FOUND
from txstathat.migas.wire.breadcrumb import CHOICES
from txstathat.printable import printable

__all__ = ["failure_text", "migas"]

endpoint_option = click.option(
    "--endpoint",
    envvar="TXSTATHAT_MIGAS_ENDPOINT",
    default=ENDPOINT,
    show_default=True,
    metavar="URL",
    help="The server's URL (or TXSTATHAT_MIGAS_ENDPOINT).",
)


def _check_project(context: Any, argument: Any, text: str) -> str:
    owner, _, repo = text.partition("/")
    if not owner or not repo:
        raise click.BadParameter(f"{text!r} is not OWNER/REPO, such as mgxd/migas-py")
    return text


project_argument = click.argument(
    "project", metavar="OWNER/REPO", callback=_check_project
)


@click.group(cls=SuggestingGroup)
def migas() -> None:
    """
    Usage telemetry: query a migas server, or send to it.

    Answers are JSON. MIGAS_OPTOUT and DO_NOT_TRACK are respected.
    """


@migas.command()
@project_argument
@click.argument("start")
@click.argument("end", required=False)
@click.option("--unique", is_flag=True, help="Count users instead of uses.")
@endpoint_option
def usage(
    project: str, start: str, end: str | None, unique: bool, endpoint: str
) -> None:
    """
    Ask how often a project was used, from START until END.

    END is now by default. Times are YYYY-MM-DD or YYYY-MM-DDTHH:MM:SSZ.
    """
    _call(endpoint, lambda client: client.get_usage(project, start, end, unique))


@migas.command()
@project_argument
@click.argument("version")
@endpoint_option
def check(project: str, version: str, endpoint: str) -> None:
    """
    Ask which version of a project is the latest.

    The answer also says whether users of VERSION are warned.
    """
    _call(endpoint, lambda client: client.check_project(project, version))


@migas.command()
@project_argument
@click.argument("version")
@click.option(
    "--status",
    type=click.Choice(CHOICES["status"]),
    default="R",
    show_default=True,
    help="R running, C completed, F failed, S suspended.",
)
@click.option("--status-desc", metavar="TEXT", help="A short text about the status.")
@click.option(
    "--user-type",
    type=click.Choice(CHOICES["user_type"]),
    help="Who uses it: a user (general), a developer (dev) or an automatic run (ci).",
)
@endpoint_option
def add(project: str, version: str, endpoint: str, **fields: Any) -> None:
    """
    Report one use of VERSION of a project, as a breadcrumb.
    """
    _call(
        endpoint,
        lambda client: client.add_breadcrumb(project, version, wait=True, **fields),
    )


@migas.command()
@endpoint_option
def config(endpoint: str) -> None:
    """
    Print the fields of a breadcrumb, their values here, and why.
    """
    _make_client(endpoint).print_config()


@migas.command()
@endpoint_option
def forget(endpoint: str) -> None:
    """
    Remove the file with your user id.
    """
    removed = _make_client(endpoint).clear_user_id()
    click.echo("Removed the user id." if removed else "There was no user id to remove.")


def failure_text(message: str | None, endpoint: str) -> str:
    """
    Say why a call failed.

    :param message: the client's message, if it has one.
    :param endpoint: the server's URL.
    """
    if message == NAME_NOT_FOUND:
        return f"{message}: {urlsplit(endpoint).hostname}"
    return message or "the server refused"


def _make_client(endpoint: str) -> MigasClient:
    try:
        return MigasClient(endpoint)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _call(
    endpoint: str, call: Callable[[MigasClient], Deferred[dict[str, Any]]]
) -> NoReturn:
    client = _make_client(endpoint)

    async def command(reactor: ICommandReactor) -> int:
        try:
            answer = await call(client)
        finally:
            await client.close()
        if not answer["success"]:
            message = failure_text(answer.get("message"), endpoint)
            click.echo(f"txstathat: {printable(message)}", err=True)
            return 1
        click.echo(json_text(answer))
        return 0

    run(command)
