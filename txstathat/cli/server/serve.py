"""
``txstathat serve``: run a StatHat server of your own.
"""

from __future__ import annotations

import gc
import os
import sys
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

from txstathat.cli.reactor import run
from txstathat.cli.server.store import any_store_option
from txstathat.cli.server.write_settings import offer_settings, own_url
from txstathat.collector.ingest.statsd import KEY
from txstathat.collector.options import (
    default_retention,
    parse_retention,
    parse_statsd,
    read_webhooks,
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


@click.command()
@click.option(
    "--listen",
    multiple=True,
    default=[LISTEN],
    show_default=True,
    metavar="ENDPOINT",
    help="Where to listen, as a Twisted server endpoint. May be repeated.",
)
@any_store_option
@click.option(
    "--keep",
    multiple=True,
    metavar="SCALE=TIME",
    help="How long detail is kept, such as minute=7d or day=forever. May be repeated. "
    f"[default: {default_retention()}]",
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
    "--webhooks",
    default="",
    metavar="FILE",
    help="A file of URLs to which alerts are posted, one a line; the first is the "
    "default.",
)
@click.option(
    "--statsd",
    default="",
    metavar="udp:PORT",
    help="Where to receive statsd's datagrams, such as udp:8125 (on loopback) or "
    "udp:8125:interface=10.0.0.1. They carry no key: whoever can reach the port can "
    "add points.",
)
@click.option(
    "--statsd-key",
    default=KEY,
    show_default=True,
    metavar="NAME",
    help="The EZ key under whose limits these points count.",
)
@click.option(
    "--write-settings",
    is_flag=True,
    help="Write the settings file for the other commands if there is none, also "
    "without a terminal; after the first start, with new keys.",
)
def serve(
    listen: tuple[str, ...],
    store: str,
    keep: tuple[str, ...],
    access_log: bool,
    proxies: int,
    stathat_statuses: bool,
    webhooks: str,
    statsd: str,
    statsd_key: str,
    write_settings: bool,
) -> None:
    """
    Run a StatHat server of your own.

    It receives points like StatHat, stores them, and serves them on pages and through
    StatHat's export API. The first start creates an EZ key, a user key and an
    access token, and prints them. In a terminal it also writes them to a settings file,
    if there is none. Then the other commands work without any further setting.
    """
    try:
        retention = parse_retention(keep)
    except ValueError as error:
        raise click.UsageError(f"--keep: {error}") from None
    try:
        urls = read_webhooks(webhooks)
    except ValueError as error:
        raise click.UsageError(f"--webhooks: {error}") from None
    try:
        if statsd:
            parse_statsd(statsd)
    except ValueError as error:
        raise click.UsageError(f"--statsd: {error}") from None
    new_keys: dict[str, str] = {}

    def first_keys(keys: dict[str, str]) -> None:
        _print_keys(keys)
        new_keys.update(keys)

    async def command(reactor: Any) -> int:
        service = CollectorService(
            store,
            listen,
            retention=retention,
            access_log=access_log,
            proxies=proxies,
            stathat_statuses=stathat_statuses,
            webhooks=urls,
            statsd=statsd,
            statsd_key=statsd_key,
            first_keys=first_keys,
            reactor=reactor,
        )
        ready = service.ready()
        service.startService()
        try:
            parts = await ready
            link = await parts.sessions.link()
        except CannotListen as error:
            click.echo(f"txstathat: {printable(error)}", err=True)
            return 1
        except Exception as error:
            click.echo(f"txstathat: cannot start: {printable(error)}", err=True)
            return 1
        for url, address in zip(service.urls, service.addresses, strict=True):
            everywhere = getattr(address, "host", None) in ("0.0.0.0", "::")
            more = ", and on this computer's other addresses" if everywhere else ""
            _print(f"Listening on {url}{more}")
        at = service.statsd_address
        if at is not None:
            _print(f"Receiving statsd at {at.host}, UDP port {at.port}")
        _collect_garbage_less()
        await _print_settings(service, parts, new_keys, write_settings)
        _print(
            "Open this to sign in (works once, for one hour): "
            f"{service.urls[0]}/sign-in/{link}"
        )
        with suppress(CancelledError):
            await Deferred()
        await service.stopService()
        return 0

    _log_to_stderr(LogLevel.info if access_log else LogLevel.warn)
    run(command)


def _collect_garbage_less() -> None:
    """
    Let Python's garbage collector look less often, and not at what is there now. Points
    are many small objects, and not in cycles: it took a third of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_OBJECTS, 20, 50)


def _print(line: str) -> None:
    click.echo(line)
    sys.stdout.flush()


def _print_keys(keys: dict[str, str]) -> None:
    _print("New keys, which are shown only now:")
    for what, key in keys.items():
        _print(f"{what}: {key}")


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
        _print(message)


def _log_to_stderr(level: Any) -> None:
    observer = FilteringLogObserver(
        textFileLogObserver(sys.stderr), [LogLevelFilterPredicate(level)]
    )
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
