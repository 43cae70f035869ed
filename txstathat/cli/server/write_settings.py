"""
Write the settings file for the other commands, when ``txstathat serve`` starts.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click

from txstathat.cli.program import program
from txstathat.cli.settings import (
    host_of,
    read_settings,
    settings_path,
    write_settings,
)
from txstathat.collector.auth.key_record import KINDS
from txstathat.collector.auth.keys import Keys
from txstathat.printable import printable

__all__ = ["offer_settings", "own_url"]


def own_url(addresses: Sequence[Any], urls: Sequence[str]) -> str | None:
    """
    The URL of a server that only this machine can reach.

    :param addresses: the addresses on which it listens.
    :param urls: the same addresses as URLs.
    :returns: the first http:// URL; ``None`` if there is none, or if other machines can
        reach the server.
    """
    hosts = [getattr(address, "host", None) for address in addresses]
    if not all(host is None or ip_address(host).is_loopback for host in hosts):
        return None
    return next((url for url in urls if url.startswith("http://")), None)


async def offer_settings(
    url: str | None,
    new_keys: Mapping[str, str],
    keys: Keys,
    environ: Mapping[str, str],
    requested: bool,
) -> str:
    """
    Write the settings file, if it does not exist: with the first keys, or on request
    with new ones.

    :param url: the result of :func:`own_url`.
    :param new_keys: the first keys by their kinds; empty after the first start.
    :param keys: the keys of the server.
    :param environ: the environment, which may set the file's path.
    :param requested: whether the user asked for the file (``--write-settings``).
    :returns: a message for the user; may be empty.
    :raises StatHatError: if new keys cannot be made.
    """
    path = settings_path(environ)
    if url is None:
        why = "No settings were written: other machines can reach this server"
        return f"{why}, or it has no http:// address." if requested else ""
    if path is None:
        why = "No settings were written: there is no home directory"
        return f"{why}. Set TXSTATHAT_CONFIG to a file." if requested else ""
    try:
        found = read_settings(path)
    except click.UsageError as error:
        return f"The settings file was not changed: {error.message}"
    if found or path.is_symlink() or path.exists():
        return _existing(path, found, url, lambda key: keys.allow("ez", key))
    if new_keys:
        return _write(path, url, new_keys)
    if requested:
        return await _write_new(path, url, keys)
    return (
        f"There are no settings for the other commands. To write {path}, "
        "start this server with --write-settings."
    )


def _existing(
    path: Path, found: Mapping[str, str], url: str, is_own_key: Callable[[str], bool]
) -> str:
    """
    The message about a settings file that exists.
    """
    file_url = printable(found.get("url", "")).rstrip("/")
    if file_url != url:
        other = (
            f"names another server, {host_of(file_url)}"
            if file_url
            else "names no server"
        )
        return (
            f"{path} {other}; it was not changed. To send to this server set "
            f"TXSTATHAT_URL={url} and TXSTATHAT_EZKEY; or remove the file, and start "
            "this server with --write-settings."
        )
    if not is_own_key(found.get("ezkey", "")):
        return (
            f"{path} has this address, but no key of this server; it was not changed. "
            "Remove it, and start this server with --write-settings; or write one of "
            "this server's keys into it."
        )
    return f'"{program()} count signups" in another terminal sends here ({path}).'


async def _write_new(path: Path, url: str, keys: Keys) -> str:
    """
    Write the file with an EZ key and an access token that are made for it.
    """
    made = {}
    number = secrets.token_hex(3)
    names = {kind: f"settings {KINDS[kind]} {number}" for kind in ("ez", "access")}
    for kind, name in names.items():
        made[KINDS[kind]] = await keys.add(kind, name)
    message = _write(path, url, made)
    if not path.exists():
        for name in names.values():  # nobody knows them
            await keys.revoke(name)
    return message


def _write(path: Path, url: str, keys: Mapping[str, str]) -> str:
    try:
        write_settings(path, url, keys["EZ key"], keys["access token"])
    except OSError as error:
        return f"Could not write the settings to {path}: {error.strerror}"
    return (
        f"Wrote the settings to {path}\n"
        f"Now this works in another terminal: {program()} count signups"
    )
