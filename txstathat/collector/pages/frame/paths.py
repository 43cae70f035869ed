"""
The paths and URLs of pages, as a browser sees them.

All pages write paths as if the collector were at the root of its host. Behind a proxy
that serves it below a path, this module puts that path in front of them.
"""

from __future__ import annotations

import re
from typing import Any

from twisted.web.server import Request
from twisted.web.template import Tag

__all__ = ["base_path", "is_https", "public_url", "rebase"]

#: The attributes that hold paths.
_PATHS = frozenset({"href", "src", "action", "formaction", "data-path"})
_HOST = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?")


def base_path(request: Request) -> str:
    """
    The path below which browsers reach the collector: ``''`` at the root of its host,
    otherwise a text such as ``'/stats'``.

    :param request: a request.
    """
    path: str = getattr(request.site, "base_path", "")
    return path


def public_url(request: Request) -> str:
    """
    The URL of this server as the browser reaches it, without a slash at its end.

    :param request: a request of the browser.
    """
    configured: str = getattr(request.site, "public_url", "")
    if configured:
        return configured
    host = request.getHeader("host") or ""
    if _HOST.fullmatch(host) is None:
        # The URL is shown in a shell command.
        host = "localhost"
    return f"http{'s' if is_https(request) else ''}://{host}"


def is_https(request: Request) -> bool:
    """
    Whether the browser uses TLS. A proxy that terminates TLS says so in a header. A
    client that forges it only harms itself.

    :param request: a request of the browser.
    """
    forwarded = request.getHeader("x-forwarded-proto") or ""
    return bool(request.isSecure()) or forwarded.lower() == "https"


def rebase(content: Any, base: str) -> Any:
    """
    Put a path in front of the paths in a part of a page.

    :param content: a tag, or anything that a tag can have as a child.
    :param base: the path, such as ``'/stats'``.
    :returns: a copy with the new paths. What is shared between pages stays as it is.
    """
    if isinstance(content, (list, tuple)):
        return [rebase(each, base) for each in content]
    if not isinstance(content, Tag):
        return content
    attributes = {
        name: base + value
        if name in _PATHS and isinstance(value, str) and value.startswith("/")
        else value
        for name, value in content.attributes.items()
    }
    children = [rebase(each, base) for each in content.children]
    return Tag(content.tagName, attributes, children)
