"""
Check the URLs of servers, and let treq request hosts that its URL parser refuses.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address

from hyperlink import EncodedURL
from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from txstathat.interfaces import HTTPAgent

__all__ = ["RealHostAgent", "check_url", "with_stand_in"]

_PORT = re.compile(r":[0-9]{1,5}$")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
# RFC 2606 reserves .invalid: a look-up of this name would find nothing.
_STAND_IN = "server.invalid"


def _without_underscores(host: str) -> str:
    """
    Replace the underscores in a host name. IDNA 2008 forbids them, but names in private
    networks often have them.

    :param host: a host name.
    :returns: a name of the same length, for use inside the program only.
    """
    return host.replace("_", "x")


def check_url(url: object) -> str:
    """
    Check the URL of a server.

    :param url: ``https://`` or ``http://``, a host, and optionally a port and a path.
        The host is a name (underscores are allowed), an IPv4 address, or an IPv6
        address in brackets.
    :returns: the URL without a slash at its end.
    :raises ValueError: if it is anything else. The message quotes no part of the URL,
        which may contain a secret.
    """
    problem = _url_problem(url)
    if problem is not None:
        raise ValueError(f"the URL {problem}")
    return str(url).rstrip("/")


def _url_problem(url: object) -> str | None:
    if not isinstance(url, str):
        return f"must be text, not {type(url).__name__}"
    if not url.isascii() or not url.isprintable() or " " in url:
        return "must contain only printable ASCII characters and no spaces"
    scheme, _, rest = url.partition("://")
    if scheme not in ("https", "http"):
        return "must begin with https:// (or http://)"
    if "?" in rest or "#" in rest:
        return "must not have a query or a fragment"
    netloc = rest.partition("/")[0]
    if "@" in netloc:
        return "must not contain a user name or password"
    host, _, port = netloc.rpartition(":") if _PORT.search(netloc) else (netloc, "", "")
    if port and not 0 < int(port) < 65536:
        return "must have a port from 1 to 65535"
    if not (_is_ipv6(host) or _is_host(host)):
        return (
            "needs a valid host: a name (letters, digits, hyphens, underscores, dots), "
            "an IPv4 address, or an IPv6 address in brackets"
        )
    return None


def _is_ipv6(host: str) -> bool:
    # "%" begins a zone, which has a meaning on one machine only.
    if not (host.startswith("[") and host.endswith("]")) or "%" in host:
        return False
    try:
        IPv6Address(host[1:-1])
    except ValueError:
        return False
    return True


def _is_host(host: str) -> bool:
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        return False
    # Twisted rejects names that IDNA forbids: report them here, not at each request.
    try:
        EncodedURL.from_text(f"http://{_without_underscores(host)}").to_uri()
    except ValueError:
        return False
    return True


def with_stand_in(url: str) -> tuple[str, bytes]:
    """
    Replace the host of a URL by a stand-in, for treq: its URL parser refuses IPv6
    addresses and underscores. :class:`RealHostAgent` puts the real host back.

    :param url: a URL that :func:`check_url` accepts.
    :returns: the URL with the stand-in, and the real host with its port.
    """
    scheme, _, rest = url.partition("://")
    netloc, slash, path = rest.partition("/")
    return f"{scheme}://{_STAND_IN}{slash}{path}", netloc.lower().encode("ascii")


@implementer(IAgent)
class RealHostAgent:
    """
    Puts the real host back into the URLs that treq requests.

    :param agent: sends the requests.
    :param netloc: the real host with its port, as :func:`with_stand_in` returns it.
    """

    def __init__(self, agent: HTTPAgent, netloc: bytes) -> None:
        self._agent = agent
        self._netloc = netloc

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """
        See :meth:`twisted.web.iweb.IAgent.request`.
        """
        scheme, _, rest = uri.partition(b"://")
        path = rest.removeprefix(_STAND_IN.encode("ascii"))
        real = b"%b://%b%b" % (scheme, self._netloc, path)
        response: Deferred[IResponse] = self._agent.request(
            method, real, headers, bodyProducer
        )
        return response
