"""
What a form has done, as the page after it says.
"""

from __future__ import annotations

import hmac
import json
import re
from base64 import urlsafe_b64encode
from hashlib import sha256
from html import unescape

from tests.fixtures.stores import NOW
from tests.fixtures.visitors import HOSTILE, OWN_FORM, PageCase, Visitor
from txstathat import Count
from txstathat.collector.alerts.conditions.evaluation import AlertState
from txstathat.collector.alerts.model import parse_alert
from txstathat.collector.archive.stats import stat_id
from txstathat.collector.auth.key_record import hash_key
from txstathat.collector.boards.model import Board, Comparison, Tile
from txstathat.collector.pages.frame.flash import FLASH_SECONDS

ALERT = {
    "kind": "value",
    "time_window": "1h",
    "operator": "greater than",
    "threshold": "5",
}
HOOK = {"kind": "webhook", "name": "new", "url": "https://hooks.example/x"}
#: Forms, and what the page after each says. Each names things of :meth:`FlashCase.make`.
FORMS: tuple[tuple[str, dict[str, str], str], ...] = (
    ("/alerts/new", {**ALERT, "stat": "a"}, "Made the alert on “a”."),
    ("/alerts/{alert}/edit", ALERT, "Saved the alert on “a”."),
    (
        "/alerts/{alert}",
        {"action": "silence", "seconds": "3600"},
        "Silenced the alert for 1 hour.",
    ),
    ("/alerts/{alert}", {"action": "end-silence"}, "Ended the silence."),
    ("/alerts/{alert}", {"action": "acknowledge"}, "Acknowledged the alert."),
    ("/alerts/{alert}", {"action": "delete"}, "Deleted the alert on “a”."),
    ("/channels/new", HOOK, "Added the channel “new”."),
    ("/channels/ops/edit", {"url": ""}, "Saved the channel “ops”."),
    ("/channels", {"action": "delete", "channel": "ops"}, "Deleted the channel “ops”."),
    ("/keys", {"action": "revoke", "key": "first EZ key"}, "Revoked the key “{key}”."),
    ("/links", {"action": "revoke", "link": "{link}"}, "Revoked the link to “a”."),
    ("/boards", {"title": "new"}, "Made the board “new”."),
    (
        "/boards/{board}/edit",
        {"action": "rename", "title": "Till"},
        "Renamed the board to “Till”.",
    ),
    (
        "/boards/{board}/edit",
        {"action": "down", "tile": "1"},
        "Moved the tile “a” down.",
    ),
    ("/boards/{board}/edit", {"action": "up", "tile": "2"}, "Moved the tile “two” up."),
    (
        "/boards/{board}/edit",
        {"action": "order", "order": "2,1"},
        "Saved the order of the tiles.",
    ),
    (
        "/boards/{board}/edit",
        {"action": "remove", "tile": "2"},
        "Removed the tile “two”.",
    ),
    ("/boards/{board}/edit", {"action": "delete"}, "Deleted the board “Shop”."),
    ("/boards/{board}/tile", {"stat1": "a"}, "Added the tile “a”."),
    ("/boards/{board}/tile", {"stat1": "b", "tile": "1"}, "Saved the tile “b”."),
    ("/boards/add", {"stat1": "b", "board": "{board}"}, "Added the tile “b”."),
    (
        "/compare",
        {"stats": "{a},{b}", "t": "1d1h", "scale": "own", "title": "both"},
        "Saved the comparison “both”.",
    ),
    ("/compare/{saved}", {"action": "delete"}, "Deleted the comparison “pair”."),
    ("/stats/{a}/edit", {"action": "save", "name": "c"}, "Saved “c”."),
    ("/stats/{a}/edit", {"action": "delete"}, "Moved “a” to the trash."),
    ("/trash", {"action": "restore", "id": "{gone}"}, "Restored “gone”."),
    ("/trash/{gone}", {"action": "purge"}, "Deleted “gone” for good."),
    ("/notes", {"action": "add", "text": "version 2"}, "Added the note."),
    ("/notes", {"action": "delete", "id": "", "note": "{note}"}, "Deleted the note."),
    ("/pin", {"pin": "{a}"}, "Pinned “a”."),
    ("/pin", {"unpin": "{a}"}, "Unpinned “a”."),
    ("/settings", {"action": "end", "session": "{other}"}, "Ended the session."),
    (
        "/settings",
        {"action": "end", "session": "{own}"},
        "Ended the session of this browser.",
    ),
    ("/settings", {"action": "end-all"}, "Ended all sessions."),
    ("/sign-out", {}, "Signed out."),
)


class FlashCase(PageCase):
    """A signed-in visitor, who sends forms."""

    def setUp(self) -> None:
        super().setUp()
        self.visitor.sign_in()

    def send(self, path: str, form: dict[str, str], **headers: str) -> str:
        """Send a form; returns the address of the page after it."""
        response = self.visitor.ask("POST", path, form, **OWN_FORM, **headers)
        self.assertEqual(response.code, 303)
        (location,) = response.headers.getRawHeaders("location")
        return location.partition("#")[0]  # type: ignore[no-any-return]

    def said(self, path: str, **headers: str) -> list[str]:
        """What a page says was done."""
        html = self.visitor.see(path, **headers)
        lines = re.findall(r'<p role="status" class="[^"]*flash">(.*?)</p>', html)
        return [unescape(re.sub("<[^>]*>", "", line)) for line in lines]


class FlashTests(FlashCase):
    """Who sees what was done, and when."""

    def note(self, **headers: str) -> str:
        """Do something."""
        return self.send("/notes", {"action": "add", "text": "version 2"}, **headers)

    def test_once(self) -> None:
        """It is shown once, by the page after the form."""
        path = self.note()
        self.assertEqual(self.said("/alerts"), [])
        self.assertEqual(self.said(path), ["Added the note."])
        self.assertEqual(self.said(path), [])

    def test_errors(self) -> None:
        """A form that could not be taken leaves nothing."""
        response = self.visitor.ask(
            "POST", "/notes", {"action": "add", "text": ""}, **OWN_FORM
        )
        self.assertEqual(response.code, 400)
        self.assertEqual(self.said("/notes"), [])

    def test_only_pages(self) -> None:
        """What does not show a page leaves it to the page that does."""
        path = self.note(Sec_Fetch_Dest="document", Sec_Fetch_Site="same-origin")
        self.visitor.ask("HEAD", path)
        self.assertEqual(self.said(path, Sec_Fetch_Dest="empty"), [])
        self.assertEqual(
            self.said(path, Sec_Fetch_Dest="document"), ["Added the note."]
        )

    def test_scripts(self) -> None:
        """A script that sends a form leaves nothing for a later page."""
        path = self.note(Sec_Fetch_Dest="empty", Sec_Fetch_Site="same-origin")
        self.assertEqual(self.said(path), [])

    def test_cookie(self) -> None:
        """The browser forgets it soon, and shows it to no script."""
        form = {"action": "add", "text": "version 2"}
        response = self.visitor.ask("POST", "/notes", form, **OWN_FORM)
        (cookie,) = response.headers.getRawHeaders("set-cookie")
        name, *attributes = cookie.split("; ")
        self.assertTrue(name.startswith("txstathat-80-done="))
        self.assertEqual(
            {each.lower() for each in attributes},
            {f"max-age={FLASH_SECONDS}", "path=/", "httponly", "samesite=strict"},
        )

    def test_another_session(self) -> None:
        """What another session was told is not shown: anybody could have sent it."""
        path, other = self.note(), Visitor(self.here)
        other.sign_in()
        other.done = self.visitor.done
        self.assertNotIn("flash", other.see(path))
        other.cookie, other.done = "", f"{self.visitor.done}"
        self.assertNotIn("flash", other.see("/sign-in"))

    def test_forged(self) -> None:
        """A cookie that the collector did not sign is ignored."""
        path, signed = self.note(), self.visitor.done
        name, _, value = signed.partition("=")
        text, _, signature = value.partition(".")
        for wrong in (
            "",
            "x",
            ".",
            f".{signature}",
            f"{text}.",
            f"{text}.{'0' * 64}",
            f"{text[:-4]}.{signature}",
            f"{value}é",
        ):
            self.visitor.done = f"{name}={wrong}"
            self.assertEqual(self.said(path), [], wrong)
        self.visitor.done = signed
        self.assertEqual(self.said(path), ["Added the note."])

    def test_signed_out(self) -> None:
        """Who is not signed in sees only known sentences: anybody could sign others."""
        for session in ("", "made up"):
            for words, seen in (("Signed out", True), ("Call this number", False)):
                fields = json.dumps(["/sign-in", words, "", "."]).encode()
                text = urlsafe_b64encode(fields)
                signature = hmac.new(session.encode(), b"done " + text, sha256)
                self.visitor.cookie = f"txstathat-80={session}"
                value = f"{text.decode()}.{signature.hexdigest()}"
                self.visitor.done = f"txstathat-80-done={value}"
                expected = [f"{words}."] if seen else []
                self.assertEqual(self.said("/sign-in"), expected)

    def test_hostile_names(self) -> None:
        """A name from outside is shown as text."""
        path = self.send("/boards", {"title": HOSTILE})
        html = self.visitor.see(path)
        self.assertNotIn(HOSTILE, html)
        self.assertIn("Made the board “<bdi>&lt;script&gt;", html)

    def test_long_names(self) -> None:
        """The longest name fits into the cookie."""
        name = "\N{ROCKET}" * 255
        self.keep(Count(name, 1, NOW))
        path = self.send(f"/stats/{stat_id(name)}/edit", {"action": "delete"})
        self.assertLess(len(self.visitor.done), 4096)
        self.assertEqual(self.said(path), [f"Moved “{name}” to the trash."])


class EachFormTests(FlashCase):
    """Each form says what it has done."""

    def make(self) -> dict[str, str]:
        """Make what the forms name; returns the ids by their words."""
        parts = self.here.parts
        self.keep(*(Count(name, 1, NOW) for name in ("a", "b", "gone")))
        self.now(parts.archive.delete(stat_id("gone")))
        (a,) = self.now(parts.archive.find([stat_id("a")]))
        alert = parse_alert({**ALERT}, a, parts.archive.retention, str)
        self.now(parts.alerts.create(alert))
        record = self.now(parts.alerts.get(alert.id))
        fired = record.advanced(AlertState(1, True, NOW), 7, NOW)
        self.now(parts.alerts.change(record, fired))
        self.now(parts.channels.create({**HOOK, "name": "ops"}))
        tiles = (Tile("1", "number", ("a",)), Tile("2", "number", ("b",), title="two"))
        self.now(parts.archive.notes.add(None, "version 1"))
        other = Visitor(self.here)
        other.sign_in()
        notes = self.now(parts.archive.notes.all())
        return {
            "a": a.id,
            "b": stat_id("b"),
            "gone": stat_id("gone"),
            "alert": alert.id,
            "board": self.now(parts.boards.boards.create(Board("Shop", tiles))),
            "saved": self.now(
                parts.boards.comparisons.create(
                    Comparison("pair", ("a", "b"), "1d1h", "own")
                )
            ),
            "link": hash_key(self.now(parts.shares.create("stat", "a"))),
            "note": next(iter(notes.values()))[0].id,
            "key": "first EZ key",
            "other": hash_key(other.cookie.partition("=")[2]),
            "own": hash_key(self.visitor.cookie.partition("=")[2]),
        }

    def test_each(self) -> None:
        """The page after it says so, as a status, once."""
        for path, form, expected in FORMS:
            self.setUp()
            things = self.make()
            filled = {name: text.format(**things) for name, text in form.items()}
            after = self.send(path.format(**things), filled)
            self.assertEqual(self.said(after), [expected.format(**things)])
            self.assertEqual(self.said(after), [])
