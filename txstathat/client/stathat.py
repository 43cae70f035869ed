"""
The clients of StatHat's EZ and Classic APIs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from txstathat.client.base import BaseClient
from txstathat.client.payload import (
    FORM,
    Payload,
    classic_payloads,
    ez_payloads,
    read_classic_payload,
    read_ez_payload,
)
from txstathat.http.exchange import Transport
from txstathat.http.servers import API_URL, server_url
from txstathat.interfaces import HTTPAgent
from txstathat.points.model import Point
from txstathat.points.names import check_name, expand_name

__all__ = ["txStatHat", "txStatHatClassic"]


class txStatHat(BaseClient):
    """
    A client of StatHat's EZ API, in which stats have names and need not exist.

    StatHat answers OK to a wrong EZ key, and drops the points: check your key.

    :param ezkey: the account's EZ key: its e-mail address, unless it was changed.
    :param ignore_errors: whether failures are swallowed, unless a call says otherwise.
    :param url: the URL of the server; it may end in a path. By default
        ``TXSTATHAT_URL`` of the environment, which is read now, else StatHat's address.
        The client never falls back from ``https://`` to ``http://``.
    :param timeout: seconds that one call may take, including the time in line.
    :param max_connections: how many requests may be in flight.
    :param max_waiting: how many more may wait in line.
    :param reactor: by default the global reactor, imported when first needed.
    :param agent: sends the requests; by default a
        :class:`~txstathat.http.connections.pool.PooledAgent` of the client's own.
    :raises ValueError: if the key, the URL or a limit is not valid, or if the agent
        does not encrypt (see :func:`~txstathat.http.exchange.check_agent`). Nothing is
        sent here.
    :raises TypeError: if ``ignore_errors`` is not a bool.
    """

    _api = "ez"

    def __init__(
        self,
        ezkey: str,
        ignore_errors: bool = True,
        *,
        url: str | None = None,
        timeout: float = 10.0,
        max_connections: int = 8,
        max_waiting: int = 10_000,
        reactor: Any = None,
        agent: HTTPAgent | None = None,
    ) -> None:
        transport = Transport(
            server_url(url, API_URL),
            timeout=timeout,
            max_connections=max_connections,
            max_waiting=max_waiting,
            reactor=reactor,
            agent=agent,
        )
        super().__init__(ezkey, ignore_errors, transport)
        self._form_prefix = urlencode({"ezkey": ezkey}).encode("ascii")
        self._json_prefix = f'{{"ezkey":{json.dumps(ezkey)},"data":'.encode("ascii")

    def encode(self, points: Iterable[Point]) -> list[Payload]:
        """
        See :func:`~txstathat.client.payload.ez_payloads`.
        """
        return ez_payloads(points)

    def decode(self, payload: Payload) -> list[Point]:
        """
        See :func:`~txstathat.client.payload.read_ez_payload`.
        """
        return read_ez_payload(payload)

    def check_stat(self, stat: object) -> None:
        """
        Check a stat's name, which may be of the form ``PREFIX~A,B,C``.

        :raises InvalidPoint: if it is not valid.
        """
        expand_name(stat)

    def _with_key(self, payload: Payload) -> bytes:
        if payload.content_type == FORM:
            return b"%b&%b" % (self._form_prefix, payload.body)
        return b"%b%b}" % (self._json_prefix, payload.body)


class txStatHatClassic(BaseClient):
    """
    A client of StatHat's Classic API, in which each stat has a private key and must
    exist. StatHat refuses a wrong user key, but answers OK to a wrong stat key.

    :param ukey: the account's user key. The other parameters are those of
        :class:`txStatHat`.
    """

    _api = "classic"

    def __init__(
        self,
        ukey: str,
        ignore_errors: bool = True,
        *,
        url: str | None = None,
        timeout: float = 10.0,
        max_connections: int = 8,
        max_waiting: int = 10_000,
        reactor: Any = None,
        agent: HTTPAgent | None = None,
    ) -> None:
        transport = Transport(
            server_url(url, API_URL),
            timeout=timeout,
            max_connections=max_connections,
            max_waiting=max_waiting,
            reactor=reactor,
            agent=agent,
        )
        super().__init__(ukey, ignore_errors, transport)
        self._prefix = urlencode({"ukey": ukey}).encode("ascii")

    def encode(self, points: Iterable[Point]) -> list[Payload]:
        """
        See :func:`~txstathat.client.payload.classic_payloads`.
        """
        return classic_payloads(points)

    def decode(self, payload: Payload) -> list[Point]:
        """
        See :func:`~txstathat.client.payload.read_classic_payload`.
        """
        return read_classic_payload(payload)

    def check_stat(self, stat: object) -> None:
        """
        Check a stat's private key.

        :raises InvalidPoint: if it is not valid.
        """
        check_name(stat, "key")

    def describe_stat(self, stat: object) -> str:
        """
        A stat as the log may show it: without its key, which is private.
        """
        return "a stat (its key is not shown)"

    @property
    def stats_are_keys(self) -> bool:
        """
        Whether a stat is named by its private key: it is.
        """
        return True

    def _with_key(self, payload: Payload) -> bytes:
        return b"%b&%b" % (self._prefix, payload.body)
