"""
Who may read: the access tokens of requests.
"""

from __future__ import annotations

from base64 import b64decode

from twisted.web.server import Request

from txstathat.collector.auth.keys import Keys
from txstathat.collector.auth.throttle import KeyThrottle
from txstathat.collector.errors import Refusal
from txstathat.collector.web.request import trust_body
from txstathat.collector.web.resources import address_of, is_same_origin

__all__ = ["Readers"]


class Readers:
    """
    Checks access tokens.

    :param keys: knows the tokens.
    :param throttle: slows down clients with wrong tokens.
    """

    def __init__(self, keys: Keys, throttle: KeyThrottle) -> None:
        self._keys = keys
        self._throttle = throttle

    async def check(
        self, request: Request, token: str, *, changes: bool = False
    ) -> None:
        """
        Check an access token.

        :param request: the request.
        :param token: the token.
        :param changes: whether the request changes something.
        :raises Refusal: 403 or 429 if the token is not known; 403 if the request
            changes something, and the token can only read.
        """
        if not self._keys.may_read(token):
            await self._keys.refresh()
            if not self._keys.may_read(token):
                raise self._throttle.refuse(address_of(request), "access token")
        if changes and not self._keys.may_change(token):
            raise Refusal(403, "this access token can only read")
        trust_body(request)

    async def check_header(self, request: Request, *, changes: bool = False) -> None:
        """
        Check the access token in the ``Authorization`` header: the user name of HTTP
        Basic, with an empty password, or a Bearer token.

        :param request: the request.
        :param changes: as for :meth:`check`.
        :raises Refusal: 401 without a token; 403 or 429 as :meth:`check`. 403 also if a
            page of another site made the request, since browsers may add a user name
            that they have stored.
        """
        scheme, _, given = (request.getHeader("authorization") or "").partition(" ")
        token = given.strip()
        if scheme.lower() == "basic":
            reads = request.method in (b"GET", b"HEAD")
            if not reads and is_same_origin(request) is False:
                raise Refusal(403, "this was sent by a page of another site")
            try:
                token = b64decode(token, validate=True).decode("utf-8")
            except ValueError:
                token = ""
            token = token.partition(":")[0]
        elif scheme.lower() != "bearer":
            token = ""
        if not token:
            request.setHeader("WWW-Authenticate", 'Basic realm="txStatHat"')
            raise Refusal(
                401, "pass an access token as HTTP Basic user name, or as Bearer token"
            )
        await self.check(request, token, changes=changes)
