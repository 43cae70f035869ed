"""
Options that ``twist stathat`` and ``txstathat serve`` share.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from txstathat.collector.alerts.operator_webhooks import check_webhook
from txstathat.collector.archive.stats import RETENTION
from txstathat.collector.channels.secret_files import SecretFiles
from txstathat.collector.digest.schedule import DEFAULT_SCHEDULE, Schedule
from txstathat.collector.ingest.statsd import KEY
from txstathat.errors import InvalidTimeframe
from txstathat.http.connections.allowed import Networks
from txstathat.metrica.calendar import SCALES
from txstathat.points.timeframe import Span

__all__ = [
    "MAX_PUBLIC_URL",
    "SERVER_OPTIONS",
    "STORE",
    "ServerOption",
    "check_options",
    "default_retention",
    "listen_endpoint",
    "listen_url",
    "parse_public_url",
    "parse_retention",
    "parse_statsd",
    "read_webhooks",
    "write_keys",
]

#: The URL of the default store.
STORE = "sqlite:txstathat.sqlite"


@dataclass(frozen=True, slots=True)
class ServerOption:
    """
    An option whose value is a text.

    :ivar name: its name.
    :ivar metavar: what its value is.
    :ivar help: what it is for.
    :ivar default: its value by default.
    """

    name: str
    metavar: str
    help: str
    default: str = ""


#: The options whose values are texts.
SERVER_OPTIONS = (
    ServerOption(
        "public-url",
        "URL",
        "The URL at which browsers reach this server, such as "
        "https://example.com/stats behind a proxy that removes /stats.",
    ),
    ServerOption(
        "webhooks",
        "FILE",
        "A file of URLs to which alerts are posted, one on each line; the first is the "
        "default.",
    ),
    ServerOption(
        "secrets",
        "DIRECTORY",
        "A directory with the secrets of channels: DIRECTORY/HOST/NAME.",
    ),
    ServerOption(
        "digest",
        "CHANNEL",
        "The e-mail channel for a weekly digest. By default none is sent.",
    ),
    ServerOption(
        "digest-at",
        "TIME",
        "When the digest is sent, such as 'fri 17:30 Europe/Berlin'.",
        DEFAULT_SCHEDULE,
    ),
    ServerOption(
        "statsd",
        "udp:PORT",
        "Where to receive statsd's datagrams, such as udp:8125 (on loopback) or "
        "udp:8125:interface=10.0.0.1. They have no key: whoever can reach the port can "
        "add points.",
    ),
    ServerOption(
        "statsd-key",
        "NAME",
        "The EZ key whose limits apply to these points.",
        KEY,
    ),
)

_DAY = 86_400
#: The most characters of the URL at which browsers reach a collector.
MAX_PUBLIC_URL = 255
_PUBLIC_URL = re.compile(
    r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?"
    r"(/(?!\.\.?(/|$))[A-Za-z0-9._~-]+)*"
)
_STATSD = re.compile(r"udp:([0-9]{1,5})(?::interface=(.+))?")


def parse_retention(texts: Iterable[str]) -> dict[str, float | None]:
    """
    Parse how long detail is stored: ``minute=7d``, ``day=forever``.

    :param texts: each is a scale, ``=``, and ``forever`` or a number with one of the
        units ``m h d w M y``.
    :returns: seconds by scale; ``None`` for ever.
    :raises ValueError: if one of them is not valid.
    """
    retention: dict[str, float | None] = {}
    for text in texts:
        scale, _, span = text.partition("=")
        if scale not in SCALES:
            raise ValueError(
                f"{text!r} must be like minute=7d; scales are {', '.join(SCALES)}"
            )
        if span == "forever":
            retention[scale] = None
            continue
        try:
            retention[scale] = float(Span.parse(span).longest)
        except InvalidTimeframe:
            raise ValueError(
                f"{text!r} must be like minute=7d or day=forever; units are m h d w M y"
            ) from None
    return retention


def default_retention() -> str:
    """
    Return how long detail is stored by default, in words.
    """
    return ", ".join(
        f"{scale} " + ("forever" if seconds is None else _span(seconds))
        for scale, seconds in reversed(RETENTION.items())
    )


def _span(seconds: float) -> str:
    return f"{seconds / _DAY:g}d" if seconds >= 2 * _DAY else f"{seconds / 3600:g}h"


def parse_public_url(text: str) -> str:
    """
    Parse the URL at which browsers reach a collector.

    :param text: such as ``https://stats.example.com`` or ``https://example.com/stats/``.
    :returns: the URL without a slash at its end.
    :raises ValueError: if it is not valid.
    """
    url = text.rstrip("/")
    if len(url) > MAX_PUBLIC_URL or _PUBLIC_URL.fullmatch(url) is None:
        raise ValueError(
            f"{text[:MAX_PUBLIC_URL]!r} must be like https://stats.example.com or "
            "https://example.com/stats, without a user, a query and a fragment; names "
            "in its path can have letters, digits and the characters . _ ~ -"
        )
    return url


def parse_statsd(text: str) -> tuple[str, int]:
    """
    Parse where to receive statsd's datagrams, such as ``udp:8125`` or
    ``udp:8125:interface=10.0.0.1``. As in Twisted's endpoints, the colons of an IPv6
    address are written as ``\\:``.

    :returns: the address, by default that of loopback, and the port.
    :raises ValueError: if it is not valid.
    """
    found = _STATSD.fullmatch(text)
    if found is not None and int(found[1]) < 65_536:
        with suppress(ValueError):
            address = (found[2] or "127.0.0.1").replace("\\:", ":")
            return str(ip_address(address)), int(found[1])
    raise ValueError(
        f"{text!r} must be like udp:8125 or udp:8125:interface=127.0.0.1, with the IP "
        "address of an interface"
    )


def read_webhooks(path: str) -> list[str]:
    """
    Read the URLs of webhooks from a file, one on each line. They are not options
    themselves, since other users can see a command line.

    :param path: the path of the file, or ``''`` for no webhooks.
    :raises ValueError: if the file cannot be read, other users may read or write it, or
        a line is not a valid URL. The message has the number of the line, and nothing
        of its content.
    """
    if not path:
        return []
    urls = []
    try:
        with open(path, encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if os.name == "posix" and mode & 0o007:
                raise ValueError(
                    f"other users can read or change {path} (mode {mode:04o}), and it "
                    f"contains secrets. Run: chmod o-rwx {path}"
                )
            lines = file.read().splitlines()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: {error}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            urls.append(check_webhook(line.strip()))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
    return urls


def check_options(
    *,
    keep: Iterable[str],
    public_url: str,
    webhooks: str,
    secrets: str,
    allow_private: Iterable[str],
    digest_at: str,
    statsd: str,
) -> tuple[dict[str, float | None], list[str]]:
    """
    Check the options that are texts in a form of their own. Each parameter has the name
    of its option.

    :returns: the retention of ``--keep``, and the URLs of ``--webhooks``.
    :raises ValueError: if one of them is not valid. The message begins with its name.
    """
    checks: dict[str, Callable[[], Any]] = {
        "--keep": lambda: parse_retention(keep),
        "--public-url": lambda: public_url and parse_public_url(public_url),
        "--webhooks": lambda: read_webhooks(webhooks),
        "--secrets": lambda: SecretFiles(secrets),
        "--allow-private": lambda: Networks(allow_private),
        "--digest-at": lambda: Schedule.parse(digest_at),
        "--statsd": lambda: statsd and parse_statsd(statsd),
    }
    found: dict[str, Any] = {}
    for name, check in checks.items():
        try:
            found[name] = check()
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return found["--keep"], found["--webhooks"]


def listen_endpoint(port: int | None = None, host: str | None = None) -> str:
    """
    Return the server endpoint string for a port and an IP address.

    :param port: the port; by default 8080.
    :param host: the address of an interface; by default that of loopback.
    :raises ValueError: if it is not an IP address.
    """
    try:
        address = str(ip_address("127.0.0.1" if host is None else host))
    except ValueError:
        raise ValueError(
            f"{host!r} must be the IP address of an interface of this computer, such "
            "as 127.0.0.1, or 0.0.0.0 for all of them"
        ) from None
    number, escaped = 8080 if port is None else port, address.replace(":", "\\:")
    return f"tcp:{number}:interface={escaped}"


def listen_url(address: Any, tls: bool = False) -> str:
    """
    Return the URL of a server, to open in a browser.

    :param address: the address of the port.
    :param tls: whether it uses TLS.
    :returns: the URL; the address in words if it has no host, such as a UNIX socket.
    """
    host = getattr(address, "host", None)
    if host is None:
        return repr(address)
    # Every address of this computer: a browser needs one of them.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    host = f"[{host}]" if ":" in host else host
    return f"http{'s' if tls else ''}://{host}:{address.port}"


def write_keys(path: str, keys: Mapping[str, str]) -> None:
    """
    Write keys to a file that only its owner can read.

    :param path: the path of the file, which is replaced if it exists.
    :param keys: the keys, each under the words for its kind.
    :raises OSError: if the file cannot be written.
    """
    written = f"{path}.new"
    with suppress(FileNotFoundError):
        os.unlink(written)
    # The file has the right mode from the moment it exists.
    handle = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.writelines(f"{what}: {key}\n" for what, key in keys.items())
        file.flush()
        os.fsync(file.fileno())
    os.replace(written, path)
