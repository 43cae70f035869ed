"""
The forms for tending a collector, over HTTP in memory, and the calls for programs.
"""

from __future__ import annotations

import json
import re
import sys
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from twisted.internet.defer import ensureDeferred
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource

from tests.fixtures import ROOT
from tests.fixtures.collectors import Collector, start_service
from tests.fixtures.stores import NOW
from tests.fixtures.support import reactor
from tests.fixtures.visitors import HOSTILE, OWN_FORM, PageCase, Visitor
from txstathat import Count, Value
from txstathat.collector.alerts.model import parse_alert
from txstathat.collector.alerts.operator_webhooks import Webhooks
from txstathat.collector.archive.stats import stat_id
from txstathat.collector.auth.key_record import hash_key
from txstathat.collector.boards.model import Board
from txstathat.collector.pages.frame.formatting import size
from txstathat.collector.pages.tending.snippets import snippets
from txstathat.collector.web.site import CollectorSite
from txstathat.testing import FakeStatHat

ALERT = {"kind": "value", "time_window": "1h", "operator": "greater than"}
MAIL = {
    "kind": "email",
    "name": "ops",
    "to": "ops@example.com",
    "from": "stats@example.com",
    "server": "mail.example.com",
    "security": "starttls",
}
HOOK = {
    "kind": "webhook",
    "name": "ops",
    "url": "https://hooks.example/canary",
    "headers": "Authorization: Bearer canary",
}
EDIT = {"action": "save", "name": "a", "unit": "", "description": ""}
#: The fields in which nothing is typed.
LISTS = ("action", "kind", "time_window", "time_delta", "operator", "security")
#: Wrong forms: the page, the form, the wrong field, and what is said beside it.
WRONG: tuple[tuple[str, dict[str, str], str, str], ...] = (
    ("/stats/{a}/edit", {**EDIT, "name": ""}, "name", "empty"),
    ("/stats/{a}/edit", {**EDIT, "name": "x" * 256}, "name", "255"),
    ("/stats/{a}/edit", {**EDIT, "name": "x\x07y"}, "name", "control"),
    ("/stats/{a}/edit", {**EDIT, "name": "b"}, "name", "There is a stat 'b' already"),
    ("/stats/{a}/edit", {**EDIT, "name": "gone"}, "name", "is in the trash"),
    ("/stats/{a}/edit", {**EDIT, "unit": "x" * 21}, "unit", "20"),
    ("/stats/{a}/edit", {**EDIT, "description": "x" * 501}, "description", "500"),
    ("/keys", {"action": "create", "kind": "ez", "name": ""}, "name", "empty"),
    ("/keys", {"action": "create", "kind": "ez", "name": "x" * 256}, "name", "255"),
    (
        "/keys",
        {"action": "create", "kind": "root", "name": "x"},
        "kind",
        "from the list",
    ),
    (
        "/keys",
        {"action": "create", "kind": "read", "name": "first EZ key"},
        "name",
        "There is a key named",
    ),
    (
        "/alerts/new",
        {**ALERT, "stat": "none", "threshold": "5"},
        "stat",
        "no stat named",
    ),
    ("/alerts/new", {**ALERT, "stat": "", "threshold": "5"}, "stat", "empty"),
    ("/alerts/new", {**ALERT, "stat": "a", "threshold": "many"}, "threshold", "number"),
    ("/alerts/new", {**ALERT, "stat": "a", "threshold": ""}, "threshold", "missing"),
    ("/alerts/new", {**ALERT, "stat": "a", "threshold": "nan"}, "threshold", "nan"),
    (
        "/alerts/new",
        {**ALERT, "kind": "delta", "stat": "a", "percentage": "-1", "time_delta": "1d"},
        "percentage",
        "above 0",
    ),
    (
        "/alerts/new",
        {**ALERT, "time_window": "2h", "stat": "a", "threshold": "5"},
        "time_window",
        "must be one of",
    ),
    (
        "/alerts/new",
        {**ALERT, "stat": "a", "threshold": "1h"},
        "threshold",
        "'1h' is not",
    ),
    (
        "/alerts/new",
        {
            "kind": "delta",
            "time_window": "5m",
            "time_delta": "1M",
            "operator": "different than",
            "stat": "a",
            "percentage": "5",
        },
        "time_window",
        "5 minutes compared with 1 month before needs finer detail than is stored for "
        "that long: choose a longer time for “Over”, or a shorter one for “Compare "
        "with how long ago”",
    ),
    ("/alerts/{alert}/edit", {**ALERT, "threshold": "x"}, "threshold", "number"),
    ("/channels/new", {**MAIL, "name": "no name!"}, "name", "letters, digits"),
    ("/channels/new", {**MAIL, "to": "nobody"}, "to", "is not an e-mail address"),
    ("/channels/new", {**MAIL, "from": "a@b\nBcc: c@d"}, "from", "one line"),
    ("/channels/new", {**MAIL, "port": "99999"}, "port", "from 1 to 65535"),
    ("/channels/new", {**MAIL, "secret": "../../passwd"}, "secret", ""),
    (
        "/channels/new",
        {"kind": "webhook", "name": "w", "url": "http://10.0.0.1/x"},
        "url",
        "encrypted",
    ),
    ("/channels/new", {"kind": "webhook", "name": "w", "url": "x"}, "url", ""),
    ("/channels/ops/edit", {"url": "x"}, "url", ""),
    ("/channels/ops/edit", {"url": "https://h.example/"}, "headers", "type it again"),
    ("/channels/ops/edit", {"secret": "../../passwd"}, "secret", ""),
    ("/channels/new", {"kind": "ntfy", "name": "n", "topic": "a b"}, "topic", ""),
    (
        "/channels/new",
        {"kind": "ntfy", "name": "n", "topic": "a", "server": "http://10.0.0.1"},
        "server",
        "encrypted",
    ),
)


class FormTests(PageCase):
    """
    Forms.
    """

    def setUp(self) -> None:
        super().setUp()
        self.keep(Count("a", 2), Count("b"), Count("gone"))
        archive = self.here.parts.archive
        self.now(archive.delete(stat_id("gone")))
        stat = self.now(archive.stat("a"))
        fields = {**ALERT, "threshold": "5"}
        alert = parse_alert(fields, stat, archive.retention, str)
        self.now(self.here.parts.alerts.create(alert))
        self.now(self.here.parts.channels.create(HOOK))
        self.paths = {"a": stat.id, "alert": alert.id, "gone": stat_id("gone")}
        self.visitor.sign_in()

    def post(self, path: str, form: dict[str, str], **headers: str) -> Any:
        """Send a form."""
        data = urlencode(form).encode()
        kind = {"Content_Type": "application/x-www-form-urlencoded"}
        path = path.format(**self.paths)
        return self.visitor.ask("POST", path, data, **kind, **headers)

    def stored(self) -> Any:
        """All records of the store, and its totals."""
        kinds = {reader.kind for reader in self.here.parts.record_readers}
        records = {
            kind: self.successResultOf(self.here.store.records(kind))
            for kind in kinds - {"session"}
        }
        return records, self.here.totals

    def test_wrong_input(self) -> None:
        """
        What was typed stays, what is wrong stands beside its field, and nothing is
        changed.
        """
        before = self.stored()
        for path, form, field, words in WRONG:
            with self.subTest(path=path, form=form):
                response = self.post(path, form, **OWN_FORM)
                page = self.successResultOf(response.text())
                self.assertIn(response.code, (400, 409), page)
                error = re.search(f'id="{field}-error"[^>]*><bdi>([^<]*)', page)
                assert error is not None, page
                self.assertIn(words.lower(), unescape(error[1]).lower())
                for name, text in form.items():
                    shown = re.search(f'id="{name}" value="([^"]*)"', page)
                    if shown is not None:
                        self.assertEqual(unescape(shown[1]), text)
                    else:
                        self.assertIn(name, LISTS)
                self.assertEqual(self.stored(), before)

    def test_alerts_in_words(self) -> None:
        """A page says in a sentence when an alert fires, and why a notice failed."""
        change = {"percentage": "50", "time_delta": "1d"}
        for fields, words in (
            ({"kind": "data"}, "there is no data for 1 hour"),
            ({"threshold": "5"}, "it is greater than 5 over 1 hour"),
            *(
                (
                    {"kind": "delta", "operator": operator, **change},
                    f"it {verb} by more than 50% over 1 hour, compared with 1 day "
                    "before",
                )
                for operator, verb in (
                    ("gt", "rises"),
                    ("lt", "falls"),
                    ("dt", "changes"),
                )
            ),
        ):
            given = {"kind": "value", "time_window": "1h", "operator": "gt", **fields}
            if given["kind"] == "data":
                del given["operator"]
            archive, alerts = self.here.parts.archive, self.here.parts.alerts
            stat = self.now(archive.stat("b"))
            alert = parse_alert(given, stat, archive.retention, str)
            self.now(alerts.create(alert))
            record = self.now(alerts.get(alert.id))
            self.now(alerts.change(record, record.with_error("phones", "no", NOW)))
            page = self.visitor.see(f"/alerts/{alert.id}")
            self.assertIn(f"</span> Fires when {words}.", page)
            self.assertIn("The last notice to phones was not delivered", page)

    def test_what_an_alert_compares_now(self) -> None:
        """
        The page of an alert says what it compares now: the steps that are over. It says
        nothing where there is nothing to compare, as for a stat in the trash.
        """
        archive, alerts = self.here.parts.archive, self.here.parts.alerts
        minutes = [NOW - 60 * n for n in (2, 3, 62, 63, 64)]
        self.keep(*(Count("n", 10, t) for t in minutes), Count("n", 1000))
        self.keep(Value("v", 2.5, minutes[0]), Value("v", 5, minutes[3]))
        self.clock.advance(180)
        delta = {"percentage": "50", "time_delta": "1h"}
        for name, fields, words in (
            ("n", {"threshold": "5"}, "Now it is 1,020."),
            ("v", {"threshold": "5"}, "Now it is 2.5."),
            ("v", {"kind": "delta", **delta}, "Now the change is -50.0 %."),
            # It did not exist two hours ago.
            ("n", {"kind": "delta", **delta}, ""),
            ("n", {"kind": "data"}, "The last point came 3 minutes ago."),
        ):
            given = {"kind": "value", "time_window": "1h", "operator": "gt", **fields}
            if given["kind"] == "data":
                del given["operator"]
            stat = self.now(archive.stat(name))
            alert = parse_alert(given, stat, archive.retention, str)
            self.now(alerts.create(alert))
            page = self.visitor.see(f"/alerts/{alert.id}")
            self.assertEqual(
                re.findall("(?:Now|The last point) [^<]*?[.](?=<| Sil)", page),
                [words] if words else [],
            )
        self.now(archive.delete(stat.id))
        self.assertNotIn("The last point", self.visitor.see(f"/alerts/{alert.id}"))

    def test_a_channel_that_is_gone(self) -> None:
        """What is wrong with no field of the form stands above it."""
        form = {**ALERT, "stat": "a", "threshold": "5", "channel-gone": "on"}
        response = self.post("/alerts/new", form, **OWN_FORM)
        self.assertEqual(response.code, 400)
        page = unescape(self.successResultOf(response.text()))
        self.assertIn("there is no channel 'gone'", page)

    def test_other_sites(self) -> None:
        """A form that another site sent changes nothing."""
        before = self.stored()
        for path, form in (
            ("/stats/{a}/edit", {**EDIT, "name": "c"}),
            ("/stats/{a}/edit", {"action": "delete"}),
            ("/trash", {"action": "restore", "id": stat_id("gone")}),
            ("/trash/{gone}", {"action": "purge"}),
            ("/keys", {"action": "create", "kind": "access", "name": "mine"}),
            ("/keys", {"action": "revoke", "key": "first EZ key"}),
            ("/alerts/new", {**ALERT, "stat": "a", "threshold": "1"}),
            ("/alerts/{alert}", {"action": "delete"}),
            ("/alerts/{alert}/edit", {**ALERT, "threshold": "1"}),
            ("/channels/new", MAIL),
            ("/settings", {"action": "end-all"}),
        ):
            for headers in ({"Origin": "https://evil.example"}, {}):
                response = self.post(path, form, **headers)
                self.assertEqual(response.code, 403, (path, headers))
        self.assertEqual(self.stored(), before)
        self.assertTrue(self.is_signed_in())
        for path, form in (("/keys", {}), ("/trash", {"action": "x"})):
            self.assertEqual(self.post(path, form, **OWN_FORM).code, 400)

    def test_missing(self) -> None:
        """What does not exist any more is said, on a page."""
        for path, form in (
            ("/stats/none/edit", {"action": "delete"}),
            ("/trash", {"action": "restore", "id": stat_id("a")}),
            ("/trash/none", {"action": "purge"}),
            ("/keys", {"action": "revoke", "key": "none"}),
            ("/alerts/none", {"action": "delete"}),
            ("/alerts/none/edit", {**ALERT, "threshold": "1"}),
            ("/channels", {"action": "delete", "channel": "none"}),
            ("/settings", {"action": "end", "session": "none"}),
        ):
            response = self.post(path, form, **OWN_FORM)
            self.assertEqual(response.code, 404, path)
            self.assertIn('role="alert"', self.successResultOf(response.text()))

    def test_confirmations(self) -> None:
        """
        What cannot be undone is asked about on a page of its own, and looking at that
        page changes nothing. About what is gone, nothing is asked.
        """
        share = self.now(self.here.parts.shares.create("stat", "a"))
        self.paths["link"] = hash_key(share)
        before = self.stored()
        for page, path, question, action in (
            ("/keys", "/keys?revoke=first+EZ+key", "first EZ key", "revoke"),
            ("/links", "/links?revoke={link}", "Revoke the link to", "revoke"),
            ("/channels", "/channels?delete=ops", "the channel ops", "delete"),
            ("/alerts/{alert}", "/alerts/{alert}?delete=yes", "alert on", "delete"),
            ("/settings", "/settings?end=all", "End all sessions", "end-all"),
        ):
            with self.subTest(path=path):
                path = path.format(**self.paths)
                listed = self.visitor.see(page.format(**self.paths))
                self.assertIn(f'href="{path}"', listed)
                self.assertNotIn(f'value="{action}"', listed)
                asked = self.visitor.see(path)
                heading = re.search("<h1>(.*?)</h1>", asked)
                assert heading is not None
                self.assertIn(question, heading[1])
                self.assertEqual(asked.count(f'value="{action}"'), 1)
        for path in ("/keys?revoke=x", "/links?revoke=x", "/channels?delete=x"):
            self.visitor.see(path, 404)
        self.assertEqual(self.stored(), before)
        self.assertTrue(self.is_signed_in())

    def test_a_point_while_deleting(self) -> None:
        """A stat that received a point meanwhile is not deleted for good."""
        self.keep(Count("gone"))
        response = self.post("/trash/{gone}", {"action": "purge"}, **OWN_FORM)
        self.assertEqual(response.code, 409)
        self.assertIn("has received a point", self.successResultOf(response.text()))
        self.assertEqual(self.here.totals["gone"].sum, 2)

    def test_read_only(self) -> None:
        """
        Who signed in with a read-only token sees the pages without forms, and why on
        each that has some outside of its tables. Nothing that they send is taken.
        """
        self.visitor = Visitor(self.here)
        self.visitor.sign_in(self.now(self.here.parts.keys.add("read", "wall")))
        board = self.now(self.here.parts.boards.boards.create(Board("b")))
        before = self.stored()
        for path, has_form in (
            ("/", False),
            ("/stats/{a}", False),
            ("/stats/{a}/edit", True),
            ("/boards", True),
            (f"/boards/{board}", False),
            (f"/boards/{board}/edit", True),
            ("/compare?s={a}", True),
            ("/notes", True),
            ("/alerts", False),
            ("/alerts/new", True),
            ("/alerts/{alert}", True),
            ("/alerts/{alert}/edit", True),
            ("/channels", False),
            ("/channels/new?kind=email", True),
            ("/channels/ops/edit", True),
            ("/keys", True),
            ("/trash", False),
            ("/trash/{gone}", True),
            ("/links", False),
            ("/settings", False),
        ):
            with self.subTest(path=path):
                page = self.visitor.see(path.format(**self.paths))
                forms = re.findall('<form[^>]*method="post"[^>]*>', page)
                self.assertEqual(len(forms), 1)
                self.assertIn('action="/sign-out"', forms[0])
                self.assertEqual(page.count("with a read-only token"), has_form, path)
                if has_form:
                    response = self.post(path, EDIT, **OWN_FORM)
                    self.assertEqual(response.code, 403)
        self.assertEqual(self.stored(), before)

    def test_read_only_links(self) -> None:
        """
        Who signed in with a read-only token finds no link to a page that is only for a
        form, and no heading above a form that is left out.
        """
        form_page = re.compile(
            "/(edit|new|add|tile)([?]|$)|^/trash/|^/(links|notes)[?]|[?](delete|revoke|end)="
        )
        board = self.now(self.here.parts.boards.boards.create(Board("b")))
        self.now(self.here.parts.shares.create("stat", "a"))
        reader = Visitor(self.here)
        reader.sign_in(self.now(self.here.parts.keys.add("read", "wall")))
        a, alert = f"/stats/{self.paths['a']}", f"/alerts/{self.paths['alert']}"
        for path, others in (
            (a, {f"/compare?s={self.paths['a']}"}),
            (f"/boards/{board}", {f"/boards/{board}/wall"}),
            ("/alerts", {"/channels", alert}),
            (alert, {a, "/alerts"}),
            ("/channels", {"/alerts"}),
            ("/trash", set()),
            ("/keys", set()),
            ("/links", {a}),
            ("/settings", set()),
        ):
            with self.subTest(path=path):
                usual, found = (
                    re.findall('<a[^>]* href="([^"]*)"', visitor.see(path))
                    for visitor in (self.visitor, reader)
                )
                self.assertTrue(any(map(form_page.search, usual)))
                self.assertEqual(list(filter(form_page.search, found)), [])
                self.assertLessEqual(others, {*found})
        edit = reader.see(f"{a}/edit")
        self.assertNotIn("<h2>Delete</h2>", edit)
        self.assertNotIn("Add a channel:", reader.see("/channels"))

    def test_webhook_of_an_alert(self) -> None:
        """
        An alert can have a URL at a host that the operator allows. Only its host is
        shown; it stays unless something is typed, or its box is ticked.
        """
        allowed = Webhooks(["https://hooks.example/default", "https://b.example"])
        self.here = Collector(self, webhooks=allowed)
        self.visitor = Visitor(self.here)
        self.visitor.sign_in()
        self.keep(Count("a"))
        records, form = self.here.parts.alerts, {**ALERT, "threshold": "5"}
        url = "https://hooks.example/canary"
        page = self.visitor.see("/alerts/new")
        self.assertIn("https://b.example, https://hooks.example", page)
        self.assertNotIn("Nobody will be notified", page)
        made = self.post(
            "/alerts/new", {**form, "stat": "a", "webhook": f" {url} "}, **OWN_FORM
        )
        (path,) = made.headers.getRawHeaders("location")
        id = path.rpartition("/")[2]
        for given, stored in (
            ({}, url),
            ({"webhook": ""}, url),
            ({"webhook": "https://b.example/2"}, "https://b.example/2"),
            ({"webhook": url, "remove-webhook": "on"}, ""),
            ({"webhook": url}, url),
        ):
            self.leads_to(
                self.post(f"{path}/edit", {**form, **given}, **OWN_FORM), path
            )
            self.assertEqual(self.now(records.get(id)).alert.webhook, stored)
        for shown in (path, f"{path}/edit", "/alerts"):
            self.assertNotIn("canary", self.visitor.see(shown))
        self.assertIn("https://hooks.example/…", self.visitor.see(f"{path}/edit"))
        self.assertIn("remove-webhook", self.visitor.see(f"{path}/edit"))
        for wrong, words in (
            ("https://elsewhere.example/x", "may not post to that host"),
            ("http://hooks.example/x", "must begin with https://"),
        ):
            refused = self.post(f"{path}/edit", {**form, "webhook": wrong}, **OWN_FORM)
            self.assertEqual(refused.code, 400)
            text = self.successResultOf(refused.text())
            self.assertIn(words, text.partition('id="webhook-error"')[2])
            self.assertIn(f'value="{wrong}"', text)
            self.assertEqual(self.now(records.get(id)).alert.webhook, url)

    def test_no_webhooks(self) -> None:
        """Where the operator allows no URLs, the form has no field for one."""
        for path in ("/alerts/new", f"/alerts/{self.paths['alert']}/edit"):
            self.assertNotIn("webhook", self.visitor.see(path))

    def test_edit_a_channel(self) -> None:
        """
        What may be a secret is not shown. It stays unless something is typed, or its
        box is ticked.
        """
        path, records = "/channels/ops/edit", self.here.parts.channels.records
        self.assertNotIn("canary", self.visitor.see(path))
        before = self.now(records.get("ops")).settings
        for form, changed in (
            ({"url": "", "body": "", "headers": ""}, {}),
            ({"body": "{}"}, {"body": "{}"}),
            ({"remove-body": "on"}, {"body": ""}),
            ({"remove-headers": "on", "headers": "A: b"}, {"headers": ""}),
            ({"url": "https://hooks.example/2"}, {"url": "https://hooks.example/2"}),
        ):
            self.leads_to(self.post(path, form, **OWN_FORM), "/channels")
            before = {**before, **changed}
            self.assertEqual(self.now(records.get("ops")).settings, before)
        page = self.visitor.see(path)
        self.assertNotIn("remove-headers", page)
        self.now(self.here.parts.channels.create({**MAIL, "name": "mail"}))
        nothing = self.post("/channels/mail/edit", {}, **OWN_FORM)
        self.assertEqual(nothing.code, 400)
        self.assertIn('role="alert"', self.successResultOf(nothing.text()))
        self.visitor.see("/channels/none/edit", 404)
        self.visitor.see("/channels/ops", 404)

    def test_a_channel_to_another_host(self) -> None:
        """
        All that has to be typed again is marked; what is required cannot be removed.
        """
        ntfy = {"kind": "ntfy", "name": "phones", "topic": "canary"}
        self.now(self.here.parts.channels.create(ntfy))
        body = {"body": '{"a": "canary"}'}
        self.now(self.here.parts.channels.edit("ops", body))
        for name, form, problems in (
            (
                "ops",
                {"url": "https://h.example/"},
                {"body": ", or remove it", "headers": ", or remove it"},
            ),
            ("phones", {"server": "https://h.example"}, {"topic": ""}),
        ):
            response = self.post(f"/channels/{name}/edit", form, **OWN_FORM)
            self.assertEqual(response.code, 400)
            page = self.successResultOf(response.text())
            found = dict(re.findall(r'id="(\w+)-error"[^>]*><bdi>([^<]*)', page))
            self.assertEqual(list(found), list(problems))
            for field, words in problems.items():
                self.assertTrue(found[field].startswith(f"Type it again{words}:"))
            self.assertEqual(page.count('autofocus="'), 1)
            self.assertIn("to keep it, unless the host changes", page)

    def test_a_channel_named_as_the_form(self) -> None:
        """A channel can be named like the page for a new one."""
        self.now(self.here.parts.channels.create({**HOOK, "name": "new"}))
        self.assertIn("Edit the channel new", self.visitor.see("/channels/new/edit"))
        form = {"url": "https://hooks.example/new"}
        self.leads_to(self.post("/channels/new/edit", form, **OWN_FORM), "/channels")

    def test_sessions(self) -> None:
        """Nobody can sign in with what the page of settings shows."""
        page = self.visitor.see("/settings")
        for id in re.findall(r"[0-9a-f]{64}", page):
            other = Visitor(self.here)
            other.cookie = f"txstathat-80={id}"
            self.assertFalse(self.is_signed_in(other))
        self.assertIn("this browser", page)

    def test_texts(self) -> None:
        """Sizes, and examples of which the shell takes each key and URL as one word."""
        self.assertEqual(
            [size(n) for n in (0, 999, 1_500, 999_999, 2_345_678, 10**13)],
            ["0 bytes", "999 bytes", "1.5 kB", "1 MB", "2.35 MB", "10 TB"],
        )
        for kind in ("ez", "user", "access", "read"):
            made = snippets(kind, "KEY", "https://h/$(touch x)")
            self.assertEqual(list(made), ["Python", "curl", "Shell"])
            for title in ("curl", "Shell"):
                without = re.sub(r"'[^']*'", "", made[title])
                self.assertNotIn("$(", without)
            compile(made["Python"], kind, "exec")


class ExampleTests(TestCase):
    """
    The programs that the page of a new key shows, pasted into a file and run.
    """

    timeout = 60

    def setUp(self) -> None:
        self.received = FakeStatHat(lambda api, key: key == "KEY")
        self.url = self.listen(self.received.resource)

    def listen(self, root: Resource) -> str:
        """Serve a site; its URL."""
        port = reactor.listenTCP(0, CollectorSite(root, reactor), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return f"http://127.0.0.1:{port.getHost().port}"

    async def run_program(self, kind: str, key: str, url: str) -> str:
        """Run the example for a kind of key; what it printed."""
        program = Path(self.mktemp()).absolute()
        program.write_text(snippets(kind, key, url)["Python"])
        out, err, status = await getProcessOutputAndValue(
            sys.executable, [str(program)], env={"PYTHONPATH": str(ROOT)}
        )
        self.assertEqual((status, err), (0, b""))
        return out.decode()

    def test_sends(self) -> Any:
        """The example for an EZ key or a user key sends its points."""

        async def check() -> None:
            await self.run_program("ez", "KEY", self.url)
            sent = [Count("first light"), Value("response time ms", 12.5)]
            self.assertEqual(self.received.points, sent)
            await self.run_program("user", "KEY", self.url)
            self.assertEqual(self.received.points, [*sent, Count("YOUR-STAT-KEY")])

        return ensureDeferred(check())

    def test_reads(self) -> Any:
        """The example for an access token or a read-only token lists the stats."""

        async def check() -> None:
            parts, url, keys = await start_service(self)
            await self.run_program("ez", keys["EZ key"], url)
            read_key = await parts.keys.add("read", "grafana")
            for kind, key in (("access", keys["access token"]), ("read", read_key)):
                self.assertEqual(
                    await self.run_program(kind, key, url),
                    "first light\nresponse time ms\n",
                )

        return ensureDeferred(check())


class CallTests(PageCase):
    """
    The calls for programs.
    """

    def call(self, method: str, path: str, token: str = "", **form: str) -> Any:
        """Make a call below /x/TOKEN; the status and the JSON."""
        return self.here.ask(
            method,
            f"/x/{token or self.here.token}{path}",
            urlencode(form).encode() if form else None,
            Content_Type="application/x-www-form-urlencoded",
        )

    def test_stats(self) -> None:
        """A stat is renamed and described; what is wrong is refused."""
        self.keep(Count("a"), Count("b"))
        status, stat = self.call(
            "POST", f"/stats/{stat_id('a')}", name=HOSTILE, unit="ms", description="x"
        )
        self.assertEqual((status, stat["name"], stat["unit"]), (200, HOSTILE, "ms"))
        self.assertEqual(stat["id"], stat_id(HOSTILE))
        listed = self.here.get("/statlist")
        self.assertEqual([each["unit"] for each in listed], ["ms", ""])
        self.assertEqual(self.here.get(f"/stat?{urlencode({'name': HOSTILE})}"), stat)
        for form, status in (
            ({"name": "b"}, 409),
            ({"name": "x" * 256}, 400),
            ({"unit": "x" * 21}, 400),
            ({"colour": "red"}, 400),
        ):
            self.assertEqual(
                self.call("POST", f"/stats/{stat['id']}", **form)[0], status
            )
        self.assertEqual(self.call("POST", "/stats/none", unit="s")[0], 404)

    def test_trash(self) -> None:
        """A deleted stat is listed, restored, and deleted for good."""
        self.keep(Count("a"))
        id = stat_id("a")
        self.call("DELETE", f"/stats/{id}")
        ((found,),) = (self.here.get("/trash"),)
        self.assertEqual((found["id"], found["name"]), (id, "a"))
        self.assertEqual(found["until"] - found["deleted_at"], 48 * 3600)
        self.assertEqual(self.call("POST", f"/trash/{id}")[0], 200)
        self.assertEqual(self.here.get("/trash"), [])
        self.assertEqual(self.call("DELETE", f"/trash/{id}")[0], 404)
        self.call("DELETE", f"/stats/{id}")
        self.assertEqual(self.call("DELETE", f"/trash/{id}")[0], 200)
        self.assertEqual(self.here.get("/trash"), [])
        self.assertEqual(self.successResultOf(self.here.store.definitions()), {})

    def test_read_only(self) -> None:
        """A read-only token reads, and is refused for anything else."""
        self.keep(Count("a"))
        token = self.now(self.here.parts.keys.add("read", "wall"))
        id = stat_id("a")
        for path in ("/statlist", f"/data/{id}", "/trash", "/alerts", "/channels"):
            self.assertEqual(self.call("GET", path, token)[0], 200, path)
        for method, path in (
            ("POST", f"/stats/{id}"),
            ("DELETE", f"/stats/{id}"),
            ("POST", f"/trash/{id}"),
            ("DELETE", f"/trash/{id}"),
            ("POST", "/alerts"),
            ("POST", "/channels"),
        ):
            status, answer = self.call(method, path, token, unit="x")
            self.assertEqual(status, 403, path)
            self.assertIn("can only read", json.dumps(answer))
