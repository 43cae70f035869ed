"""
The URLs of ``serve --webhooks``: notices of alerts are posted to them as JSON. For the
web hooks that users add, see :mod:`txstathat.collector.channels.services.webhook`.

Often the URL is the only secret that a receiver checks, so it appears nowhere: not in
logs, errors or answers. An alert can name a URL of its own, only at a host that the
operator names. Otherwise everybody who can create alerts could make the collector send
requests to any host that it can reach.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IAgent

from txstathat.collector.channels.message import ChannelMessage
from txstathat.collector.channels.sending.hook_urls import check_hook_url, origin_of
from txstathat.collector.channels.sending.outgoing import Outgoing
from txstathat.collector.channels.services.webhook import post_details
from txstathat.collector.errors import Refusal
from txstathat.http.exchange import check_agent

__all__ = ["Webhooks", "check_webhook"]

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_PORT = re.compile(r":[0-9]+$")


def check_webhook(url: object) -> str:
    """
    Check a URL that the operator or an alert names.

    :param url: ``https://`` and a host, with an optional port, path and query. For
        ``localhost``, ``127.0.0.1`` and ``[::1]`` it can be ``http://``.
    :returns: the URL.
    :raises ValueError: if it is anything else. The message holds no part of it.
    """
    checked = check_hook_url(url)
    scheme, _, host = origin_of(checked).partition("://")
    if scheme != "https" and _PORT.sub("", host) not in _LOOPBACK:
        raise ValueError("the URL must begin with https://, except to localhost")
    return checked


class Webhooks:
    """
    Posts to the URLs that the operator names.

    :param urls: the URLs. Notices go to the first one. An alert can name another URL,
        at the origin of any of these.
    :param reactor: provides time, and TCP, TLS and name resolution unless there is an
        agent; by default the global reactor.
    :param agent: sends the requests; by default each has a connection of its own, over
        verified TLS.
    :param timers: as for :class:`.Outgoing`.
    :raises ValueError: if one of the URLs is not valid, or the agent does not encrypt
        what goes there (see :func:`~txstathat.http.exchange.check_agent`).
    """

    def __init__(
        self,
        urls: Sequence[str] = (),
        *,
        reactor: IReactorTime | None = None,
        agent: IAgent | None = None,
        timers: IReactorTime | None = None,
    ) -> None:
        self._default = check_webhook(urls[0]) if urls else ""
        self._origins = {origin_of(check_webhook(url)) for url in urls}
        for origin in self._origins:
            check_agent(agent, origin)
        self._outgoing = Outgoing(reactor=reactor, agent=agent, timers=timers)

    @property
    def origins(self) -> list[str]:
        """
        The schemes, hosts and ports of URLs that an alert can name.
        """
        return sorted(self._origins)

    def check(self, url: str) -> str:
        """
        Check the URL that an alert names.

        :param url: the URL.
        :returns: the URL.
        :raises Refusal: 400 if it is not valid, or not at an origin that the operator
            allows.
        """
        try:
            origin = origin_of(check_webhook(url))
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

    async def post(self, url: str, message: ChannelMessage) -> None:
        """
        Make one attempt to deliver a message.

        :param url: the URL.
        :param message: the message. Its id is sent as ``Idempotency-Key``, by which the
            receiver recognizes a repetition.
        :raises DeliveryFailed: if the status is not one of 200 to 299, or there is no
            reply.
        :raises StatHatClosed: if :meth:`close` was called before the reply came.
        """
        await post_details(self._outgoing, url, message, trusted=True)

    def close(self) -> Deferred[None]:
        """
        Make no more attempts. Those under way have a second to end.

        :returns: fires with ``None`` when no connection is open.
        """
        return self._outgoing.close()
