"""
E-mail, sent to a real SMTP server and read back by Python's ``email``.
"""

from __future__ import annotations

from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.fixtures.channels_cases import MESSAGE
from tests.fixtures.mail_server import LoopbackMailServer
from tests.fixtures.stores import free_port
from tests.fixtures.support import Authority, logged, reactor
from txstathat.collector.channels import (
    ChannelMessage,
    DeliveryFailed,
    Outgoing,
    make_channel,
    parse_channel,
)
from txstathat.collector.channels.model import BadField
from txstathat.collector.channels.sending.mail_server import SMTP_TIMEOUT
from txstathat.collector.channels.sending.smtp import MAX_REASON
from txstathat.collector.channels.services.mail import MAX_RECIPIENTS, make_mail
from txstathat.errors import StatHatClosed
from txstathat.http.connections.allowed import Networks

FIELDS = {
    "name": "mail",
    "kind": "email",
    "to": "ops@example.com, boss@example.com",
    "from": "stats@example.com",
    "server": "localhost",
}
LOGIN = {"user": "stats", "secret": "password"}


class ServerTests(TestCase):
    """
    Real servers, with TLS and login.
    """

    timeout = 120

    def setUp(self) -> None:
        self.authority = Authority()
        self.outgoing = Outgoing(
            Networks(["127.0.0.1", "::1"]),
            reactor=reactor,
            trust_root=self.authority.trust_root,
        )

    def listen(
        self, security: str, *names: str, login: bool = False
    ) -> LoopbackMailServer:
        """Start a server."""
        context = self.authority.ssl_context(*(names or ("localhost",)))
        server = LoopbackMailServer(security, context, login)
        self.addCleanup(server.stop)
        return server

    def send(
        self,
        port: int,
        message: ChannelMessage = MESSAGE,
        password: str = "",
        **fields: str,
    ) -> Deferred[None]:
        """Send a message."""
        channel = make_channel(parse_channel({**FIELDS, "port": str(port), **fields}))
        sent: Any = channel.send(message, self.outgoing, password)
        return Deferred.fromCoroutine(sent)

    def refused(self, sent: Deferred[None]) -> Deferred[tuple[str, bool]]:
        """Why an attempt failed, and whether for good."""
        return self.assertFailure(sent, DeliveryFailed).addCallback(
            lambda failed: (str(failed), failed.permanent)
        )

    @inlineCallbacks
    def test_tls_and_login(self) -> Any:
        """With STARTTLS and with TLS, a login and a message arrive as they were sent."""
        for security in ("starttls", "tls"):
            server = self.listen(security, login=True)
            yield self.send(server.port, password="right", security=security, **LOGIN)
            box = server.box
            self.assertEqual(box.logins, [(b"stats", b"right")])
            self.assertEqual(box.encrypted, [True])
            self.assertEqual(
                box.envelopes,
                [("stats@example.com", ["ops@example.com", "boss@example.com"])],
            )
            (mail,) = box.mails
            self.assertEqual(mail.get_content(), MESSAGE.text + "\n")
            self.assertEqual(mail["Subject"], MESSAGE.title)
            self.assertEqual(mail["From"], "stats@example.com")
            self.assertEqual(mail["To"], "ops@example.com, boss@example.com")
            self.assertEqual(mail["Message-ID"], "<a1-3-fired@example.com>")
            self.assertEqual(mail["Auto-Submitted"], "auto-generated")
            date = parsedate_to_datetime(mail["Date"])
            self.assertEqual(date.timestamp(), int(MESSAGE.at))

    @inlineCallbacks
    def test_wrong_password(self) -> Any:
        """A wrong password is refused for good; it is in no message and no log."""
        server = self.listen("starttls", login=True)
        with logged() as log:
            why, permanent = yield self.refused(
                self.send(server.port, password="canary-pass", **LOGIN)
            )
        self.assertTrue(why.startswith("SMTP status 535"), why)
        self.assertTrue(permanent)
        self.assertNotIn("canary", why + log.text)
        self.assertEqual(server.box.mails, [])

    @inlineCallbacks
    def test_certificate(self) -> Any:
        """A server with a certificate for another name gets no password."""
        for security in ("starttls", "tls"):
            server = self.listen(security, "elsewhere.example.com", login=True)
            _, permanent = yield self.refused(
                self.send(server.port, password="right", security=security, **LOGIN)
            )
            self.assertFalse(permanent)
            self.assertEqual((server.box.logins, server.box.mails), ([], []))
            self.flushLoggedErrors()

    @inlineCallbacks
    def test_no_encryption(self) -> Any:
        """
        Where the operator allows the address, a relay takes a message without TLS; a
        server without STARTTLS gets nothing if it was asked for.
        """
        server = self.listen("none")
        yield self.send(server.port, security="none")
        self.assertEqual(server.box.encrypted, [False])
        why, permanent = yield self.refused(self.send(server.port))
        self.assertIn("secure communication via TLS", why)
        self.outgoing = Outgoing(reactor=reactor)
        for security in ("none", "starttls", "tls"):
            why, permanent = yield self.refused(
                self.send(server.port, security=security)
            )
            self.assertTrue(permanent)
            self.assertIn("its operator can allow it with --allow-private", why)
        self.assertEqual(len(server.box.mails), 1)

    @inlineCallbacks
    def test_refusals(self) -> Any:
        """A 5xx is for good, and a 4xx is not; it says which, in the server's words."""
        server = self.listen("none")
        for answer, permanent in (("550 no such user", True), ("451 later", False)):
            server.box.refused = {"ops@example.com": answer, "boss@example.com": answer}
            result = yield self.refused(self.send(server.port, security="none"))
            expected = f"2 of 2 recipients were refused; SMTP status {answer[:3]}: "
            self.assertEqual(result, (expected + answer[4:], permanent))
        server.box.refused = {"ops@example.com": "451 later"}
        result = yield self.refused(self.send(server.port, security="none"))
        # The other one has the message, and must not get it again.
        self.assertEqual(
            result, ("1 of 2 recipients were refused; SMTP status 451: later", True)
        )
        self.assertEqual(server.box.envelopes[0][1], ["boss@example.com"])
        server.box.refused = {}
        for answer, permanent in (("552 too big", True), ("452 full", False)):
            server.box.answers = [answer]
            result = yield self.refused(self.send(server.port, security="none"))
            self.assertEqual(
                result, (f"SMTP status {answer[:3]}: {answer[4:]}", permanent)
            )
        server.box.answers = ["554 " + "x" * 400]
        why, _ = yield self.refused(self.send(server.port, security="none"))
        self.assertEqual(len(why), len("SMTP status 554: ") + MAX_REASON)

    @inlineCallbacks
    def test_no_server(self) -> Any:
        """A server that is down, hangs up or stalls is tried again later."""
        why, permanent = yield self.refused(self.send(free_port()))
        self.assertEqual((why, permanent), ("the connection was refused", False))
        for act, expected in (
            (lambda transport: transport.loseConnection(), "closed the connection"),
            (lambda transport: transport.write(b"hello\r\n"), "Invalid response"),
        ):

            class Odd(Protocol):
                def connectionMade(self, act: Any = act) -> None:
                    act(self.transport)

            port = reactor.listenTCP(0, Factory.forProtocol(Odd), interface="127.0.0.1")
            self.addCleanup(port.stopListening)
            why, permanent = yield self.refused(self.send(port.getHost().port))
            self.assertIn(expected, why)
            self.assertFalse(permanent)

    @inlineCallbacks
    def test_a_server_that_stalls(self) -> Any:
        """An attempt has its time, also before the connection is made."""
        port = reactor.listenTCP(
            0, Factory.forProtocol(Protocol), interface="127.0.0.1"
        )
        self.addCleanup(port.stopListening)
        for pause in (0.0, 0.05):
            timers = Clock()
            self.outgoing = Outgoing(
                Networks(["127.0.0.1", "::1"]), reactor=reactor, timers=timers
            )
            sent = self.refused(self.send(port.getHost().port))
            yield deferLater(reactor, pause)
            timers.advance(SMTP_TIMEOUT)
            result = yield sent
            self.assertEqual(result, ("there was no answer in time", False))
            self.assertEqual(timers.getDelayedCalls(), [])

    @inlineCallbacks
    def test_closed(self) -> Any:
        """An attempt under way has a second to end; after that none begins."""
        port = reactor.listenTCP(
            0, Factory.forProtocol(Protocol), interface="127.0.0.1"
        )
        self.addCleanup(port.stopListening)
        timers = Clock()
        self.outgoing = Outgoing(
            Networks(["127.0.0.1", "::1"]), reactor=reactor, timers=timers
        )
        sent = self.send(port.getHost().port)
        yield deferLater(reactor, 0.05)
        closed = self.outgoing.close()
        self.assertNoResult(closed)
        timers.advance(1)
        yield self.assertFailure(sent, StatHatClosed)
        yield closed
        self.assertEqual(timers.getDelayedCalls(), [])
        yield self.assertFailure(self.send(port.getHost().port), StatHatClosed)

    @inlineCallbacks
    def test_long_lines(self) -> Any:
        """A long text arrives whole, with dots at the beginning of lines."""
        text = "\n".join([".", "..", "." * 500, "é" * 5_000] * 20)
        server = self.listen("none")
        yield self.send(server.port, replace(MESSAGE, text=text), security="none")
        self.assertEqual(server.box.mails[0].get_content(), text + "\n")
        longest = max(map(len, server.box.raw[0].splitlines()))
        self.assertLess(longest, 80)


class MakeMailTests(SynchronousTestCase):
    """
    The e-mail itself.
    """

    def test_names_add_no_header(self) -> None:
        """Line ends and controls in a name become spaces; a long subject is cut."""
        title = "a\r\nBcc: evil@example.com\n\n\x00\u202ebody\u2028: alert" + "x" * 500
        message = replace(MESSAGE, title=title, text="b\r\n.\r\nMAIL FROM:<x@y>")
        mail = make_mail(message, "stats@example.com", ["ops@example.com"])
        head, _, body = mail.partition(b"\n\n")
        names = [
            line.partition(b":")[0] for line in head.splitlines() if line[:1] != b" "
        ]
        self.assertEqual(
            [name.decode() for name in names],
            [
                *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"),
                *("Content-Type", "Content-Transfer-Encoding", "MIME-Version"),
            ],
        )
        self.assertNotIn(b"MAIL", body)
        self.assertNotIn(b"\r", mail)

    def test_fields(self) -> None:
        """A wrong field is refused, with its name; nothing can add a recipient."""
        for field, words, fields in (
            ("to", "is missing", {"to": ""}),
            ("to", "'x' is not an e-mail address", {"to": "x"}),
            ("to", "must be one line", {"to": "a@b.c>\r\nRCPT TO:<x@y.z"}),
            ("to", "is not an e-mail", {"to": "a@b.c,"}),
            ("to", "at most 20", {"to": ",".join(["a@b.c"] * (MAX_RECIPIENTS + 1))}),
            ("from", "is not an e-mail", {"from": "A <a@b.c>"}),
            ("from", "one line", {"from": "a@b.c\nx"}),
            ("server", "must be a host", {"server": "https://x"}),
            ("server", "must be a host", {"server": "x:25"}),
            ("server", "must be a host", {"server": "a b"}),
            ("security", "must be one of", {"security": "ssl"}),
            ("port", "must be from 1", {"port": "0"}),
            ("port", "must be from 1", {"port": "x"}),
            ("user", "needs an encrypted", {"security": "none", **LOGIN}),
            ("secret", "is missing", {"user": "x"}),
            ("user", "is missing", {"secret": "x"}),
            ("colour", "no such field", {"colour": "red"}),
        ):
            with self.assertRaises(BadField) as caught:
                make_channel(parse_channel({**FIELDS, **fields}))
            self.assertEqual(caught.exception.field, field, fields)
            self.assertIn(words, str(caught.exception))
        channel: Any = make_channel(parse_channel(FIELDS))
        self.assertEqual(
            channel.address, "ops@example.com, boss@example.com via localhost:587"
        )
