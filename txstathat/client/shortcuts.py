"""
Count with one call: make a client, use it once and close it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypedDict, Unpack

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from txstathat.client.null import NullStatHat
from txstathat.client.stathat import txStatHat, txStatHatClassic
from txstathat.http.result import fired
from txstathat.http.servers import API_URL, server_url
from txstathat.interfaces import HTTPAgent
from txstathat.points.amounts import Amount, Time

__all__ = [
    "ClientSettings",
    "ShortcutSettings",
    "classic_count",
    "classic_value",
    "ez_count",
    "ez_value",
    "stathat_from_env",
]


class ShortcutSettings(TypedDict, total=False):
    """
    The settings of a client that is used once; see
    :class:`~txstathat.client.txStatHat`.
    """

    ignore_errors: bool
    url: str | None
    timeout: float
    reactor: Any
    agent: HTTPAgent | None


class ClientSettings(ShortcutSettings, total=False):
    """
    All settings of a client; see :class:`~txstathat.client.txStatHat`.
    """

    max_connections: int
    max_waiting: int


def ez_count(
    ezkey: str,
    stat: str,
    count: Amount = 1,
    *,
    t: Time | None = None,
    **settings: Unpack[ShortcutSettings],
) -> Deferred[bool]:
    """
    Count once with the EZ API. For more than a few calls make a client, which reuses
    its connections.

    :param ezkey: the account's EZ key.
    :param settings: see :class:`ShortcutSettings`: ``ignore_errors``, ``url``,
        ``timeout``, ``reactor``, ``agent``.
    :returns: a new Deferred, like that of :meth:`~txstathat.client.txStatHat.count`. It
        fires after the connection is closed. It fails with :exc:`ValueError` or
        :exc:`TypeError` if the key or a setting is not valid. Before the program has
        installed a reactor nothing can be sent: it fires with ``False``, or fails with
        :class:`~txstathat.errors.StatHatClosed`; scripts count with
        :mod:`txstathat.blocking`.
    """
    return _once(
        lambda: txStatHat(ezkey, **settings), lambda c: c.count(stat, count, t=t)
    )


def ez_value(
    ezkey: str,
    stat: str,
    value: Amount,
    *,
    t: Time | None = None,
    **settings: Unpack[ShortcutSettings],
) -> Deferred[bool]:
    """
    Measure once with the EZ API; otherwise like :func:`ez_count`.
    """
    return _once(
        lambda: txStatHat(ezkey, **settings), lambda c: c.value(stat, value, t=t)
    )


def classic_count(
    ukey: str,
    key: str,
    count: Amount = 1,
    *,
    t: Time | None = None,
    **settings: Unpack[ShortcutSettings],
) -> Deferred[bool]:
    """
    Count once with the Classic API; otherwise like :func:`ez_count`.

    :param ukey: the account's user key.
    :param key: the stat's private key.
    """
    return _once(
        lambda: txStatHatClassic(ukey, **settings), lambda c: c.count(key, count, t=t)
    )


def classic_value(
    ukey: str,
    key: str,
    value: Amount,
    *,
    t: Time | None = None,
    **settings: Unpack[ShortcutSettings],
) -> Deferred[bool]:
    """
    Measure once with the Classic API; otherwise like :func:`classic_count`.
    """
    return _once(
        lambda: txStatHatClassic(ukey, **settings), lambda c: c.value(key, value, t=t)
    )


def _once(make: Callable[[], Any], call: Callable[[Any], Any]) -> Deferred[bool]:
    try:
        client = make()
    except (TypeError, ValueError):
        return fired(Failure())

    def close(result: Any) -> Any:
        return client.close().addCallback(lambda _: result)

    called: Deferred[bool] = call(client)
    if not called.called and not client.has_reactor:
        # Nobody uses the client again, so that it would hold the call for ever.
        client.close()
    called.addBoth(close)
    return called


def stathat_from_env(
    environ: Mapping[str, str] | None = None, **settings: Unpack[ClientSettings]
) -> txStatHat | NullStatHat:
    """
    Make a client with the settings in the environment.

    ``TXSTATHAT_EZKEY`` is the EZ key. If it is not set, or empty, nothing is counted.
    ``TXSTATHAT_URL`` is the server; StatHat by default.

    :param environ: the environment; by default the process's own, read when called.
    :param settings: see :class:`ClientSettings`; ``url`` overrides the environment.
    :returns: a :class:`~txstathat.client.txStatHat`, or a
        :class:`~txstathat.client.null.NullStatHat` if no key is set.
    :raises ValueError: if the key or the URL is not valid.
    """
    environ = os.environ if environ is None else environ
    ezkey = environ.get("TXSTATHAT_EZKEY", "")
    if not ezkey:
        return NullStatHat()
    settings["url"] = server_url(settings.get("url"), API_URL, environ)
    return txStatHat(ezkey, **settings)
