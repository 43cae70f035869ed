"""
A whole collector: points come in, an alert fires, and an e-mail arrives.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from tests.fixtures.archives import batch
from tests.fixtures.channels_cases import write_secret
from tests.fixtures.collector_services import ServiceCase
from tests.fixtures.mail_server import LoopbackMailServer
from tests.fixtures.support import logged
from txstathat import Count
from txstathat.collector.alerts.model import parse_alert
from txstathat.collector.archive.stats import RETENTION


class ServiceTests(ServiceCase):
    """
    A collector with channels on a SQLite file.
    """

    @inlineCallbacks
    def test_mail(self) -> Any:
        """An alert fires, the collector is restarted, and one e-mail arrives."""
        server = LoopbackMailServer("none")
        self.addCleanup(server.stop)
        write_secret(self, "localhost", "unused", "canary")
        options = {"secrets": self.secrets, "allow_private": ["127.0.0.1", "::1"]}
        with logged() as log:
            yield self.start(**options, digest="mail")
            self.assertEqual(
                log.at_level("warn"),
                [
                    "there is no e-mail channel 'mail' for the weekly digest; add it "
                    "with: txstathat channels add email mail"
                ],
            )
            fields = {
                "name": "mail",
                "kind": "email",
                "to": "ops@example.com",
                "from": "stats@example.com",
                "server": "localhost",
                "security": "none",
                "port": str(server.port),
            }
            yield Deferred.fromCoroutine(self.parts.channels.create(fields))
            now = int(self.parts.archive.store.clock.seconds())
            yield self.parts.archive.add(batch(Count("é: Bcc: x@y.z", 11, now - 120)))
            (stat,) = yield Deferred.fromCoroutine(self.parts.archive.stats())
            condition = {"kind": "value", "operator": "gt", "time_window": "5m"}
            alert = parse_alert({**condition, "threshold": "10"}, stat, RETENTION, str)
            yield Deferred.fromCoroutine(self.parts.alerts.create(alert))
            yield Deferred.fromCoroutine(self.parts.monitor.evaluate())
            yield self.service.stopService()
            self.assertEqual(server.box.mails, [])
            yield self.start(**options, digest="mail")
            yield Deferred.fromCoroutine(self.parts.monitor.notify())
            yield Deferred.fromCoroutine(self.parts.monitor.settled())
            yield self.service.stopService()
        (mail,) = server.box.mails
        self.assertEqual(mail["To"], "ops@example.com")
        self.assertEqual(mail["Subject"], "é: Bcc: x@y.z: alert")
        self.assertIsNone(mail["Bcc"])
        self.assertIn("11 over 5m, greater than 10", mail.get_content())
        self.assertEqual(len(log.at_level("warn")), 1)
        self.assertNotIn("canary", log.text)
