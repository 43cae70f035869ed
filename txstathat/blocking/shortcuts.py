"""
Counting in one blocking call, and clients from the environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TypedDict, Unpack

from txstathat.blocking.clients import txStatHat, txStatHatClassic
from txstathat.blocking.counting import NullStatHat
from txstathat.http.servers import API_URL, server_url
from txstathat.points.amounts import Amount, Time

__all__ = [
    "ClientSettings",
    "classic_count",
    "classic_value",
    "ez_count",
    "ez_value",
    "stathat_from_env",
]


class ClientSettings(TypedDict, total=False):
    """
    The settings of a blocking client, by keyword.
    """

    ignore_errors: bool
    url: str | None
    timeout: float
    max_connections: int
    max_waiting: int


def ez_count(
    ezkey: str,
    stat: str,
    count: Amount = 1,
    *,
    t: Time | None = None,
    **settings: Unpack[ClientSettings],
) -> bool:
    """
    Count once with the EZ API. For more than a few calls make a client, which reuses
    its connections.

    :param ezkey: the account's EZ key.
    :param settings: as for :class:`~txstathat.blocking.txStatHat`.
    :returns: as :meth:`txstathat.blocking.txStatHat.count`, which also says what is
        raised.
    :raises ValueError: for a bad key or setting.
    """
    with txStatHat(ezkey, **settings) as client:
        return client.count(stat, count, t=t)


def ez_value(
    ezkey: str,
    stat: str,
    value: Amount,
    *,
    t: Time | None = None,
    **settings: Unpack[ClientSettings],
) -> bool:
    """
    Measure once with the EZ API; otherwise as :func:`ez_count`.
    """
    with txStatHat(ezkey, **settings) as client:
        return client.value(stat, value, t=t)


def classic_count(
    ukey: str,
    key: str,
    count: Amount = 1,
    *,
    t: Time | None = None,
    **settings: Unpack[ClientSettings],
) -> bool:
    """
    Count once with the Classic API; otherwise as :func:`ez_count`.

    :param ukey: the account's user key.
    :param key: the stat's private key.
    """
    with txStatHatClassic(ukey, **settings) as client:
        return client.count(key, count, t=t)


def classic_value(
    ukey: str,
    key: str,
    value: Amount,
    *,
    t: Time | None = None,
    **settings: Unpack[ClientSettings],
) -> bool:
    """
    Measure once with the Classic API; otherwise as :func:`classic_count`.
    """
    with txStatHatClassic(ukey, **settings) as client:
        return client.value(key, value, t=t)


def stathat_from_env(
    environ: Mapping[str, str] | None = None, **settings: Unpack[ClientSettings]
) -> txStatHat | NullStatHat:
    """
    Make a client with the settings in the environment; see
    :func:`txstathat.client.shortcuts.stathat_from_env`.

    :param environ: the environment; the process's own by default, read when called.
    :param settings: as for :class:`~txstathat.blocking.txStatHat`; ``url`` overrides
        the environment.
    :returns: a :class:`~txstathat.blocking.txStatHat`, or a
        :class:`~txstathat.blocking.NullStatHat` where no key is set.
    :raises ValueError: if the key or the URL is not valid.
    """
    environ = os.environ if environ is None else environ
    ezkey = environ.get("TXSTATHAT_EZKEY", "")
    if not ezkey:
        return NullStatHat()
    settings["url"] = server_url(settings.get("url"), API_URL, environ)
    return txStatHat(ezkey, **settings)
