"""
The URL schemes of stores.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from urllib.parse import unquote, urlsplit

__all__ = ["SCHEMES", "StoreKind", "sqlite_path", "store_kind"]


class StoreKind(Enum):
    """The kinds of stores."""

    MEMORY = auto()
    SQLITE = auto()
    REDIS = auto()


#: The kind of store for each URL scheme.
SCHEMES = {
    "sqlite": StoreKind.SQLITE,
    "memory": StoreKind.MEMORY,
    "redis": StoreKind.REDIS,
    "rediss": StoreKind.REDIS,
    "unix": StoreKind.REDIS,
    "redis+cluster": StoreKind.REDIS,
    "rediss+cluster": StoreKind.REDIS,
    "redis+sentinel": StoreKind.REDIS,
    "rediss+sentinel": StoreKind.REDIS,
}


def store_kind(url: str) -> StoreKind:
    """
    Return the kind of store that a URL names.

    :param url: as for :func:`txstathat.stores.open_store`.
    :raises ValueError: if it has another scheme, or ``memory:`` is followed by
        anything.
    """
    scheme = urlsplit(url).scheme
    kind = SCHEMES.get(scheme)
    if kind is None:
        if not scheme and "@" not in url and url:
            path = f"sqlite://{url}" if url.startswith("/") else f"sqlite:{url}"
            raise ValueError(f"the path of a file is not a URL; write {path}")
        # Do not show the rest of the URL: it may contain a password.
        raise ValueError(
            f"{scheme!r} is not a kind of store; use one of: {', '.join(SCHEMES)}"
        )
    if kind is StoreKind.MEMORY and url != "memory:":
        raise ValueError("the URL of a store in memory is 'memory:' and nothing more")
    return kind


def sqlite_path(url: str) -> str | None:
    """
    Return the path of the file of a SQLite store.

    :param url: as for :func:`txstathat.stores.open_store`.
    :returns: the path; ``None`` if the URL does not name a SQLite store.
    :raises ValueError: if the URL of a SQLite store does not name a file.
    """
    parts = urlsplit(url)
    if SCHEMES.get(parts.scheme) is not StoreKind.SQLITE:
        return None
    path = unquote(parts.path)
    # "sqlite:////a/path" is the absolute path of SQLAlchemy's users. Two slashes at the
    # beginning of a path would have a meaning of their own.
    path = re.sub("^/+", "/", path)
    if parts.netloc or parts.query or parts.fragment or path in ("", "/"):
        raise ValueError(
            "the URL of a SQLite store is sqlite:///an/absolute/path or "
            "sqlite:a/relative/path, with %3F for ? and %23 for #"
        )
    if path.strip("/") == ":memory:":
        raise ValueError("the URL of a store in memory is 'memory:'")
    if "\0" in path:
        raise ValueError("the path of a SQLite store cannot contain %00")
    return path
