"""
Send one e-mail to one server, with Twisted's SMTP client.

:mod:`twisted.mail.smtp` installs the program's reactor when it is imported. So it is
imported when an e-mail is sent, and not before.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO
from time import monotonic
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.error import ConnectionDone, DNSLookupError, TimeoutError
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from txstathat.collector.channels.message import DeliveryFailed
from txstathat.collector.channels.sending.mail_server import SMTP_TIMEOUT, MailServer
from txstathat.collector.channels.sending.outgoing import (
    NOT_ALLOWED,
    Outgoing,
    reason_of,
)
from txstathat.errors import StatHatClosed
from txstathat.http.connections.hostname import HostEndpoint
from txstathat.http.connections.tls import HostVerifier, Trust
from txstathat.printable import printable

__all__ = ["MAX_REASON", "send_mail"]

#: The largest number of characters of a server's words in an error.
MAX_REASON = 200

_SUCCESSES = range(200, 300)


def _reason(code: int, words: object) -> str:
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)
    shown = printable(" ".join(text.split()))[:MAX_REASON]
    return f"SMTP status {code}: {shown}" if code > 0 else shown


@lru_cache(1)
def _sender_class() -> Any:
    from twisted.mail import smtp

    return type("_Sender", (_OneMail, smtp.ESMTPClient), {"smtp": smtp})


class _OneMail:
    """
    Sends one e-mail, as a subclass of Twisted's client.

    :ivar result: fires with ``None`` when the server has accepted it for all
        recipients.
    """

    smtp: Any
    transport: Any
    requireTransportSecurity: bool
    requireAuthentication: bool
    # The log of a conversation would hold the password.
    debug = False

    def __init__(
        self, server: MailServer, tls: Any, sender: str, to: Sequence[str], body: bytes
    ) -> None:
        client: Any = super()
        client.__init__(
            server.password.encode("utf-8"),
            tls if server.security == "starttls" else None,
            b"txstathat",
        )
        self.requireTransportSecurity = server.security != "none"
        self.requireAuthentication = server.user != ""
        self.result: Deferred[None] = Deferred(self._cut)
        self._sender: str | None = sender
        self._to = [address.encode("ascii") for address in to]
        self._body = body
        user = server.user.encode("utf-8")
        # The safest first.
        for kind in (
            self.smtp.CramMD5ClientAuthenticator,
            self.smtp.LOGINAuthenticator,
            self.smtp.PLAINAuthenticator,
        ):
            if server.user:
                client.registerAuthenticator(kind(user))

    def _cut(self, result: Deferred[None]) -> None:
        self.transport.abortConnection()

    def getMailFrom(self) -> str | None:
        sender, self._sender = self._sender, None
        return sender

    def getMailTo(self) -> Sequence[bytes]:
        return self._to

    def getMailData(self) -> BytesIO:
        return BytesIO(self._body)

    def sendError(self, exc: Any) -> None:
        client: Any = super()
        client.sendError(exc)
        code = getattr(exc, "code", -1)
        words = getattr(exc, "resp", b"") or type(exc).__name__
        self._fail(_reason(code, words), permanent=500 <= code < 600)

    def sentMail(
        self, code: int, resp: Any, numOk: int, addresses: Any, log: Any
    ) -> None:
        refused = [each for each in addresses if each[1] not in _SUCCESSES]
        if code in _SUCCESSES and not refused:
            self._succeed()
            return
        if refused and (numOk == 0 or code in _SUCCESSES):
            _, code, resp = refused[0]
            who = f"{len(refused)} of {len(addresses)} recipients were refused; "
            # Who was accepted has the e-mail, and must not get it again.
            permanent = numOk > 0 or all(500 <= each[1] < 600 for each in refused)
            self._fail(who + _reason(code, resp), permanent)
            return
        self._fail(_reason(code, resp), permanent=500 <= code < 600)

    def connectionLost(self, reason: Any = ConnectionDone) -> None:
        client: Any = super()
        client.connectionLost(reason)
        self._fail("the server closed the connection", permanent=False)

    def _succeed(self) -> None:
        if not self.result.called:
            self.result.callback(None)

    def _fail(self, why: str, permanent: bool) -> None:
        if not self.result.called:
            self.result.errback(Failure(DeliveryFailed(why, permanent)))


async def send_mail(
    outgoing: Outgoing, server: MailServer, sender: str, to: Sequence[str], mail: bytes
) -> None:
    """
    Make one attempt to send an e-mail.

    :param outgoing: says where connections may go.
    :param server: the server.
    :param sender: the sender's address.
    :param to: the recipients' addresses.
    :param mail: the e-mail; its lines end with ``\\n``.
    :raises DeliveryFailed: if the server did not accept it for all recipients.
    :raises StatHatClosed: if ``outgoing`` was closed meanwhile.
    """
    if outgoing.is_closed:
        raise StatHatClosed()
    reactor = outgoing.reactor
    resolver = outgoing.resolver(encrypted=server.security != "none")
    verifier = HostVerifier(
        Trust(outgoing.trust_root, monotonic), server.host.encode("ascii")
    )
    endpoint: Any = HostEndpoint(reactor, server.host, server.port, resolver)
    if server.security == "tls":
        endpoint = wrapClientTLS(verifier, endpoint)
    protocol: Any = _sender_class()(server, verifier, sender, to, mail)
    connecting = endpoint.connect(Factory.forProtocol(lambda: protocol))
    waiting: list[Deferred[Any]] = [connecting]
    timer = outgoing.timers.callLater(SMTP_TIMEOUT, lambda: waiting[0].cancel())
    end = outgoing.begin(lambda: waiting[0].cancel())
    try:
        await connecting
        waiting[0] = protocol.result
        await protocol.result
    except DeliveryFailed:
        raise
    except Exception as error:
        if not timer.active():
            raise DeliveryFailed(reason_of(TimeoutError())) from None
        if outgoing.is_closed:
            raise StatHatClosed() from None
        if isinstance(error, DNSLookupError) and resolver.has_refused:
            raise DeliveryFailed(NOT_ALLOWED, permanent=True) from None
        raise DeliveryFailed(reason_of(error)) from None
    finally:
        end()
        if timer.active():
            timer.cancel()
