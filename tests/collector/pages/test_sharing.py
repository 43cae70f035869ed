"""
Shared links, over HTTP in memory.
"""

from __future__ import annotations

import re
from typing import Any

from tests.fixtures.visitors import HOSTILE, OWN_FORM, PageCase, Visitor
from tests.fixtures.web_client import WebClient
from txstathat import Count, Value
from txstathat.collector.archive.stats import stat_id
from txstathat.collector.auth.key_record import hash_key
from txstathat.collector.auth.throttle import HOLD_SECONDS, MAX_WRONG
from txstathat.collector.boards.model import Board, Tile


class SharingTests(PageCase):
    """What visitors see who are not signed in."""

    def setUp(self) -> None:
        super().setUp()
        self.keep(Count("shown", 3), Value("on the board", 2.5), Count("canary", 9))
        archive = self.here.parts.archive
        for stat in self.now(archive.stats()):
            self.now(archive.comment(stat, "a private note"))
        self.now(archive.comment(None, "a private deployment"))
        tiles = (
            Tile("1", "chart", ("shown",)),
            Tile("2", "comparison", ("shown", "on the board")),
        )
        boards = self.here.parts.boards.boards
        self.board = self.now(boards.create(Board("The board", tiles)))
        self.guest = Visitor(self.here)

    def share(self, kind: str, target: str) -> str:
        """Make a link; its path."""
        return f"/shared/{self.now(self.here.parts.shares.create(kind, target))}"

    def header(self, path: str, name: str) -> str:
        """A header of a page."""
        (value,) = self.guest.ask("GET", path).headers.getRawHeaders(name)
        return str(value)

    def check_alone(self, page: str, path: str) -> None:
        """Check that a page has nothing of other stats, and no links to other pages."""
        for word in ("canary", "private", stat_id("canary")):
            self.assertNotIn(word, page)
        for address in re.findall(r'(?:href|src|action|data-path)="([^"]*)"', page):
            self.assertRegex(
                address, rf"^(\?t=\w+|{re.escape(path)}/.*|/assets/\S+|data:,)$"
            )

    def test_a_stat(self) -> None:
        """A link shows a stat and its data, in any range, and nothing else."""
        path = self.share("stat", "shown")
        for where in ("", "/", "?t=1w3h", "/embed", "/embed?t=1w3h", "/chart"):
            page = self.guest.see(path + where)
            self.assertIn("shown", page)
            self.assertNotIn("on the board", page)
            self.check_alone(page, path)
        response = self.guest.ask("GET", f"{path}/chart?t=1h30m&format=json")
        table: Any = self.successResultOf(response.json())
        self.assertEqual([row[1] for row in table["rows"]], [0, 3])
        text = self.guest.see(f"{path}/chart?t=1h30m&format=csv")
        self.assertIn("minute,sum", text)
        self.check_alone(text, path)
        for wrong in ("?t=x", f"/chart?s={stat_id('canary')}", "/chart?t=x"):
            self.check_alone(self.guest.see(path + wrong, 400), path)
        for wrong in ("/x", "/chart/x", "/embed/x", f"/stats/{stat_id('canary')}"):
            self.check_alone(self.guest.see(path + wrong, 404), path)

    def test_a_board(self) -> None:
        """A link shows the tiles of a board; a later tile is shown too."""
        path = self.share("board", self.board)
        for where in ("", "/embed"):
            page = self.guest.see(path + where)
            for word in ("The board", "shown", "on the board"):
                self.assertIn(word, page)
            self.check_alone(page, path)
        self.guest.see(f"{path}/chart", 404)
        more = Tile("3", "number", ("canary",))
        boards = self.here.parts.boards.boards
        self.now(boards.change(self.board, lambda board: board.with_tile(more)))
        self.assertIn("canary", self.guest.see(path))

    def test_headers(self) -> None:
        """
        Other sites can show the embed inside their pages, and nothing else. They do
        not learn the address, and search engines do not list it.
        """
        for kind, target in (("stat", "shown"), ("board", self.board)):
            path = self.share(kind, target)
            pages = ["", "/embed", "/x", *(["/chart"] if kind == "stat" else [])]
            for where in pages:
                policy = self.header(path + where, "content-security-policy")
                ancestors = "*" if where == "/embed" else "'none'"
                self.assertIn(f"frame-ancestors {ancestors}", policy)
                self.assertIn("default-src 'none'", policy)
                self.assertEqual(
                    self.header(path + where, "referrer-policy"), "no-referrer"
                )
                self.assertEqual(self.header(path + where, "cache-control"), "no-store")
                self.assertEqual(self.header(path + where, "x-robots-tag"), "noindex")
        for private in ("/", "/boards", "/sign-in", f"/boards/{self.board}"):
            policy = self.header(private, "content-security-policy")
            self.assertIn("frame-ancestors 'none'", policy)

    def answer(self, path: str) -> tuple[Any, ...]:
        """All of an answer but the time."""
        response = self.guest.ask("GET", path)
        headers = dict(response.headers.getAllRawHeaders())
        del headers[b"Date"]
        return response.code, headers, self.successResultOf(response.content())

    def test_revoked_and_unknown(self) -> None:
        """
        A revoked link is answered as one that never was, on all paths. The answers to
        many of them are delayed, as those to wrong keys.
        """
        path = self.share("stat", "shown")
        self.now(self.here.parts.shares.revoke(hash_key(path.split("/")[2])))
        expected = self.answer("/shared/never")
        self.assertEqual(expected[0], 403)
        self.assertIn(b"This link does not work", expected[2])
        for where in ("", "/embed", "/chart", "/chart?format=json", "/x", "/x/y"):
            self.assertEqual(self.answer(path + where), expected, where)
        self.assertEqual(self.here.parts.throttle.wrong, 7)
        for _ in range(MAX_WRONG - 7):
            self.guest.see(path, 403)
        asked = self.here.http.request("GET", f"http://localhost{path}")
        self.here.agent.flush()
        self.assertNoResult(asked)
        self.clock.advance(2 * HOLD_SECONDS)
        self.here.agent.flush()
        self.assertEqual(self.successResultOf(asked).code, 429)
        # A link that works is not delayed.
        self.assertIn("shown", self.guest.see(self.share("stat", "shown")))

    def test_impatient_visitors(self) -> None:
        """
        A visitor who leaves before a delayed answer takes up no room: the next one's
        answer is delayed too, and not sent at once.
        """
        self.here.parts.throttle.max_held = 1
        for _ in range(MAX_WRONG):
            WebClient(self.here.parts.root).request("/shared/never")
        for _ in range(3):
            client = WebClient(self.here.parts.root)
            self.assertEqual(client.request("/shared/never"), b"")
            client.disconnect()
        client = WebClient(self.here.parts.root)
        client.request("/shared/never")
        # One answer waits, which is the limit.
        refused = WebClient(self.here.parts.root).request("/shared/never")
        self.assertIn(b"429", refused.splitlines()[0])
        self.assertIn(b"connection: close", refused.lower())

    def test_what_is_gone(self) -> None:
        """A link to a stat that is deleted says so; it works again with the stat."""
        path = self.share("stat", "shown")
        self.now(self.here.parts.archive.delete(stat_id("shown")))
        for where in ("", "/embed", "/chart"):
            page = self.guest.see(path + where, 404)
            self.assertIn("is not there any more", page)
            self.check_alone(page, path)
        self.assertIn("on the board", self.guest.see(self.share("board", self.board)))
        self.keep(Count("shown"))
        self.assertIn("shown", self.guest.see(path))

    def test_methods(self) -> None:
        """Nothing can be sent to a shared link."""
        path = self.share("board", self.board)
        for method in ("POST", "PUT", "DELETE"):
            for where in ("", "/embed", "/chart"):
                response = self.guest.ask(method, path + where, **OWN_FORM)
                self.assertEqual(response.code, 405)
        self.assertEqual(self.guest.ask("HEAD", path).code, 200)

    def test_making_links(self) -> None:
        """
        A link is made and shown once, with an embed that is safe to paste; later only
        what it shows is listed. Revoking it ends it at once.
        """
        self.keep(Count(HOSTILE))
        self.visitor.sign_in()
        page = self.visitor.see(f"/links?stat={stat_id(HOSTILE)}")
        self.assertIn("Make a link", page)
        self.assertNotIn(HOSTILE, page)
        form = {"action": "create", "kind": "stat", "id": stat_id(HOSTILE)}
        response = self.visitor.ask("POST", "/links", form, **OWN_FORM)
        made = self.successResultOf(response.text())
        self.assertNotIn(HOSTILE, made)
        found = re.search(r"http://localhost(/shared/([\w-]{32}))<", made)
        assert found is not None
        path, secret = found.groups()
        self.guest.see(path)
        listed = self.visitor.see("/links")
        self.assertNotIn(secret, listed)
        self.assertIn("&lt;script&gt;", listed)
        revoke = {"action": "revoke", "link": hash_key(secret)}
        response = self.visitor.ask("POST", "/links", revoke, **OWN_FORM)
        self.leads_to(response, "/links")
        self.guest.see(path, 403)
        for wrong, status in (
            (revoke, 404),
            ({**form, "id": "x"}, 404),
            ({**form, "kind": "everything"}, 400),
            ({}, 400),
        ):
            response = self.visitor.ask("POST", "/links", wrong, **OWN_FORM)
            self.assertEqual(response.code, status)
        self.assertIn("There are no shared links.", self.visitor.see("/links"))
