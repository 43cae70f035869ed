"""
What ntfy, PagerDuty, Slack, Discord and Teams get, beside the examples that they publish.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred

from tests.fixtures import ROOT
from tests.fixtures.channels_cases import MESSAGE, ChannelCase
from txstathat.collector.channels import (
    DIGEST,
    RECOVERED,
    TEST,
    DeliveryFailed,
    make_channel,
    parse_channel,
)

#: As in ntfy's documentation, "Publish as JSON", up to the members that are not used.
NTFY = """
{
    "topic": "mytopic",
    "message": "Disk space is low at 5.1 GB",
    "title": "Low disk space alert",
    "tags": ["warning","cd"],
    "priority": 4
}
"""
#: As in PagerDuty's documentation of the Events API v2, without images, links,
#: client_url and the parts of a payload that are not used.
TRIGGER = """
{
  "payload": {
    "summary": "Example alert on host1.example.com",
    "timestamp": "2015-07-17T08:42:58.315+0000",
    "source": "monitoringtool:cloudvendor:central-region-dc-01",
    "severity": "info",
    "custom_details": {
      "ping time": "1500ms",
      "load avg": 0.75
    }
  },
  "routing_key": "samplekeyhere",
  "dedup_key": "samplekeyhere",
  "event_action": "trigger",
  "client": "Sample Monitoring Service"
}
"""
RESOLVE = """
{
  "routing_key": "routingkeyhere",
  "dedup_key": "dedupkeyhere",
  "event_action": "resolve"
}
"""
#: As in Slack's documentation of incoming webhooks.
SLACK = '{"text":"Hello, World!"}'
#: As in Discord's documentation of allowed mentions.
DISCORD = """
{
  "content": "@everyone hi there, <@&123> <@222>",
  "allowed_mentions": {
    "parse": []
  }
}
"""
#: As in Microsoft's documentation of Adaptive Cards in incoming webhooks.
TEAMS = """
{
   "type":"message",
   "attachments":[
      {
         "contentType":"application/vnd.microsoft.card.adaptive",
         "contentUrl":null,
         "content":{
            "$schema":"http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.2",
            "body": [
                {
                "type": "TextBlock",
                "text": "For Samples and Templates, see adaptivecards.io",
                "wrap": true
                }
            ]
         }
      }
   ]
}
"""


def with_values(example: str, values: dict[str, Any]) -> bytes:
    """
    The bytes of an example with other values: of the members with these names, wherever
    they are in it. Their names and order stay as they are.
    """

    def changed(thing: Any) -> Any:
        if isinstance(thing, dict):
            return {
                name: values[name] if name in values else changed(value)
                for name, value in thing.items()
            }
        return [changed(each) for each in thing] if isinstance(thing, list) else thing

    return json.dumps(changed(json.loads(example))).encode()


def template(name: str) -> str:
    """
    A template in the documentation.
    """
    page = (ROOT / "docs" / "channels.rst").read_text()
    found = re.search(rf"   :name: {name}\n\n((?:    .*\n|\n)+)", page)
    assert found is not None
    return re.sub("^    ", "", found[1], flags=re.M)


class ServicesTests(ChannelCase):
    """
    The bodies, byte for byte but for the values.
    """

    def test_ntfy(self) -> None:
        """A message is published as JSON to the server's root, with the token."""
        path, body, headers = self.send(
            kind="ntfy", topic="t", secret="tk_1", priority="5"
        )
        values = {
            "topic": "t",
            "message": MESSAGE.text,
            "title": MESSAGE.title,
            "tags": ["warning"],
            "priority": 5,
        }
        self.assertEqual((path, body), ("/", with_values(NTFY, values)))
        self.assertEqual(headers["authorization"], "Bearer tk_1")
        self.assertEqual(headers["host"], "ntfy.sh")
        over = replace(MESSAGE, event=RECOVERED, text="é" * 4_000)
        _, body, headers = self.send(
            over, kind="ntfy", topic="t", server="https://n.example"
        )
        values |= {"tags": ["white_check_mark"], "priority": 3, "message": "é" * 2_000}
        self.assertEqual(body, with_values(NTFY, values))
        self.assertEqual(headers["host"], "n.example")
        self.assertNotIn("authorization", headers)

    def test_pagerduty(self) -> None:
        """An episode triggers an incident and resolves it, under one dedup_key."""
        fields = {"kind": "pagerduty", "severity": "error", "source": "shop"}
        path, body, headers = self.send(secret="key", **fields)
        trigger = with_values(
            TRIGGER,
            {
                "summary": MESSAGE.text,
                "timestamp": MESSAGE.time,
                "source": "shop",
                "severity": "error",
                "custom_details": dict(MESSAGE.details),
                "routing_key": "key",
                "dedup_key": "a1-3",
                "client": "txStatHat",
            },
        )
        self.assertEqual((path, body), ("/v2/enqueue", trigger))
        self.assertEqual(headers["host"], "events.pagerduty.com")
        over = replace(MESSAGE, event=RECOVERED)
        _, body, headers = self.send(over, secret="key", region="eu", **fields)
        resolve = with_values(RESOLVE, {"routing_key": "key", "dedup_key": "a1-3"})
        self.assertEqual(body, resolve)
        self.assertEqual(headers["host"], "events.eu.pagerduty.com")
        self.inbox.requests.clear()
        self.send(replace(MESSAGE, event=TEST), secret="key", **fields)
        bodies = [body for _, body, _ in self.inbox.requests]
        self.assertEqual(bodies, [trigger, resolve])

    def test_pagerduty_takes_no_digest(self) -> None:
        """A digest is refused for good, and nothing is posted."""
        channel = make_channel(
            parse_channel({"name": "c", "kind": "pagerduty", "secret": "key"})
        )
        sent: Any = channel.send(replace(MESSAGE, event=DIGEST), self.outgoing, "key")
        failure = self.failureResultOf(Deferred.fromCoroutine(sent), DeliveryFailed)
        self.assertTrue(failure.value.permanent)
        self.assertEqual(self.inbox.requests, [])

    def test_templates(self) -> None:
        """The templates in the documentation make what the services expect."""
        escaped = MESSAGE.text.replace("<!channel>", "&lt;!channel&gt;")
        for name, example, values in (
            ("slack", SLACK, {"text": escaped}),
            ("discord", DISCORD, {"content": MESSAGE.text}),
            ("teams", TEAMS, {"text": MESSAGE.text}),
        ):
            _, body, headers = self.send(
                kind="webhook", url="https://h.example/x", body=template(name)
            )
            # A template has the white space of its file.
            self.assertEqual(
                json.dumps(json.loads(body)).encode(), with_values(example, values)
            )
            self.assertEqual(headers["content-type"], "application/json")
