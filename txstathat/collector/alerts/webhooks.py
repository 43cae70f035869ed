"""
Webhooks: notices are posted to URLs.

Often the URL is the only secret that a receiver checks, so it appears nowhere: not in
logs, errors or answers. The collector posts only to hosts that the operator names, and
follows no redirects. Otherwise everybody who can create alerts could make it send
requests to any host that it can reach.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IAgent

from txstathat.collector.errors import Refusal
from txstathat.errors import StatHatClosed, StatHatError
from txstathat.http.exchange import Transport, check_agent
from txstathat.http.urls import check_url

__all__ = [
    "MAX_URL",
    "TIMEOUT",
    "WebhookFailed",
    "Webhooks",
    "check_webhook",
    "origin_of",
]

#: The time limit of an attempt, including the reply, in seconds.
TIMEOUT = 10.0
#: The largest number of characters in the URL of a webhook.
MAX_URL = 2_000

_MAX_REPLY = 65_536
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_PORT = re.compile(r":[0-9]+$")


class WebhookFailed(StatHatError):
    """An attempt failed. The message says why, without the URL."""


def check_webhook(url: object) -> str:
    """
    Check the URL of a webhook. Unlike other URLs, it can have a query.

    :param url: ``https://`` and a host, with an optional port, path and query. For
        ``localhost``, ``127.0.0.1`` and ``[::1]`` it can be ``http://``.
    :returns: the URL.
    :raises ValueError: if it is anything else. The message holds no part of it.
    """
    if not isinstance(url, str):
        raise ValueError(f"the URL must be text, not {type(url).__name__}")
    if len(url) > MAX_URL:
        raise ValueError(f"the URL must have at most {MAX_URL} characters")
    origin, target = _split_url(url)
    check_url(origin)
    # The rest is sent as it is, so nothing in it can end the request line.
    if not target.isascii() or not target.isprintable() or " " in target:
        raise ValueError(
            "the URL must be of printable ASCII characters, without spaces"
        )
    if "#" in target:
        raise ValueError("the URL must have no fragment")
    scheme, _, host = origin.partition("://")
    if scheme != "https" and _PORT.sub("", host) not in _LOOPBACK:
        raise ValueError("the URL must begin with https://, except to localhost")
    return url


def origin_of(url: str) -> str:
    """
    Return the scheme, host and port of a URL.
    """
    return _split_url(url)[0]


def _split_url(url: str) -> tuple[str, str]:
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


class Webhooks:
    """
    Posts to webhooks.

    :param urls: the webhooks that the operator allows. Notices go to the first one. An
        alert can name another URL, at the origin of any of these.
    :param reactor: provides time, and TCP, TLS and name resolution unless there is an
        agent; by default the global reactor.
    :param agent: sends the requests; by default each has a connection of its own, over
        verified TLS.
    :raises ValueError: if one of the URLs is not valid, or the agent does not encrypt
        what goes there (see :func:`~txstathat.http.exchange.check_agent`).
    """

    def __init__(
        self,
        urls: Sequence[str] = (),
        *,
        reactor: IReactorTime | None = None,
        agent: IAgent | None = None,
    ) -> None:
        self._default = check_webhook(urls[0]) if urls else ""
        self._origins = {origin_of(check_webhook(url)) for url in urls}
        for origin in self._origins:
            check_agent(agent, origin)
        self._reactor = reactor
        self._agent = agent
        self._open: set[Transport] = set()
        self._closed = False

    def check(self, url: str) -> str:
        """
        Check the URL that an alert names.

        :param url: the URL.
        :returns: the URL.
        :raises Refusal: 400 if it is not valid, or not at an origin that the operator
            allows.
        """
        try:
            origin, _ = _split_url(check_webhook(url))
        except ValueError as error:
            raise Refusal(400, f"webhook: {error}") from None
        if origin not in self._origins:
            raise Refusal(
                400,
                "webhook: this collector may not post to that host; its operator can "
                "allow it with --webhooks",
            )
        return url

    def target(self, url: str) -> str:
        """
        Return the URL to which the notices of an alert go.

        :param url: the URL that the alert names, or ``''``.
        :returns: ``''`` if they go nowhere.
        """
        if not url:
            return self._default
        # The operator may have removed the origin since the alert was created.
        return url if origin_of(url) in self._origins else ""

    async def post(self, url: str, message: Mapping[str, Any], id: str) -> None:
        """
        Make one attempt to deliver a message.

        :param url: the webhook.
        :param message: what to send, as JSON.
        :param id: the message's id, by which the receiver recognizes a repetition. It
            is sent as ``Idempotency-Key``.
        :raises WebhookFailed: if the status is not one of 200 to 299, or there is no
            reply.
        :raises StatHatClosed: if :meth:`close` was called before the reply came.
        """
        if self._closed:
            raise StatHatClosed()
        origin, path = _split_url(url)
        transport = Transport(
            origin,
            timeout=TIMEOUT,
            max_connections=1,
            max_reply=_MAX_REPLY,
            reactor=self._reactor,
            agent=self._agent,
        )
        self._open.add(transport)
        headers = {"Content-Type": "application/json", "Idempotency-Key": id}
        body = json.dumps(message, allow_nan=False).encode("ascii")
        try:
            reply = await transport.exchange("POST", path, headers=headers, body=body)
        except StatHatClosed:
            raise
        except Exception as error:
            # Its text could hold the URL.
            raise WebhookFailed(type(error).__name__) from None
        finally:
            closed = transport.close()
            closed.addCallback(lambda _: self._open.discard(transport))
        if not 200 <= reply.status < 300:
            raise WebhookFailed(f"HTTP status {reply.status}")

    def close(self) -> Deferred[None]:
        """
        Make no more attempts. Those under way have a second to end.

        :returns: fires with ``None`` when no connection is open.
        """
        self._closed = True
        closed = DeferredList([transport.close() for transport in list(self._open)])
        return closed.addCallback(lambda _: None)
