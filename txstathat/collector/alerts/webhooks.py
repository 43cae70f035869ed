"""
Telling of alerts: a POST to a URL.

Such a URL often is all that it takes to speak in somebody's name, so it is shown
nowhere: not in a log, an error, or an answer. Only what the operator names is ever
posted to, and redirects are not followed; else whoever may make alerts could have the
collector reach for whatever it can reach.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
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

#: For how many seconds one attempt may take, with its answer.
TIMEOUT = 10.0
#: How many characters a webhook's URL may have.
MAX_URL = 2_000

_MAX_REPLY = 65_536
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_PORT = re.compile(r":[0-9]+$")


class WebhookFailed(StatHatError):
    """An attempt that failed; says why, without the URL."""


def check_webhook(url: object) -> str:
    """
    Check the URL of a webhook; unlike other URLs it may have a query.

    :param url: ``https://``, a host, perhaps a port, a path and a query. To this
        machine itself it may be ``http://``.
    :returns: the URL.
    :raises ValueError: if it is anything else; the message holds no part of it.
    """
    if not isinstance(url, str):
        raise ValueError(f"the URL must be text, not {type(url).__name__}")
    if len(url) > MAX_URL:
        raise ValueError(f"the URL must have at most {MAX_URL} characters")
    origin, target = _split(url)
    check_url(origin)
    # The rest goes out as it is: nothing in it may end the request line.
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
    A URL's scheme, host and port.
    """
    return _split(url)[0]


def _split(url: str) -> tuple[str, str]:
    """
    A URL's scheme, host and port; and what comes after them.
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

    :param urls: those that the operator names. Alerts go to the first one; one that
        names a URL of its own goes there, if that is at the same host as one of these.
    :param reactor: by default the global one.
    :param agent: sends the requests; by default each has a connection of its own, over
        verified TLS.
    :raises ValueError: if one of the URLs is not valid, or the agent does not encrypt
        what goes there (see :func:`~txstathat.http.exchange.check_agent`).
    """

    def __init__(
        self,
        urls: Sequence[str] = (),
        *,
        reactor: Any = None,
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

        :returns: the URL.
        :raises Refusal: if it is not valid, or at no host that the operator names.
        """
        try:
            origin, _ = _split(check_webhook(url))
        except ValueError as error:
            raise Refusal(400, f"webhook: {error}") from None
        if origin not in self._origins:
            raise Refusal(
                400,
                "webhook: this collector was not told that it may post to that host; "
                "its operator can, with --webhooks",
            )
        return url

    def target(self, url: str) -> str:
        """
        Where an alert goes; empty if nowhere.

        :param url: what it names itself, if anything.
        """
        if not url:
            return self._default
        # Since the alert was made the operator may have changed their mind.
        return url if origin_of(url) in self._origins else ""

    async def post(self, url: str, told: Mapping[str, Any], id: str) -> None:
        """
        Make one attempt.

        :param url: where to.
        :param told: what to tell, as JSON.
        :param id: what the receiver can know a repetition by; it is sent as
            ``Idempotency-Key``.
        :raises WebhookFailed: if the answer is not one of success, or there is none.
        :raises StatHatClosed: if :meth:`close` was called before there was one.
        """
        if self._closed:
            raise StatHatClosed()
        origin, path = _split(url)
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
        body = json.dumps(told, allow_nan=False).encode("ascii")
        try:
            reply = await transport.exchange("POST", path, headers=headers, body=body)
        except StatHatClosed:
            raise
        except Exception as error:
            # Its text might hold the URL.
            raise WebhookFailed(type(error).__name__) from None
        finally:
            closed = transport.close()
            closed.addCallback(lambda _: self._open.discard(transport))
        if not 200 <= reply.status < 300:
            raise WebhookFailed(f"HTTP status {reply.status}")

    def close(self) -> Deferred[Any]:
        """
        Make no more attempts; those under way have a second to end.

        :returns: fires when no connection is left open.
        """
        self._closed = True
        return DeferredList([transport.close() for transport in list(self._open)])
