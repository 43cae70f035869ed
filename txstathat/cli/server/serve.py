"""
``txstathat serve``: run a StatHat server of your own.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import click
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)

from txstathat.cli.options import add_options
from txstathat.cli.reactor import ICommandReactor, run
from txstathat.cli.server.store import any_store_option
from txstathat.cli.server.write_settings import offer_settings, own_url
from txstathat.collector.archive.writing.cardinality import MAX_STATS
from txstathat.collector.listening import PortInUse
from txstathat.collector.options import (
    SERVER_OPTIONS,
    check_options,
    default_retention,
    listen_endpoint,
)
from txstathat.collector.service import (
    LISTEN,
    CannotListen,
    CollectorParts,
    CollectorService,
)
from txstathat.printable import printable

__all__ = ["GC_OBJECTS", "serve"]

#: After how many new objects Python's garbage collector looks for garbage.
GC_OBJECTS = 50_000


def _text_options(command: Callable[..., None]) -> Callable[..., None]:
    return add_options(
        command,
        [
            click.option(
                f"--{each.name}",
                default=each.default,
                show_default=bool(each.default),
                metavar=each.metavar,
                help=each.help,
            )
            for each in SERVER_OPTIONS
        ],
    )


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    metavar="PORT",
    help="The port to listen on; 0 takes a free one.  [default: 8080]",
)
@click.option(
    "--host",
    metavar="ADDRESS",
    help="The IP address to listen on; 0.0.0.0 means all addresses of this computer.  "
    "[default: 127.0.0.1]",
)
@click.option(
    "--listen",
    multiple=True,
    metavar="ENDPOINT",
    help="Where to listen instead, as a Twisted server endpoint, for TLS or a UNIX "
    "socket. May be repeated.",
)
@any_store_option
@click.option(
    "--keep",
    multiple=True,
    metavar="SCALE=TIME",
    help="How long to store detail, such as minute=7d or day=forever. May be repeated. "
    f"[default: {default_retention()}]",
)
@click.option(
    "--max-stats",
    type=click.IntRange(1),
    default=MAX_STATS,
    show_default=True,
    help="The largest number of stats.",
)
@click.option(
    "--access-log",
    is_flag=True,
    help="Log requests too, without secrets. Warnings and errors are always logged.",
)
@click.option(
    "--proxies",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="How many proxies in front are trusted to name the client (X-Forwarded-For).",
)
@click.option(
    "--stathat-statuses",
    is_flag=True,
    help="Answer refused points with HTTP status 200, and their status in the JSON "
    "only, as StatHat did.",
)
@click.option(
    "--allow-private",
    multiple=True,
    metavar="NETWORK",
    help="A private address or network, such as 127.0.0.1 or 10.0.0.0/8, to which "
    "channels may connect, also without encryption. May be repeated.",
)
@_text_options
@click.option(
    "--write-settings",
    is_flag=True,
    help="Write the settings file for the other commands if there is none, even "
    "without a terminal. After the first start it gets new keys.",
)
def serve(
    port: int | None,
    host: str | None,
    listen: tuple[str, ...],
    write_settings: bool,
    **options: Any,
) -> None:
    """
    Run a StatHat server of your own.

    It receives points like StatHat, stores them, and serves them on pages and through
    StatHat's export API. The first start creates an EZ key, a user key and an
    access token, and prints them. In a terminal it also writes them to a settings file,
    if there is none. Then the other commands work without any further setting.
    """
    endpoints = _endpoints(port, host, listen)
    options = _check(**options)
    new_keys: dict[str, str] = {}

    def first_keys(keys: dict[str, str]) -> None:
        _print_keys(keys)
        new_keys.update(keys)

    async def command(reactor: ICommandReactor) -> int:
        service = CollectorService(
            listen=endpoints, first_keys=first_keys, reactor=reactor, **options
        )
        ready = service.ready()
        service.startService()
        try:
            parts = await ready
            link = await parts.sessions.link()
        except PortInUse as error:
            other = _other_port(port, by_endpoint=bool(listen))
            click.echo(f"txstathat: {printable(error)}, such as {other}", err=True)
            return 1
        except CannotListen as error:
            click.echo(f"txstathat: {printable(error)}", err=True)
            return 1
        except Exception as error:
            click.echo(f"txstathat: cannot start: {printable(error)}", err=True)
            return 1
        _print_addresses(service)
        _collect_garbage_less()
        await _print_settings(service, parts, new_keys, write_settings)
        click.echo("Open this to sign in (works once, for one hour):")
        click.echo(f"{service.public_url}/sign-in/{link}")
        with suppress(CancelledError):
            await Deferred()
        await service.stopService()
        return 0

    _log_to_stderr(LogLevel.info if options["access_log"] else LogLevel.warn)
    run(command)


def _check(keep: tuple[str, ...], webhooks: str, **options: Any) -> dict[str, Any]:
    """
    The options for the service, from those of the command.

    :raises click.UsageError: if one is not valid.
    """
    texts = ("public_url", "secrets", "allow_private", "digest_at", "statsd")
    try:
        options["retention"], options["webhooks"] = check_options(
            keep=keep, webhooks=webhooks, **{name: options[name] for name in texts}
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return options


def _endpoints(
    port: int | None, host: str | None, listen: tuple[str, ...]
) -> list[str]:
    """
    Where to listen, as endpoints.
    """
    if port is None and host is None:
        return [*listen] or [LISTEN]
    if listen:
        raise click.UsageError("give --listen, or --port and --host, not both")
    try:
        return [listen_endpoint(port, host)]
    except ValueError as error:
        raise click.UsageError(f"--host: {error}") from None


def _other_port(port: int | None, by_endpoint: bool) -> str:
    """
    The option to suggest if a port is in use.
    """
    other = 8082 if port == 8081 else 8081
    if by_endpoint:
        return f"--listen tcp:{other}:interface=127.0.0.1"
    return f"--port {other}"


def _collect_garbage_less() -> None:
    """
    Let Python's garbage collector look less often, and not at what is there now. Points
    are many small objects, and not in cycles: it took a third of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_OBJECTS, 20, 50)


def _print_addresses(service: CollectorService) -> None:
    for url, address in zip(service.urls, service.addresses, strict=True):
        everywhere = getattr(address, "host", None) in ("0.0.0.0", "::")
        more = ", and on this computer's other addresses" if everywhere else ""
        click.echo(f"Listening on {url}{more}")
    at = service.statsd_address
    if at is not None:
        click.echo(f"Receiving statsd at {at.host}, UDP port {at.port}")


def _print_keys(keys: dict[str, str]) -> None:
    click.echo("New keys, which are shown only now:")
    for what, key in keys.items():
        click.echo(f"{what}: {key}")


async def _print_settings(
    service: CollectorService,
    parts: CollectorParts,
    new_keys: dict[str, str],
    requested: bool,
) -> None:
    """
    Write the settings file where that is right, and print what was done.
    """
    message = await offer_settings(
        own_url(service.addresses, service.urls),
        new_keys if requested or sys.stdout.isatty() else {},
        parts.keys,
        os.environ,
        requested,
    )
    if message:
        click.echo(message)


def _log_to_stderr(level: Any) -> None:
    observer = FilteringLogObserver(
        textFileLogObserver(sys.stderr), [LogLevelFilterPredicate(level)]
    )
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
