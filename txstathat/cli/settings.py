"""
Which server a command talks to, and with which key or token.

All commands look in the same places, in this order: flags, the environment, the
settings file. There is no default server. A key or token is sent only to the URL that
is set in the same place, or to the same URL: otherwise a key for one server could reach
another one.
"""

from __future__ import annotations

import json
import os
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import click

from txstathat.cli.options import add_options
from txstathat.client.stathat import txStatHat
from txstathat.export.client import StatHatExport

__all__ = [
    "MAX_SETTINGS",
    "Server",
    "find_reader",
    "find_sender",
    "make_client",
    "make_export",
    "host_of",
    "read_settings",
    "reader_options",
    "server_options",
    "settings_path",
    "write_settings",
]

#: The largest settings file that is read, in bytes.
MAX_SETTINGS = 65_536

_NAMES = ("url", "ezkey", "token")


@dataclass(frozen=True, slots=True)
class Server:
    """
    A server, and the secret for it.

    :ivar url: its URL.
    :ivar secret: the EZ key or the access token.
    """

    url: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Secret:
    """
    A kind of secret, and its name in each source.
    """

    label: str
    name: str
    flag: str
    variable: str


_EZKEY = _Secret("EZ key", "ezkey", "--ezkey", "TXSTATHAT_EZKEY")
_TOKEN = _Secret("access token", "token", "--token", "TXSTATHAT_TOKEN")


@dataclass(frozen=True, slots=True)
class _Source:
    """
    A source of settings, and its settings; empty texts for those that are not set.

    :ivar in_file: the path, if the source is a file.
    """

    url: str
    secret: str = field(repr=False)
    url_name: str
    secret_name: str
    in_file: Path | None = None


def settings_path(environ: Mapping[str, str]) -> Path | None:
    """
    The path of the settings file: ``TXSTATHAT_CONFIG``, else ``txstathat.toml`` in the
    folder of the XDG Base Directory Specification.

    :param environ: the environment.
    :returns: the path, or ``None`` without a home directory.
    """
    named = environ.get("TXSTATHAT_CONFIG")
    if named:
        return Path(named)
    folder = environ.get("XDG_CONFIG_HOME", "")
    if os.path.isabs(folder):  # the specification ignores a relative one
        return Path(folder, "txstathat.toml")
    home = environ.get("HOME", "")
    return Path(home, ".config", "txstathat.toml") if os.path.isabs(home) else None


def read_settings(path: Path | None) -> dict[str, str]:
    """
    Read the settings file, if there is one.

    :param path: the file, or ``None``.
    :returns: those of ``url``, ``ezkey`` and ``token`` that are set.
    :raises click.UsageError: if others may read the file, or it cannot be read.
    """
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise click.UsageError(
                    f"other users can read {path} (mode {mode:04o}), and it holds "
                    f"secrets. Run: chmod 600 {path}"
                )
            text = file.read(MAX_SETTINGS + 1)
        if len(text) > MAX_SETTINGS:
            raise click.UsageError(f"{path}: larger than {MAX_SETTINGS:,} bytes")
        found = tomllib.loads(text.decode("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from None
    except ValueError:
        # The parser's message may quote the secret.
        raise click.UsageError(f"{path}: not valid TOML") from None
    for name, value in found.items():
        if name not in _NAMES or not isinstance(value, str):
            raise click.UsageError(
                f"{path}: {name!r} is not a setting. The file may hold url, ezkey and "
                'token, each as text, such as url = "http://127.0.0.1:8080"'
            )
    return {name: value for name, value in found.items() if value}


def write_settings(path: Path, url: str, ezkey: str, token: str) -> None:
    """
    Write a new settings file, which only its owner can read.

    :param path: the file. No symbolic link is followed.
    :param url: the server.
    :param ezkey: its EZ key.
    :param token: its access token.
    :raises FileExistsError: if there is something at that path.
    :raises OSError: if the file cannot be written; then there is none.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lines = {"url": url, "ezkey": ezkey, "token": token}
    # O_CREAT sets the mode at once; O_EXCL follows no symbolic link.
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            # A JSON string of ASCII characters is a TOML string.
            file.writelines(
                f"{key} = {json.dumps(text)}\n" for key, text in lines.items()
            )
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise


def host_of(url: str) -> str:
    """
    The host and port of a URL, for messages: without anything that may be secret.
    """
    return urlsplit(url).netloc.rpartition("@")[2]


def find_sender(
    url: str | None, ezkey: str | None, environ: Mapping[str, str] | None = None
) -> Server:
    """
    The server to send to.

    :param url: the value of ``--url``, or ``None``.
    :param ezkey: the value of ``--ezkey``, or ``None``.
    :param environ: the environment; by default that of the process.
    :raises click.UsageError: if no server is set, or no key for it.
    """
    return _find(_EZKEY, url, ezkey, environ)


def find_reader(
    url: str | None, token: str | None, environ: Mapping[str, str] | None = None
) -> Server:
    """
    The server to read from; otherwise like :func:`find_sender`.
    """
    return _find(_TOKEN, url, token, environ)


def _find(
    kind: _Secret,
    url: str | None,
    secret: str | None,
    environ: Mapping[str, str] | None,
) -> Server:
    environ = os.environ if environ is None else environ
    for flag, given in (("--url", url), (kind.flag, secret)):
        if given is not None and not given.strip():
            raise click.UsageError(f"{flag} is empty")
    path = settings_path(environ)
    sources = _sources(kind, url, secret, environ, path)
    first = next((source for source in sources if source.url or source.secret), None)
    if first is None:
        raise click.UsageError(_no_server_message(kind, path))
    if not first.url:
        raise click.UsageError(_no_url_message(kind, first))
    if first.secret:
        return Server(first.url, first.secret)
    # Another source may have the secret for the same URL.
    for other in sources:
        if other.url == first.url and other.secret:
            return Server(first.url, other.secret)
    raise click.UsageError(_no_secret_message(kind, first))


def _sources(
    kind: _Secret,
    url: str | None,
    secret: str | None,
    environ: Mapping[str, str],
    path: Path | None,
) -> Iterator[_Source]:
    yield _Source((url or "").rstrip("/"), secret or "", "--url", kind.flag)
    yield _Source(
        environ.get("TXSTATHAT_URL", "").rstrip("/"),
        environ.get(kind.variable, ""),
        "TXSTATHAT_URL",
        kind.variable,
    )
    # Read the file last: an error in it must not matter when it is not needed.
    found = read_settings(path)
    known = found.get("url", "").rstrip("/"), found.get(kind.name, "")
    yield _Source(*known, "url", kind.name, path)


def _no_server_message(kind: _Secret, path: Path | None) -> str:
    file = "" if path is None else f", and writes {path}"
    return (
        "no server is set.\n"
        'Run your own with "txstathat serve --write-settings": it needs no '
        f"account{file}.\n"
        f"For another server set TXSTATHAT_URL and {kind.variable}."
    )


def _no_url_message(kind: _Secret, source: _Source) -> str:
    if source.in_file is not None:
        return (
            f"{source.in_file} holds an {kind.label} but no url. "
            'Add its server: url = "http://127.0.0.1:8080"'
        )
    return (
        f"{source.secret_name} is set, but {source.url_name} is not. An {kind.label} "
        f"is only sent to the URL that is set in the same place: set {source.url_name} "
        f"too, or leave {source.secret_name} out"
    )


def _no_secret_message(kind: _Secret, source: _Source) -> str:
    if source.in_file is not None:
        return (
            f'no {kind.label}: add {kind.name} = "…" to {source.in_file}, '
            f"the {kind.label} of {host_of(source.url)}"
        )
    return (
        f"no {kind.label}: {source.url_name} is set, but {source.secret_name} is not. "
        f"An {kind.label} from elsewhere is only sent to its own server: set "
        f"{source.secret_name} too, or leave {source.url_name} out"
    )


def _connection_options(
    kind: _Secret, metavar: str, timeout: float
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    options = [
        click.option(
            "--url",
            metavar="URL",
            help=f"The server. Needs {kind.flag}, unless the same URL is set "
            "elsewhere. [default: TXSTATHAT_URL, then the settings file]",
        ),
        click.option(
            kind.flag,
            metavar=metavar,
            help=f"The {kind.label} for --url. Prefer {kind.variable}: other users of "
            "this machine can see a command line.",
        ),
        click.option(
            "--timeout",
            default=timeout,
            show_default=True,
            metavar="SECONDS",
            help="The time limit of one request.",
        ),
    ]
    return lambda command: add_options(command, options)


#: Adds the options for the server to send to, and its key.
server_options = _connection_options(_EZKEY, "KEY", 10.0)
#: Adds the options for the server to read from, and its token.
reader_options = _connection_options(_TOKEN, "TOKEN", 30.0)


def make_client(server: Server, timeout: float) -> txStatHat:
    """
    A client that sends to a server.

    :raises click.UsageError: if the URL or the key is not valid.
    """
    try:
        return txStatHat(
            server.secret, ignore_errors=False, url=server.url, timeout=timeout
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def make_export(server: Server, timeout: float) -> StatHatExport:
    """
    A client that reads from a server; otherwise like :func:`make_client`.
    """
    try:
        return StatHatExport(server.secret, url=server.url, timeout=timeout)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
