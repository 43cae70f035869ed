"""
What ``txstathat serve`` does for the other commands: it writes the settings file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click

from txstathat.cli.settings import (
    place_of,
    read_settings,
    settings_path,
    write_settings,
)
from txstathat.printable import printable

__all__ = ["offer_settings", "own_url"]


def own_url(addresses: Sequence[Any], urls: Sequence[str]) -> str | None:
    """
    The URL under which this machine alone reaches a server.

    :param addresses: where it listens.
    :param urls: the same as URLs.
    :returns: ``None`` if other machines can reach it, or if none is plain HTTP.
    """
    hosts = [getattr(address, "host", None) for address in addresses]
    if not all(host is None or ip_address(host).is_loopback for host in hosts):
        return None
    return next((url for url in urls if url.startswith("http://")), None)


def offer_settings(
    url: str | None,
    keys: Mapping[str, str],
    knows: Callable[[str], bool],
    environ: Mapping[str, str],
    asked: bool,
) -> str:
    """
    Write the settings file on a first start, if there is none.

    :param url: as from :func:`own_url`.
    :param keys: the new keys by what they are; empty on any start but the first.
    :param knows: whether an EZ key is one of this server's.
    :param environ: where the file's place is set.
    :param asked: whether the user asked for the file.
    :returns: what to say; empty if there is nothing.
    """
    path = settings_path(environ)
    if url is None:
        why = "No settings were written: other machines can reach this server"
        return f"{why}, or it has no http:// address." if asked else ""
    if path is None:
        why = "No settings were written: there is no home directory"
        return f"{why}. Set TXSTATHAT_CONFIG to a file." if asked else ""
    try:
        found = read_settings(path)
    except click.UsageError as error:
        return f"The settings file was not changed: {error.message}"
    if found or path.is_symlink() or path.exists():
        return _existing(path, found, url, knows)
    if keys:
        return _write(path, url, keys)
    if not asked:
        return ""
    return (
        f"No settings were written to {path}: only the first start knows the keys. "
        'Make new ones with "txstathat keys add", and write that file yourself.'
    )


def _existing(
    path: Path, found: Mapping[str, str], url: str, knows: Callable[[str], bool]
) -> str:
    """
    What a settings file that is there means for this server.
    """
    there = printable(found.get("url", "")).rstrip("/")
    if there != url:
        other = (
            f"names another server, {place_of(there)}" if there else "names no server"
        )
        return (
            f"{path} {other}; it was not changed. To send to this server set "
            f"TXSTATHAT_URL={url} and TXSTATHAT_EZKEY."
        )
    if not knows(found.get("ezkey", "")):
        return (
            f"{path} has this address, but no key of this server; it was not changed. "
            "Remove it, and start on a new store; or write one of this server's keys "
            "into it."
        )
    return f'"txstathat count signups" in another terminal sends here ({path}).'


def _write(path: Path, url: str, keys: Mapping[str, str]) -> str:
    try:
        write_settings(path, url, keys["EZ key"], keys["access token"])
    except OSError as error:
        return f"Could not write the settings to {path}: {error.strerror}"
    return (
        f"Wrote the settings to {path}\n"
        "Now this works in another terminal: txstathat count signups"
    )
