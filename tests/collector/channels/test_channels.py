"""
Channels in a store, their secrets, and the API for them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures.archives import START
from tests.fixtures.channels_cases import Inbox, write_secret
from tests.fixtures.collectors import Collector, in_memory
from tests.fixtures.support import logged
from txstathat.collector.channels import (
    FIELDS,
    MAX_CHANNELS,
    Channels,
    ChannelStatus,
    DeliveryFailed,
    Outgoing,
    SecretFiles,
)
from txstathat.collector.channels.kinds import edit_channel
from txstathat.collector.channels.model import ChannelDefinition
from txstathat.collector.channels.records import read_channel
from txstathat.collector.channels.secret_files import MAX_SECRET
from txstathat.collector.errors import Refusal
from txstathat.collector.records import BadRecord
from txstathat.http.connections.allowed import Networks

HOOK = "https://h.example/canary"


class ChannelsTests(SynchronousTestCase):
    """
    A collector in memory, with channels that send to a receiver.
    """

    secrets = ""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(START)
        self.inbox = Inbox()
        write_secret(self, "h.example", "ops", "s3cret\n")
        self.here = self.make_collector()

    def make_collector(self, *networks: str) -> Collector:
        """A collector whose channels may connect to these networks."""
        agent = RequestTraversalAgent(self.inbox)
        outgoing = Outgoing(Networks(networks), reactor=self.clock, agent=agent)
        self.store = in_memory(self)
        self.channels = Channels(self.store, outgoing, SecretFiles(self.secrets))
        return Collector(self, store=self.store, channels=self.channels)

    def ask(self, method: str, path: str = "", **fields: str) -> tuple[int, Any]:
        """Make a call of the API; the status and the answer."""
        body = urlencode(fields).encode() if method == "POST" else None
        answer: tuple[int, Any] = self.here.ask(
            method,
            f"/x/{self.here.token}/channels{path}",
            body,
            Content_Type="application/x-www-form-urlencoded",
        )
        return answer

    def create(self, **fields: str) -> dict[str, Any]:
        """Create a channel; the answer."""
        status, answer = self.ask(
            "POST", **{"name": "ops", "kind": "webhook", "url": HOOK, **fields}
        )
        self.assertEqual(status, 200, answer)
        assert isinstance(answer, dict)
        return answer

    def test_round(self) -> None:
        """A channel is created, shown, listed, tested and deleted."""
        made = self.create(url=HOOK + "/${secret}", secret="ops")
        expected = {
            "name": "ops",
            "kind": "webhook",
            "address": "https://h.example/…",
            "secret": "ops",
            "failing": False,
            "last_error": None,
            "last_error_at": None,
        }
        self.assertEqual(made, expected)
        self.assertEqual(self.ask("GET"), (200, [expected]))
        self.assertEqual(self.ask("GET", "/ops"), (200, expected))
        sent = {"channel": "ops", "error": None}
        self.assertEqual(self.ask("POST", "/ops/test"), (200, sent))
        path, body, _ = self.inbox.requests[0]
        self.assertEqual(path, "/canary/s3cret")
        self.assertEqual(json.loads(body)["event"], "test")
        self.assertEqual(self.ask("DELETE", "/ops")[0], 200)
        self.assertEqual(self.ask("GET"), (200, []))
        for method, path in (
            ("DELETE", "/ops"),
            ("GET", "/ops"),
            ("POST", "/ops/test"),
        ):
            self.assertEqual(self.ask(method, path)[0], 404)

    def test_secrets_are_not_stored(self) -> None:
        """Neither the store nor an answer, a log or a repr has the secret."""
        with logged() as log:
            self.create(url=HOOK + "/${secret}", secret="ops")
            self.inbox.status = 404
            answer = self.ask("POST", "/ops/test")
        self.assertEqual(answer[1]["error"], "HTTP status 404")
        stored = self.successResultOf(self.store.records("channel"))
        shown = f"{stored} {answer} {self.ask('GET')} {log.text} {self.channels!r}"
        self.assertNotIn("s3cret", shown)
        self.assertNotIn("canary", str(answer) + str(self.ask("GET")) + log.text)

    def test_last_error(self) -> None:
        """The last error stays with its time, and success ends the failing."""
        self.create()
        self.inbox.status = 500
        self.ask("POST", "/ops/test")
        _, shown = self.ask("GET", "/ops")
        self.assertEqual(
            (shown["failing"], shown["last_error"], shown["last_error_at"]),
            (True, "HTTP status 500", START),
        )
        self.inbox.status = 200
        self.clock.advance(60)
        self.ask("POST", "/ops/test")
        _, shown = self.ask("GET", "/ops")
        self.assertEqual((shown["failing"], shown["last_error_at"]), (False, START))

    def test_refused(self) -> None:
        """A wrong field is refused with its name; the message has nothing of a URL."""
        self.create()
        for status, words, fields in (
            (409, "name: there is a channel 'ops' already", {}),
            (400, "url: the URL must have no fragment", {"url": HOOK + "#x"}),
            (
                400,
                "must be encrypted (https://, starttls",
                {"url": "http://h.example/"},
            ),
            (400, "secret: the secret 'no' for h.example: No such", {"secret": "no"}),
            (400, "kind: must be one of", {"kind": ""}),
        ):
            code, answer = self.ask(
                "POST", **{"name": "ops", "kind": "webhook", "url": HOOK, **fields}
            )
            self.assertEqual(code, status, answer)
            self.assertIn(words, answer["msg"])
            self.assertNotIn("canary", answer["msg"])
        status, answer = self.ask("POST", "/ops", x="y")
        self.assertEqual(status, 400)
        self.assertIn("x: a channel of kind webhook has no such field", answer["msg"])
        self.assertEqual(self.ask("POST", "/ops/other", x="y")[0], 404)
        self.assertEqual(self.ask("POST", "/none", url=HOOK)[0], 404)

    def test_a_read_only_token(self) -> None:
        """It lists channels, and cannot add, change, test or delete one."""
        self.create()
        token = self.here.now(self.here.parts.keys.add("read", "screen"))
        for method, path, expected in (
            ("GET", "", 200),
            ("GET", "/ops", 200),
            ("POST", "", 403),
            ("POST", "/ops", 403),
            ("POST", "/ops/test", 403),
            ("DELETE", "/ops", 403),
        ):
            status, _ = self.here.ask(method, f"/x/{token}/channels{path}")
            self.assertEqual(status, expected, (method, path))
        self.assertEqual(self.inbox.requests, [])

    def edit(self, channel: str = "ops", /, **fields: str) -> str:
        """Change a channel; why it is refused, empty if it is not."""
        edited = Deferred.fromCoroutine(self.channels.edit(channel, fields))
        if isinstance(edited.result, Failure):
            return str(self.failureResultOf(edited, Refusal).value)
        self.successResultOf(edited)
        return ""

    def settings(self) -> dict[str, str]:
        """The settings of the channel, and the name of the file of its secret."""
        channel = self.here.now(self.channels.records.get("ops"))
        return {**channel.settings, "secret": channel.secret}

    def test_edit(self) -> None:
        """What is given changes, and the rest stays."""
        self.create(headers="Authorization: Bearer ${secret}", secret="ops")
        before = self.settings()
        self.assertEqual(self.edit(body='{"text": "$text"}'), "")
        self.assertEqual(self.settings(), {**before, "body": '{"text": "$text"}'})
        self.assertEqual(self.edit(headers="", secret="", url=HOOK + "/2"), "")
        expected = {**before, "body": '{"text": "$text"}', "headers": "", "secret": ""}
        self.assertEqual(self.settings(), {**expected, "url": HOOK + "/2"})

    def test_edit_by_the_api(self) -> None:
        """The answer is the changed channel, without what may be a secret."""
        self.create(headers="Authorization: Bearer canary")
        _, before = self.ask("GET", "/ops")
        status, answer = self.ask("POST", "/ops", url=HOOK + "/canary")
        self.assertEqual((status, answer), (200, before))
        self.assertNotIn("canary", str(answer))
        self.assertEqual(self.settings()["url"], HOOK + "/canary")
        status, answer = self.ask("POST", "/ops", url="https://other.example/x")
        self.assertEqual(status, 400)
        self.assertIn("headers: type it again", answer["msg"])

    def test_edit_to_another_host(self) -> None:
        """Nothing that may be a secret of one host goes to another one."""
        self.create(headers="Authorization: Bearer canary", body='{"a": "canary"}')
        before = self.settings()
        other = "https://other.example/x"
        for fields, field in (
            ({}, "body"),
            ({"body": ""}, "headers"),
            ({"headers": "A: b"}, "body"),
        ):
            words = self.edit(url=other, **fields)
            self.assertTrue(words.startswith(f"{field}: type it again"), words)
            self.assertEqual(self.settings(), before)
        self.assertEqual(self.edit(url=other, body="", headers="A: b"), "")
        self.assertEqual(self.settings()["url"], other)
        topic = {"name": "phone", "kind": "ntfy", "topic": "canary"}
        self.here.now(self.channels.create(topic))
        self.assertIn("topic: type", self.edit("phone", server="https://n.example"))
        self.assertEqual(self.edit("phone", priority="5"), "")

    def test_edit_refused(self) -> None:
        """A wrong field is refused as for a new channel, and the kind stays."""
        self.create()
        before = self.settings()
        for words, fields in (
            ("url: the URL must have no fragment", {"url": HOOK + "#x"}),
            ("url: must be encrypted", {"url": "http://h.example/"}),
            ("secret: the secret 'no' for h.example: No such", {"secret": "no"}),
            ("kind: cannot be changed", {"kind": "ntfy"}),
            ("name: cannot be changed", {"name": "other"}),
            ("topic: a channel of kind webhook has no such", {"topic": "x"}),
        ):
            self.assertIn(words, self.edit(**fields))
            self.assertEqual(self.settings(), before)
        self.assertIn("there is no channel", self.edit("none", url=HOOK))

    def test_edit_at_once(self) -> None:
        """A change of another collector meanwhile is not lost."""
        self.create()
        records = self.channels.records
        others = iter(["A: b"])

        def change(channel: ChannelDefinition) -> ChannelDefinition:
            for headers in others:
                self.assertEqual(self.edit(headers=headers), "")
            return edit_channel(channel, {"body": "{}"})

        self.here.now(records.edit("ops", change))
        settings = self.settings()
        self.assertEqual((settings["headers"], settings["body"]), ("A: b", "{}"))

    def test_limit(self) -> None:
        """There is a largest number of channels."""
        for number in range(MAX_CHANNELS):
            self.create(name=f"c{number}")
        status, answer = self.ask("POST", name="x", kind="webhook", url=HOOK)
        self.assertEqual(status, 429)
        self.assertIn(f"{MAX_CHANNELS} channels, which is the limit", answer["msg"])

    def test_plain_http(self) -> None:
        """Where the operator allows private addresses, http:// is accepted."""
        self.here = self.make_collector("10.0.0.0/8")
        self.create(url="http://10.0.0.1/hook")


class ChannelRecordTests(SynchronousTestCase):
    """
    What the store has of a channel.
    """

    def test_wrong_records(self) -> None:
        """A damaged record, or one of a newer version, is refused without its values."""
        good = {"kind": "ntfy", "settings": {}, "secret": ""}
        settings = {field.name: field.default for field in FIELDS["ntfy"]}
        settings["topic"] = "t"
        read = read_channel("c", json.dumps({**good, "settings": settings}))
        self.assertEqual((read.name, read.settings["topic"]), ("c", "t"))
        for parts in (
            [],
            {**good, "more": 1},
            {**good, "kind": "sms"},
            {**good, "kind": 7},
            {**good, "secret": None},
            {**good, "settings": {**settings, "topic": 7}},
            {**good, "settings": {**settings, "topic": "canary canary"}},
            {**good, "settings": {"topic": "t"}},
        ):
            with self.assertRaises(BadRecord) as caught:
                read_channel("c", json.dumps(parts))
            self.assertNotIn("canary", str(caught.exception))
        status = ChannelStatus("e" * 900, 5.5, True)
        self.assertEqual(len(ChannelStatus.read("c", status.text).error), 500)
        for text in ("[]", "{}", '{"error": 1, "error_at": 1, "failing": true}'):
            self.assertRaises(BadRecord, ChannelStatus.read, "c", text)

    def test_a_damaged_record(self) -> None:
        """It is as good as absent, and can be deleted."""
        self.clock = Clock()
        store = in_memory(self)
        channels = Channels(store)
        self.successResultOf(store.put_record("channel", "c", "{"))
        with logged() as log:
            listed = self.successResultOf(Deferred.fromCoroutine(channels.list()))
        self.assertEqual(listed, [])
        self.assertIn("is not valid JSON", log.text)
        self.successResultOf(Deferred.fromCoroutine(channels.delete("c")))
        self.assertEqual(self.successResultOf(store.records("channel")), {})


class SecretFilesTests(SynchronousTestCase):
    """
    Secrets in files, by host.
    """

    secrets = ""

    def failed(self, host: str, name: str) -> str:
        """Why a secret cannot be read."""
        with self.assertRaises(DeliveryFailed) as caught:
            SecretFiles(self.secrets).read(host, name)
        self.assertTrue(caught.exception.permanent)
        return str(caught.exception)

    def test_read(self) -> None:
        """A secret is the first line of its file, without white space around it."""
        write_secret(self, "h.example", "a", " canary1 \nmore\n")
        write_secret(self, "h.example", "b", "canary2")
        files = SecretFiles(self.secrets)
        self.assertEqual(files.read("h.example", "a"), "canary1")
        self.assertEqual(files.read("h.example", "b"), "canary2")
        self.assertEqual(files.names("h.example"), ["a", "b"])
        for host in ("other.example", "..", "", "a/b"):
            self.assertEqual(files.names(host), [])

    def test_only_for_its_host(self) -> None:
        """A secret for one host cannot be read for another one, or from elsewhere."""
        write_secret(self, "h.example", "a", "canary")
        Path(self.secrets, "loose").write_text("canary")
        for host, name in (
            ("evil.example", "a"),
            ("evil.example", "../h.example/a"),
            ("..", "loose"),
            (".", "loose"),
            ("", "loose"),
            ("h.example/../h.example", "a"),
            ("h.example", "../loose"),
        ):
            self.assertNotIn("canary", self.failed(host, name))

    def test_refused(self) -> None:
        """An empty, long or binary file is refused, and one that others can read."""
        for text, words in (
            ("", "is empty"),
            ("\ncanary", "is empty"),
            ("x" * (MAX_SECRET + 1), "is too long"),
            ("canary\x00", "printable ASCII"),
            ("canaryé", "printable ASCII"),
        ):
            write_secret(self, "h", "a", text)
            why = self.failed("h", "a")
            self.assertIn(words, why)
            self.assertNotIn("canary", why)
        write_secret(self, "h", "a", "canary")
        os.chmod(Path(self.secrets, "h", "a"), 0o644)
        self.assertIn("other users can read", self.failed("h", "a"))
        self.secrets = ""
        self.assertIn("--secrets", self.failed("h", "a"))
        self.assertRaises(ValueError, SecretFiles, "/nowhere/at/all")
