"""
The URLs of hooks: what is accepted, and what of them is shown.
"""

from __future__ import annotations

from txstathat.http.urls import check_url

__all__ = ["MAX_URL", "check_hook_url", "host_of", "mask_url", "origin_of", "split_url"]

#: The largest number of characters in the URL of a hook.
MAX_URL = 2_000


def check_hook_url(url: object) -> str:
    """
    Check the URL of a hook. Unlike other URLs, it can have a query.

    :param url: ``https://`` or ``http://`` and a host, with an optional port, path and
        query.
    :returns: the URL.
    :raises ValueError: if it is anything else. The message holds no part of it.
    """
    if not isinstance(url, str):
        raise ValueError(f"the URL must be text, not {type(url).__name__}")
    if len(url) > MAX_URL:
        raise ValueError(f"the URL must have at most {MAX_URL} characters")
    origin, target = split_url(url)
    check_url(origin)
    # The rest is sent as it is, so nothing in it can end the request line.
    if not target.isascii() or not target.isprintable() or " " in target:
        raise ValueError(
            "the URL must be of printable ASCII characters, without spaces"
        )
    if "#" in target:
        raise ValueError("the URL must have no fragment")
    return url


def split_url(url: str) -> tuple[str, str]:
    """
    Return the scheme, host and port of a URL, and what follows them.
    """
    scheme, separator, rest = url.partition("://")
    end = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    target = rest[end:]
    return (
        f"{scheme}{separator}{rest[:end]}".lower(),
        target if target.startswith("/") else f"/{target}",
    )


def origin_of(url: str) -> str:
    """
    Return the scheme, host and port of a URL.
    """
    return split_url(url)[0]


def host_of(url: str) -> str:
    """
    Return the host of a URL, without its port.
    """
    host = origin_of(url).partition("://")[2]
    if host.startswith("["):
        return host.partition("]")[0][1:]
    return host.partition(":")[0]


def mask_url(url: str) -> str:
    """
    Return what can be shown of a URL: its scheme, host and port. What follows is often
    the only secret that a receiver checks.
    """
    origin, target = split_url(url)
    return origin if target == "/" else f"{origin}/…"
