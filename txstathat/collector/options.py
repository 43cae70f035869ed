"""
What a collector is told from outside, by ``twist stathat`` and ``txstathat serve``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from txstathat.collector.alerts.webhooks import check_webhook
from txstathat.collector.archive.stats import RETENTION
from txstathat.errors import InvalidTimeframe
from txstathat.metrica.calendar import SCALES
from txstathat.points.timeframe import Span

__all__ = ["STORE", "address_text", "parse_keep", "read_webhooks", "write_keys"]

#: Where stats are kept, by default.
STORE = "sqlite:txstathat.sqlite"

_DAY = 86_400


def parse_keep(texts: Iterable[str]) -> dict[str, float | None]:
    """
    Read how long detail is kept: ``minute=7d``, ``day=forever``.

    :param texts: each a scale, ``=``, and a number with one of ``m h d w M y``.
    :raises ValueError: if one of them is not.
    """
    kept: dict[str, float | None] = {}
    for text in texts:
        scale, _, span = text.partition("=")
        if scale not in SCALES:
            raise ValueError(
                f"{text!r} must be like minute=7d; scales are {', '.join(SCALES)}"
            )
        if span == "forever":
            kept[scale] = None
            continue
        try:
            kept[scale] = float(Span.parse(span).longest)
        except InvalidTimeframe:
            raise ValueError(
                f"{text!r} must be like minute=7d or day=forever; units are m h d w M y"
            ) from None
    return kept


def default_keep() -> str:
    """
    How long detail is kept by default, in words.
    """
    return ", ".join(
        f"{scale} " + ("forever" if keep is None else _span(keep))
        for scale, keep in reversed(RETENTION.items())
    )


def _span(seconds: float) -> str:
    return f"{seconds / _DAY:g}d" if seconds >= 2 * _DAY else f"{seconds / 3600:g}h"


def read_webhooks(path: str) -> list[str]:
    """
    Read the URLs of webhooks from a file, one a line. (On a command line everybody
    could see them.)

    :param path: the file; none if it is empty.
    :raises ValueError: if it cannot be read, or a line is not such a URL; the message
        tells which line, and nothing of it.
    """
    if not path:
        return []
    urls = []
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            urls.append(check_webhook(line.strip()))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
    return urls


def address_text(address: Any, tls: bool = False) -> str:
    """
    Where a server listens, as something to open where that is possible.

    :param tls: whether it speaks TLS.
    """
    host = getattr(address, "host", None)
    if host is None:
        return repr(address)
    host = f"[{host}]" if ":" in host else host
    return f"http{'s' if tls else ''}://{host}:{address.port}"


def write_keys(path: str, keys: Mapping[str, str]) -> None:
    """
    Write keys to a file that only its owner can read.

    :param path: the file; if it is there it is replaced.
    :param keys: by what they are.
    :raises OSError: if it cannot be written.
    """
    written = f"{path}.new"
    with suppress(FileNotFoundError):
        os.unlink(written)
    # Its mode is right from the first moment on.
    handle = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.writelines(f"{what}: {key}\n" for what, key in keys.items())
        file.flush()
        os.fsync(file.fileno())
    os.replace(written, path)
