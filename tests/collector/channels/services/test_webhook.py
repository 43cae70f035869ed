"""
Web hooks: templates, headers, and what is shown of their addresses.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.server import Site

from tests.fixtures.channels_cases import MESSAGE, ChannelCase, Inbox
from tests.fixtures.stores import free_port
from tests.fixtures.support import Authority, logged, reactor
from txstathat.collector.channels import (
    DeliveryFailed,
    Outgoing,
    make_channel,
    parse_channel,
)
from txstathat.collector.channels.model import BadField
from txstathat.collector.channels.sending.hook_urls import host_of, mask_url
from txstathat.collector.channels.sending.outgoing import TIMEOUT, is_permanent
from txstathat.collector.channels.services.template import (
    fill_json,
    fill_line,
    values_of,
)
from txstathat.http.connections.allowed import Networks

HOOK = "https://h.example/hook"


class WebhookChannelTests(ChannelCase):
    """
    What is posted.
    """

    def test_default(self) -> None:
        """Without a template all of the message is posted as JSON, under its id."""
        path, body, headers = self.send(kind="webhook", url=f"{HOOK}?a=1&b=%2F")
        self.assertEqual(path, "/hook?a=1&b=%2F")
        self.assertEqual(json.loads(body), dict(MESSAGE.details))
        self.assertEqual(headers["content-type"], "application/json")
        self.assertEqual(headers["idempotency-key"], "a1-3-fired")

    def test_templates(self) -> None:
        """Values and the secret stand in the URL, the headers and the body."""
        path, body, headers = self.send(
            kind="webhook",
            secret="s3cr/et",
            url=f"{HOOK}/${{secret}}?stat=$stat",
            body='{"v": "$$ $number", "s": ["${stat}", "$time"], "k": "$key"}',
            headers="Authorization: Bearer ${secret}\nX-Title: $title\n\n"
            "idempotency-key: mine-$id",
        )
        self.assertEqual(
            path,
            "/hook/s3cr/et?stat=load%20%225m%22%20%5C%20%C3%A9%20%3C%21channel%3E",
        )
        self.assertEqual(
            json.loads(body),
            {"v": "$ 12", "s": [MESSAGE.stat, MESSAGE.time], "k": "a1-3"},
        )
        self.assertEqual(headers["authorization"], "Bearer s3cr/et")
        self.assertEqual(headers["x-title"], 'load "5m" \\ ? <!channel>: alert')
        self.assertEqual(headers["idempotency-key"], "mine-a1-3-fired")

    def test_plain_text(self) -> None:
        """With another content type the body is plain text, as it is."""
        _, body, headers = self.send(
            kind="webhook",
            url=HOOK,
            body='alert: "$text"',
            headers="content-type: text/plain; charset=utf-8",
        )
        self.assertEqual(body.decode(), f'alert: "{MESSAGE.text}"')
        self.assertEqual(headers["content-type"], "text/plain; charset=utf-8")

    def test_names_add_no_header(self) -> None:
        """A line end in a name ends no header and no request line."""
        title = "a\r\nX-Evil: 1\n\u2028b"
        _, _, headers = self.send(
            replace(MESSAGE, title=title, stat=title),
            kind="webhook",
            url=f"{HOOK}?$stat",
            headers="X-Title: $title",
        )
        self.assertNotIn("x-evil", headers)
        self.assertEqual(headers["x-title"], "a??X-Evil: 1??b")

    def test_statuses(self) -> None:
        """A 2xx is a success; whether another attempt can succeed is known for others."""
        for status, permanent in (
            (300, True), (302, True), (400, True), (401, True), (403, True),
            (404, True), (410, True), (413, True), (422, True),
            (408, False), (425, False), (429, False), (500, False), (503, False),
        ):  # fmt: skip
            self.assertEqual(is_permanent(status), permanent)
            self.inbox.status = status
            channel: Any = make_channel(
                parse_channel({"name": "c", "kind": "webhook", "url": HOOK})
            )
            sent = Deferred.fromCoroutine(channel.send(MESSAGE, self.outgoing, ""))
            failed = self.failureResultOf(sent, DeliveryFailed).value
            self.assertEqual(
                (str(failed), failed.permanent), (f"HTTP status {status}", permanent)
            )
        self.inbox.status = 204
        self.send(kind="webhook", url=HOOK)


class WebhookFieldsTests(SynchronousTestCase):
    """
    What a web hook can be.
    """

    def refused(self, **fields: str) -> str:
        """Why the fields are refused."""
        with self.assertRaises(BadField) as caught:
            parse_channel({"name": "c", "kind": "webhook", "url": HOOK, **fields})
        return str(caught.exception)

    def test_refused(self) -> None:
        """A wrong field is refused with its name and the rule; no part of a URL is shown."""
        for words, fields in (
            ("name: must be of 1 to 64", {"name": "a b"}),
            ("name: must be of 1 to 64", {"name": ""}),
            ("name: must be of 1 to 64", {"name": "x" * 65}),
            ("kind: must be one of webhook, email", {"kind": "sms"}),
            ("topic: a channel of kind webhook has no", {"topic": "x"}),
            ("url: is missing", {"url": ""}),
            ("url: the URL must begin with https://", {"url": "ftp://canary"}),
            ("url: must have at most 2000", {"url": HOOK + "canary" * 400}),
            ("url: the URL must have no fragment", {"url": HOOK + "#canary"}),
            ("url: the URL needs a valid host", {"url": "https://$secret/canary"}),
            ("url: names the value 'x'", {"url": HOOK + "?${x}"}),
            ("body: does not make valid JSON", {"body": "{$text}"}),
            ("body: names the value 'txt'", {"body": '"$txt"'}),
            ("body: has a $ that begins no value", {"body": '"$"'}),
            ("body: must have at most 10000", {"body": "x" * 10_001}),
            ("headers: line 2 must be like Name: value", {"headers": "A: b\nc"}),
            ("headers: line 1: Host cannot be set", {"headers": "Host: x"}),
            ("headers: line 2: A is given twice", {"headers": "a: 1\nA: 2"}),
            ("headers: line 1 must be printable", {"headers": "a: é"}),
            ("headers: line 1 names the value", {"headers": "a: $b"}),
            ("headers: must be at most 20", {"headers": "\n".join(f"a{n}: 1" for n in range(21))}),
            ("secret: a template names the secret", {"url": HOOK + "/$secret"}),
            ("secret: must name a file", {"secret": "../x"}),
            ("secret: must name a file", {"secret": ".x"}),
        ):  # fmt: skip
            why = self.refused(**fields)
            self.assertIn(words, why)
            self.assertNotIn("canary", why)

    def test_what_is_shown(self) -> None:
        """Only the scheme, host and port of a URL are shown."""
        for url, shown, host in (
            ("https://h.example/a/b?c", "https://h.example/…", "h.example"),
            ("https://H.example:8443?c", "https://h.example:8443/…", "h.example"),
            ("https://h.example", "https://h.example", "h.example"),
            ("http://[::1]:80/x", "http://[::1]:80/…", "::1"),
        ):
            self.assertEqual((mask_url(url), host_of(url)), (shown, host))
        definition = parse_channel(
            {"name": "c", "kind": "webhook", "url": HOOK + "/canary"}
        )
        self.assertNotIn("canary", repr(definition))

    @given(st.text(), st.text())
    def test_any_text(self, title: str, text: str) -> None:
        """Whatever a message says, JSON stays JSON, and a line one line."""
        values = values_of(replace(MESSAGE, title=title, text=text, stat=text))
        made = json.loads(fill_json('{"a": "$title", "b": ["${text}"]}', values))
        self.assertEqual(made, {"a": title, "b": [text]})
        header = fill_line("x $title y", values)
        self.assertTrue(header.isascii() and header.isprintable())
        try:
            url = fill_line("$stat", values, in_url=True)
        except UnicodeEncodeError:
            self.fail("a lone surrogate")
        self.assertTrue(url.isascii() and url.isprintable())
        self.assertFalse({"/", "?", "#", "&", " "} & {*url})


class AddressesTests(TestCase):
    """
    Where web hooks may go, over real sockets.
    """

    timeout = 120

    def post(self, url: str, outgoing: Outgoing) -> Deferred[bytes]:
        """Post something."""
        return Deferred.fromCoroutine(outgoing.post(url, b"{}", {}))

    @inlineCallbacks
    def test_private_addresses(self) -> Any:
        """
        A private address is refused, with TLS and without, by name and as an address;
        the operator can allow it.
        """
        authority, inbox = Authority(), Inbox()
        site = Site(inbox)
        site.log = lambda request: None
        options = authority.server_options("localhost", "127.0.0.1")
        plain = reactor.listenTCP(0, site, interface="127.0.0.1")
        tls = reactor.listenSSL(0, site, options, interface="127.0.0.1")
        urls = [
            f"{scheme}://{host}:{port.getHost().port}/canary"
            for scheme, port in (("http", plain), ("https", tls))
            for host in ("localhost", "127.0.0.1")
        ]
        refusing = Outgoing(reactor=reactor, trust_root=authority.trust_root)
        with logged() as log:
            for url in urls:
                failed = yield self.assertFailure(
                    self.post(url, refusing), DeliveryFailed
                )
                self.assertTrue(failed.permanent)
                self.assertIn("--allow-private", str(failed))
        self.assertNotIn("canary", log.text)
        self.assertEqual(inbox.requests, [])
        allowing = Outgoing(
            Networks(["127.0.0.1", "::1"]),
            reactor=reactor,
            trust_root=authority.trust_root,
        )
        for url in urls:
            yield self.post(url, allowing)
        self.assertEqual(len(inbox.requests), 4)
        for closing in (refusing, allowing):
            yield closing.close()
        yield plain.stopListening()
        yield tls.stopListening()

    @inlineCallbacks
    def test_reasons(self) -> Any:
        """A failure without an answer is explained in words, without the URL."""
        authority, inbox = Authority(), Inbox()
        site = Site(inbox)
        site.log = lambda request: None
        options = authority.server_options("elsewhere.example.com")
        other = reactor.listenSSL(0, site, options, interface="127.0.0.1")
        self.addCleanup(other.stopListening)
        outgoing = Outgoing(
            Networks(["127.0.0.1"]), reactor=reactor, trust_root=authority.trust_root
        )
        no_tls = "no TLS connection with a verified certificate could be made"
        for url, expected in (
            (f"http://127.0.0.1:{free_port()}", "the connection was refused"),
            (f"https://127.0.0.1:{other.getHost().port}", no_tls),
            ("http://name.invalid", "the host's name could not be found"),
        ):
            failed = yield self.assertFailure(
                self.post(f"{url}/canary", outgoing), DeliveryFailed
            )
            self.assertEqual((str(failed), failed.permanent), (expected, False))
        self.assertEqual(inbox.requests, [])
        yield outgoing.close()

    @inlineCallbacks
    def test_late_timers(self) -> Any:
        """
        An attempt to a receiver that stalls ends by the monotonic timers, even if the
        reactor's own are late because the clock was set back.
        """
        port = reactor.listenTCP(
            0, Factory.forProtocol(Protocol), interface="127.0.0.1"
        )
        self.addCleanup(port.stopListening)
        timers = Clock()
        outgoing = Outgoing(Networks(["127.0.0.1"]), reactor=reactor, timers=timers)
        posted = self.post(f"http://127.0.0.1:{port.getHost().port}/", outgoing)
        timers.advance(TIMEOUT + 1)
        failed = yield self.assertFailure(posted, DeliveryFailed)
        self.assertEqual(str(failed), "there was no answer in time")
        self.assertEqual(timers.getDelayedCalls(), [])
        yield outgoing.close()
