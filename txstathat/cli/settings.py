"""
Where commands that read find their settings: flags, the environment, a file.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from txstathat.cli.options import add_options, timeout_option
from txstathat.export import EXPORT_URL, StatHatExport

__all__ = ["config_path", "make_export", "read_config", "reader_options"]

_NAMES = frozenset({"token", "url"})


def config_path(environ: Mapping[str, str]) -> Path:
    """
    Where the file with settings is: ``TXSTATHAT_CONFIG``, or ``txstathat.toml`` where
    the XDG Base Directory Specification keeps settings.
    """
    named = environ.get("TXSTATHAT_CONFIG")
    if named:
        return Path(named)
    home = environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "txstathat.toml"


def read_config(path: Path) -> dict[str, str]:
    """
    Read the file, if there is one.

    :returns: ``token`` and ``url``, as far as they are there.
    :raises click.UsageError: if others may read the file, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise click.UsageError(
                    f"{path} holds a secret, and others may read it (mode {mode:04o}); "
                    "make it yours: chmod 600"
                )
            found = tomllib.load(file)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from None
    except ValueError:
        # The words of the parser may quote the secret.
        raise click.UsageError(f"{path}: is not TOML") from None
    for name, value in found.items():
        if name not in _NAMES or not isinstance(value, str):
            raise click.UsageError(
                f'{path}: may hold token = "…" and url = "…"; see {name!r}'
            )
    return found


def reader_options(command: Callable[..., None]) -> Callable[..., None]:
    """
    Add the options that say where to read and with which token.
    """
    options = [
        click.option(
            "--token",
            envvar="TXSTATHAT_TOKEN",
            metavar="TOKEN",
            help="The access token. Better set TXSTATHAT_TOKEN, or write it to "
            "~/.config/txstathat.toml: others on this machine can see a command line.",
        ),
        click.option(
            "--url",
            envvar="TXSTATHAT_URL",
            metavar="URL",
            help=f"The server (or TXSTATHAT_URL).  [default: {EXPORT_URL}]",
        ),
        timeout_option(30.0),
    ]
    return add_options(command, options)


def make_export(token: str | None, url: str | None, timeout: float) -> StatHatExport:
    """
    The client that the options, the environment and the file describe.

    :raises click.UsageError: if they describe none.
    """
    path = config_path(os.environ)
    # A file that is not needed is not read: a bad one would be in the way.
    config: dict[str, Any] = {} if token and url else read_config(path)
    token, url = token or config.get("token"), url or config.get("url", EXPORT_URL)
    if not token:
        raise click.UsageError(
            f"no access token: set TXSTATHAT_TOKEN, or write it to {path} (mode 0600) "
            'as token = "…"'
        )
    try:
        return StatHatExport(token, url=str(url), timeout=timeout)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
