"""
The pages for tending a collector, in a real browser.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from tests.fixtures.pages import DRAWN, NOW, TEXT, TOO_WIDE, PagesCase
from txstathat import Count, Value, txStatHat
from txstathat.collector.alerts.conditions.evaluation import AlertState
from txstathat.collector.alerts.model import parse_alert
from txstathat.collector.archive.stats import stat_id

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>"
WRONG = "the server responded with a status of 40"
FOCUSED = "return document.activeElement.id || document.activeElement.textContent"


class TendingCase(PagesCase):
    """A collector, and somebody who tends it."""

    def then(self, waited: Any) -> Any:
        """The result of a coroutine."""
        return Deferred.fromCoroutine(waited)

    @inlineCallbacks
    def shown(self, name: str) -> Any:
        """
        Look at a page in all its forms: light and dark, wide and on a phone, where
        nothing is too wide.
        """
        for scheme, width in (("light", 1280), ("dark", 375), ("light", 375)):
            yield self.do("prefer", scheme)
            yield self.do("size", width, 900)
            # A chart takes its new size a moment later.
            yield self.arrive(f"(() => {{{TOO_WIDE}}})() === 0")
            yield self.do("screenshot", f"tend-{name}-{scheme}-{width}")
        yield self.do("size", 1000, 700)

    @inlineCallbacks
    def fill(self, **fields: str) -> Any:
        """Type into fields of a form, in the place of what they hold."""
        for name, text in fields.items():
            yield self.do(
                "run",
                # The page may give a field the focus just before its first frame.
                "return new Promise((done) => requestAnimationFrame(() => {"
                "const box = document.getElementById(arguments[0]);"
                "box.focus(); box.select?.(); done(); }))",
                name,
            )
            yield self.do("type", f"[id={name}]", text)

    def choose(self, name: str, value: str) -> Any:
        """Choose from a list."""
        return self.do(
            "run",
            "const box = document.getElementById(arguments[0]);"
            "box.value = arguments[1];"
            "box.dispatchEvent(new Event('change', {bubbles: true}));",
            name,
            value,
        )

    def text(self) -> Any:
        """The text of the page."""
        return self.do("run", TEXT)


class StatTests(TendingCase):
    """A stat's name, its details, and the trash."""

    @inlineCallbacks
    def test_rename_and_describe(self) -> Any:
        """
        A stat is renamed and described. Wrong input stays, with what is wrong beside
        it; a hostile name is plain text.
        """
        yield self.keep(Count("signups", 3, NOW), Count("taken", 1, NOW))
        yield self.sign_in()
        yield self.look(f"/stats/{stat_id('signups')}")
        yield self.do("click", "a[href$='/edit']")
        yield self.arrive(
            "document.querySelector('h1')?.innerText === 'Edit this stat'"
        )
        for name, words in (("taken", "There is a stat 'taken' already"),):
            yield self.fill(name=name, unit="people")
            yield self.do("click", "button[value=save]")
            yield self.arrive("document.querySelector('.wrong')")
            text = yield self.do(
                "run", "return document.querySelector('.wrong').innerText"
            )
            self.assertIn(words, text)
            held = yield self.do(
                "run",
                "return ['name', 'unit'].map(id => document.getElementById(id).value)",
            )
            self.assertEqual(held, [name, "people"])
            self.assertEqual((yield self.do("run", FOCUSED)), "name")
        yield self.shown("stat-edit-wrong")
        yield self.do("run", "document.getElementById('unit').maxLength = 99")
        yield self.fill(name=HOSTILE, unit="x" * 21, description="Who signed up.")
        yield self.do("click", "button[value=save]")
        yield self.arrive("document.querySelector('#unit-error')")
        self.assertIsNotNone((yield self.then(self.parts.archive.stat("signups"))))
        yield self.fill(unit="people\n")
        yield self.arrive(DRAWN)
        title = yield self.do("run", "return document.querySelector('h1').innerText")
        self.assertIn(HOSTILE, title)
        text = yield self.text()
        self.assertIn("Who signed up.", text)
        self.assertIn("3 people", text)
        yield self.shown("stat")
        stat = yield self.then(self.parts.archive.stat(HOSTILE))
        totals = yield self.then(self.parts.archive.totals())
        self.assertEqual(totals[HOSTILE].sum, 3)
        details = yield self.then(self.parts.archive.details.read(stat))
        self.assertEqual(
            (details.unit, details.description), ("people", "Who signed up.")
        )
        self.assertEqual((yield self.do("run", "return document.images.length")), 0)
        yield self.silent(WRONG)

    @inlineCallbacks
    def test_trash(self) -> Any:
        """
        A stat is deleted and restored with the keyboard; another one is deleted for
        good, and its name can be of the other kind.
        """
        yield self.keep(Count("latency", 3, NOW), Count(HOSTILE, 1, NOW))
        yield self.sign_in()
        text = yield self.look("/trash")
        self.assertIn("The trash is empty.", text)
        for name in ("latency", HOSTILE):
            yield self.look(f"/stats/{stat_id(name)}/edit")
            yield self.do(
                "run", "document.querySelector('button[value=delete]').focus()"
            )
            yield self.do("type", "button[value=delete]", "\n")
            yield self.arrive("location.pathname === '/trash'")
        text = yield self.text()
        self.assertIn(HOSTILE, text)
        self.assertIn("just now", text)
        yield self.shown("trash")
        self.assertEqual((yield self.then(self.parts.archive.stats())), [])
        yield self.do("type", "tbody tr:first-child button", "\n")
        yield self.arrive(f"location.pathname === '/stats/{stat_id(HOSTILE)}'")
        self.assertIsNotNone((yield self.then(self.parts.archive.stat(HOSTILE))))
        yield self.look("/trash")
        yield self.do("click", "tbody a")
        yield self.arrive("document.querySelector('.danger')")
        yield self.shown("purge")
        self.assertEqual(len((yield self.then(self.parts.archive.trash()))), 1)
        yield self.do("click", ".danger")
        yield self.arrive("location.pathname === '/trash'")
        self.assertIn("The trash is empty.", (yield self.text()))
        yield self.keep(Value("latency", 5, NOW))
        totals = yield self.then(self.parts.archive.totals())
        self.assertEqual(
            (totals["latency"].kind, totals["latency"].points), ("value", 1)
        )
        yield self.silent()


class KeyTests(TendingCase):
    """Keys and settings."""

    @inlineCallbacks
    def test_keys(self) -> Any:
        """
        A key is made, shown once with examples that hold it, works, and is revoked; a
        name in use stays in its field.
        """
        yield self.sign_in()
        text = yield self.look("/keys")
        self.assertIn("first EZ key", text)
        yield self.fill(name="first EZ key")
        yield self.do("click", "button[value=create]")
        yield self.arrive("document.querySelector('#name-error')")
        self.assertIn("there is a key named", (yield self.text()).lower())
        held = yield self.do("run", "return document.getElementById('name').value")
        self.assertEqual(held, "first EZ key")
        yield self.shown("keys")
        yield self.fill(name=HOSTILE)
        yield self.do("click", "button[value=create]")
        yield self.arrive("document.querySelector('#new-key')")
        key = yield self.do(
            "run", "return document.getElementById('new-key').innerText"
        )
        text = yield self.text()
        self.assertIn(f"curl {self.url}/ez -d ezkey={key}", text)
        self.assertIn(f'txStatHat("{key}", url="{self.url}")', text)
        self.assertIn(f"TXSTATHAT_EZKEY={key}", text)
        self.assertIn(HOSTILE, text)
        yield self.shown("key-made")
        client = txStatHat(key, url=self.url, ignore_errors=False)
        yield client.count("first light")
        yield client.close()
        text = yield self.look("/keys")
        self.assertNotIn(key, text)
        rows = yield self.do(
            "run",
            "const row = [...document.querySelectorAll('tbody tr')]"
            ".find(row => row.innerText.includes('<script>'));"
            "row.querySelector('a').focus(); return row.innerText",
        )
        self.assertIn("EZ key", rows)
        yield self.do("run", "document.activeElement.click()")
        yield self.arrive("document.querySelector('.danger')")
        yield self.shown("key-revoke")
        self.assertIn(HOSTILE, (yield self.text()))
        self.assertTrue(self.parts.keys.allow("ez", key))
        yield self.do("click", "button[value=revoke]")
        yield self.arrive(
            "!document.querySelector('tbody').innerText.includes('<script>')"
        )
        self.assertIn(f"Revoked the key “{HOSTILE}”.", (yield self.text()))
        self.assertFalse(self.parts.keys.allow("ez", key))
        yield self.silent(WRONG)

    @inlineCallbacks
    def test_a_read_only_token(self) -> Any:
        """Who signed in with a read-only token sees pages, and changes nothing."""
        yield self.keep(Count("a", 3, NOW))
        token = yield self.then(self.parts.keys.add("read", "wall"))
        yield self.look("/sign-in")
        yield self.do("type", "#token", f"{token}\n")
        yield self.arrive("document.querySelector('tbody th a')")
        for path in ("/alerts", "/keys", "/trash", "/settings"):
            yield self.look(path)
        yield self.look(f"/stats/{stat_id('a')}/edit")
        yield self.shown("read-only")
        self.assertIn("read-only token", (yield self.text()))
        forms = yield self.do(
            "run",
            "return [...document.forms].filter(form => form.method === 'post')"
            ".map(form => form.action)",
        )
        self.assertEqual([form.rpartition("/")[2] for form in forms], ["sign-out"])
        # A form that was made by hand is refused.
        yield self.do(
            "run",
            "const form = document.createElement('form'); form.method = 'post';"
            "form.innerHTML = '<input name=action value=delete>';"
            "document.body.append(form); form.submit()",
        )
        yield self.arrive("document.querySelector('[role=alert]')")
        self.assertIn("read-only token", (yield self.text()))
        self.assertIsNotNone((yield self.then(self.parts.archive.stat("a"))))
        yield self.silent(WRONG)

    @inlineCallbacks
    def test_settings(self) -> Any:
        """The page shows sizes and sessions; one is ended, then all."""
        yield self.keep(Count("a", 3, NOW))
        other = yield self.then(self.parts.sessions.open(self.token))
        yield self.sign_in()
        text = yield self.look("/settings")
        for words in ("1 of 100,000", "Minutes", "26 hours", "400 days", "for ever"):
            self.assertIn(words, text)
        self.assertIn("first access token", text)
        self.assertIn("this browser", text)
        yield self.shown("settings")
        yield self.do(
            "run",
            "[...document.querySelectorAll('tbody tr')]"
            ".find(row => !row.innerText.includes('this browser'))"
            ".querySelector('button').click()",
        )
        yield self.arrive("document.querySelectorAll('tbody tr').length === 1")
        self.assertFalse((yield self.then(self.parts.sessions.knows(other))))
        yield self.do("click", "a[href$='?end=all']")
        yield self.arrive("document.querySelector('.danger')")
        yield self.shown("settings-end")
        yield self.do("click", "button[value=end-all]")
        yield self.arrive("location.pathname === '/sign-in'")
        self.assertEqual((yield self.then(self.parts.sessions.all())), {})
        yield self.silent()


class AlertTests(TendingCase):
    """Alerts and channels."""

    @inlineCallbacks
    def test_make_and_edit(self) -> Any:
        """
        An alert is made from a stat's page. Wrong input stays; the form shows only the
        fields of its kind; the limit is drawn on the chart.
        """
        yield self.keep(*self.lively())
        yield self.sign_in()
        yield self.look(f"/stats/{stat_id('response time ms')}")
        yield self.do("click", "a[href^='/alerts/new']")
        yield self.arrive("document.getElementById('threshold')")
        self.assertIn("no channel is set up", (yield self.text()))
        visible = (
            "return ['operator', 'threshold', 'percentage', 'time_delta'].map("
            "id => document.getElementById(id).checkVisibility())"
        )
        self.assertEqual((yield self.do("run", visible)), [True, True, False, False])
        yield self.choose("kind", "delta")
        self.assertEqual((yield self.do("run", visible)), [True, False, True, True])
        yield self.choose("kind", "data")
        self.assertEqual((yield self.do("run", visible)), [False] * 4)
        yield self.choose("kind", "value")
        yield self.choose("time_window", "3h")
        yield self.fill(threshold="many")
        yield self.shown("alert-new")
        yield self.do("click", "main button")
        yield self.arrive("document.querySelector('#threshold-error')")
        held = yield self.do(
            "run",
            "return ['stat', 'threshold', 'time_window'].map("
            "id => document.getElementById(id).value)",
        )
        self.assertEqual(held, ["response time ms", "many", "3h"])
        self.assertEqual((yield self.do("run", FOCUSED)), "threshold")
        yield self.shown("alert-wrong")
        yield self.fill(stat="no such stat")
        yield self.do("click", "main button")
        yield self.arrive("document.querySelector('#stat-error')")
        yield self.fill(stat="response time ms", threshold="55.5\n")
        yield self.arrive("/^.alerts.[0-9a-f]{16}$/.test(location.pathname)")
        (record,) = (yield self.then(self.parts.alerts.all())).values()
        self.assertEqual(
            (record.alert.threshold, record.alert.time_window), (55.5, "3h")
        )
        text = yield self.text()
        self.assertIn("Fires when it is greater than 55.5 over 3 hours.", text)
        self.assertIn("Nobody will be notified", text)
        yield self.look(f"/alerts/{record.alert.id}/edit")
        yield self.choose("time_window", "1h")
        yield self.fill(threshold="60\n")
        yield self.arrive("document.getElementById('alert-state')")
        self.assertIn(
            "Fires when it is greater than 60 over 1 hour.", (yield self.text())
        )
        yield self.do("open", f"{self.url}/stats/{stat_id('response time ms')}?t=1d5m")
        yield self.arrive(DRAWN)
        shapes = yield self.do(
            "run",
            "return document.querySelector('.txstathat-picture').layout.shapes"
            ".map(shape => shape.y0)",
        )
        self.assertIn(60, shapes)
        yield self.shown("stat-with-alert")
        yield self.silent(WRONG)

    @inlineCallbacks
    def test_firing(self) -> Any:
        """
        A firing alert has a badge, is acknowledged, silenced for a time, tested and
        deleted; its episodes are listed.
        """
        yield self.keep(Count(HOSTILE, 700, NOW))
        stat = yield self.then(self.parts.archive.stat(HOSTILE))
        fields = {
            "kind": "value",
            "time_window": "1h",
            "operator": "gt",
            "threshold": "500",
        }
        alert = parse_alert(fields, stat, self.parts.archive.retention, str)
        yield self.then(self.parts.alerts.create(alert))
        record = yield self.then(self.parts.alerts.get(alert.id))
        firing = AlertState(1, True, NOW - 600)
        yield self.then(
            self.parts.alerts.change(record, record.advanced(firing, 700, NOW - 600))
        )
        yield self.sign_in()
        text = yield self.look("/alerts")
        self.assertIn("1 alert firing.", text)
        self.assertIn("Firing", text)
        self.assertIn(HOSTILE, text)
        yield self.shown("alerts")
        text = yield self.look("/")
        self.assertIn("Firing", text)
        yield self.shown("list-firing")
        text = yield self.look(f"/stats/{stat.id}")
        self.assertIn("Firing Alert when it is greater than 500 over 1 hour", text)
        yield self.look(f"/alerts/{alert.id}")
        yield self.do("click", "button[value=acknowledge]")
        yield self.arrive("!document.querySelector('button[value=acknowledge]')")
        record = yield self.then(self.parts.alerts.get(alert.id))
        self.assertTrue(record.is_acknowledged)
        yield self.do("run", "document.querySelector('[name=seconds]').value = '86400'")
        yield self.do("click", "button[value=silence]")
        yield self.arrive("document.querySelector('button[value=end-silence]')")
        record = yield self.then(self.parts.alerts.get(alert.id))
        self.assertEqual(record.silenced_until(NOW + 86_399), NOW + 86_400)
        text = yield self.text()
        self.assertIn("Acknowledged", text)
        self.assertIn("goes on", text)
        yield self.shown("alert")
        yield self.do("click", "button[value=end-silence]")
        yield self.arrive("document.querySelector('button[value=silence]')")
        yield self.do("click", "button[value=test]")
        yield self.arrive("document.querySelector('[role=alert]')")
        self.assertIn("nowhere to send a test", (yield self.text()))
        yield self.do("click", "a[href*='?delete=']")
        yield self.arrive("document.querySelector('.danger')")
        yield self.shown("alert-delete")
        yield self.do("click", "button[value=delete]")
        yield self.arrive("location.pathname === '/alerts'")
        self.assertEqual((yield self.then(self.parts.alerts.all())), {})
        yield self.silent()

    @inlineCallbacks
    def test_channels(self) -> Any:
        """
        A channel is added, tested and deleted. What is wrong stands beside its field;
        the address of a hook is masked; the reason of a failure is shown.
        """
        yield self.sign_in()
        text = yield self.look("/channels")
        self.assertIn("There is no channel yet.", text)
        for kind in ("webhook", "email", "ntfy", "pagerduty"):
            yield self.look(f"/channels/new?kind={kind}")
            yield self.shown(f"channel-{kind}")
        yield self.look("/channels/new?kind=email")
        yield self.fill(
            **{"name": "ops", "to": "nobody", "from": "a@b.example", "server": "x"}
        )
        yield self.do("click", "main button")
        yield self.arrive("document.querySelector('#to-error')")
        held = yield self.do(
            "run", "return ['name', 'to'].map(id => document.getElementById(id).value)"
        )
        self.assertEqual(held, ["ops", "nobody"])
        yield self.shown("channel-wrong")
        yield self.look("/channels/new?kind=webhook")
        secret = "https://hooks.invalid/services/SECRET-PART"
        yield self.fill(name="bad name!", url=secret)
        yield self.do("click", "main button")
        yield self.arrive("document.querySelector('#name-error')")
        yield self.fill(name="chat")
        yield self.do("click", "main button")
        yield self.arrive("location.pathname === '/channels'")
        text = yield self.text()
        self.assertIn("hooks.invalid", text)
        self.assertNotIn("SECRET-PART", text)
        yield self.do("click", "button[value=test]")
        yield self.arrive("document.querySelector('[role=alert]')")
        text = yield self.text()
        self.assertIn("The test of chat was not delivered", text)
        self.assertIn("Failed 2026-07-05", text)
        self.assertNotIn("SECRET-PART", text)
        yield self.shown("channels")
        yield self.do("click", "a[href='/channels/chat/edit']")
        yield self.arrive("location.pathname === '/channels/chat/edit'")
        self.assertNotIn(
            "SECRET-PART",
            (yield self.do("run", "return document.documentElement.outerHTML")),
        )
        yield self.fill(headers="no header")
        yield self.do("click", "main button")
        yield self.arrive("document.querySelector('#headers-error')")
        yield self.fill(headers="X-Team: shop")
        yield self.do("click", "main button")
        yield self.arrive("location.pathname === '/channels'")
        yield self.look("/channels/chat/edit")
        yield self.shown("channel-edit")
        channel = yield self.then(self.parts.channels.records.get("chat"))
        self.assertEqual(channel.settings["headers"], "X-Team: shop")
        self.assertEqual(channel.settings["url"], secret)
        yield self.look("/channels")
        yield self.do("click", "a[href*='?delete=']")
        yield self.arrive("document.querySelector('.danger')")
        yield self.shown("channel-delete")
        yield self.do("click", "button[value=delete]")
        yield self.arrive(
            "document.querySelector('.hint')?.innerText.includes('no channel')"
        )
        self.assertEqual((yield self.then(self.parts.channels.list())), [])
        yield self.silent(WRONG)
