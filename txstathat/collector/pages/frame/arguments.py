"""
What a browser sends in the query or in a form.
"""

from __future__ import annotations

from twisted.web.server import Request

__all__ = ["argument"]


def argument(request: Request, name: str) -> str:
    """
    Return the last value of an argument in the query or the form of a request.

    :param request: the request.
    :param name: the name of the argument.
    :returns: its text; empty if the request does not have it.
    """
    values = (request.args or {}).get(name.encode("ascii"), [b""])
    return str(values[-1], "utf-8", "replace")
