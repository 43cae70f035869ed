"""
The pages of boards, comparisons and notes, over HTTP in memory: as without JavaScript.
"""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fixtures.stores import NOW
from tests.fixtures.visitors import HOSTILE, OWN_FORM, PageCase
from txstathat import Count, Value
from txstathat.collector.archive.stats import stat_id
from txstathat.collector.boards.model import Board, Tile


class FormCase(PageCase):
    """A visitor who is signed in."""

    def setUp(self) -> None:
        super().setUp()
        self.keep(Count("orders", 3), Count("signups", 5), Value("ms", 2.5))
        self.visitor.sign_in()
        self.boards = self.here.parts.boards.boards

    def send(self, path: str, status: int = 303, **form: str) -> str:
        """Send a form; where it leads to, or the page that it makes."""
        response = self.visitor.ask("POST", path, form, **OWN_FORM)
        self.assertEqual(response.code, status)
        if status == 303:
            (location,) = response.headers.getRawHeaders("location")
            return str(location)
        text: str = self.successResultOf(response.text())
        return text

    def make(self, *tiles: Tile, title: str = "The shop") -> str:
        """Store a board; its path."""
        return f"/boards/{self.now(self.boards.create(Board(title, tiles)))}"

    def board(self, path: str) -> Board:
        """A board in the store."""
        found: Board = self.now(self.boards.get(path.split("/")[2]))
        return found


class BoardFormTests(FormCase):
    """Boards are made and changed by forms."""

    def test_life(self) -> None:
        """A board is made, renamed and deleted; then its links show nothing."""
        edit = self.send("/boards", title=" The shop ")
        path = edit.removesuffix("/edit")
        self.assertEqual(self.board(path), Board("The shop"))
        self.assertIn("no tiles yet", self.visitor.see(path))
        self.assertEqual(self.send(edit, action="rename", title="Till"), path)
        self.assertIn("Till", self.visitor.see("/boards"))
        secret = self.now(self.here.parts.shares.create("board", path[8:]))
        self.visitor.see(f"/shared/{secret}")
        self.assertEqual(self.send(edit, action="delete"), "/boards")
        self.visitor.see(path, 404)
        self.visitor.see(f"/shared/{secret}", 403)
        self.assertIn("Deleted the board “<bdi>Till", self.visitor.see("/boards"))
        self.assertNotIn("Till", self.visitor.see("/boards"))

    def test_wrong_titles(self) -> None:
        """A title that is not valid is refused beside its field, and stays in it."""
        path = self.make()
        for where, form in (("/boards", {}), (f"{path}/edit", {"action": "rename"})):
            for title in ("", "x" * 101, "a\nb"):
                page = self.send(where, 400, title=title, **form)
                self.assertIn('id="title-error"', page)
                self.assertIn(f'value="{title.strip()}"', unescape(page))
        self.assertEqual(self.board(path).title, "The shop")

    def test_tiles(self) -> None:
        """Tiles are added, changed, moved and removed."""
        path = self.make()
        for name in ("orders", "ms", "signups"):
            self.send(f"{path}/tile", stat1=name, kind="chart", size="medium")
        ids = [tile.id for tile in self.board(path).tiles]
        for action, tile, expected in (
            ("down", 0, (1, 0, 2)),
            ("up", 2, (1, 2, 0)),
            ("up", 1, (1, 2, 0)),
            ("down", 0, (1, 2, 0)),
        ):
            where = self.send(f"{path}/edit", action=action, tile=ids[tile])
            self.assertEqual(where, f"{path}/edit#tile-{ids[tile]}")
            found = [tile.id for tile in self.board(path).tiles]
            self.assertEqual(found, [ids[n] for n in expected])
        order = ",".join(ids)
        self.send(f"{path}/edit", action="order", order=order)
        self.assertEqual([tile.id for tile in self.board(path).tiles], ids)
        page = self.visitor.see(f"{path}/tile?tile={ids[0]}")
        self.assertIn('value="orders"', page)
        self.assertRegex(page, r'value="chart" selected')
        self.send(
            f"{path}/tile",
            tile=ids[0],
            stat1="orders",
            stat3="signups",
            title="Sales",
            timeframe="1w3h",
            scale="indexed",
        )
        self.assertEqual(
            self.board(path).tiles[0],
            Tile(
                ids[0],
                "comparison",
                ("orders", "signups"),
                "1w3h",
                "small",
                "Sales",
                "indexed",
            ),
        )
        self.send(f"{path}/edit", action="remove", tile=ids[1])
        self.assertEqual(len(self.board(path).tiles), 2)
        for action in ("remove", "up"):
            page = self.send(f"{path}/edit", 404, action=action, tile=ids[1])
            self.assertIn("There is no such tile", page)
        self.send(f"{path}/tile", 404, tile=ids[1], stat1="ms")
        self.send(f"{path}/edit", 400, action="explode")

    def test_wrong_tiles(self) -> None:
        """What is wrong with a tile is said beside its field; nothing changes."""
        path = self.make()
        for field, words, form in (
            ("stat1", "type the name", {}),
            ("stat1", "no stat named", {"stat1": "order"}),
            ("stat2", "no stat named", {"stat1": "orders", "stat2": HOSTILE}),
            ("stat1", "control characters", {"stat1": "a\nb"}),
            ("title", "at most 100", {"stat1": "orders", "title": "x" * 101}),
            ("kind", "choose", {"stat1": "orders", "kind": "movie"}),
            ("kind", "choose", {"stat1": "orders", "timeframe": "1d1m"}),
        ):
            for where in (f"{path}/tile", "/boards/add"):
                page = self.send(where, 400, board=path[8:], **form)
                error = re.search(rf'id="{field}-error"[^>]*><bdi>([^<]*)', page)
                assert error is not None, (field, page)
                self.assertIn(words, unescape(error[1]).lower())
                self.assertNotIn(HOSTILE, page)
        self.assertEqual(self.board(path).tiles, ())

    def test_add_from_elsewhere(self) -> None:
        """A page of a stat or a comparison leads to a form that adds it to a board."""
        page = self.visitor.see("/boards/add?stat1=orders")
        self.assertIn("There is no board yet", page)
        refused = self.send("/boards/add", 400, stat1="orders", **{"first-board": ""})
        self.assertIn('id="first-board-error"', refused)
        first = self.send("/boards/add", stat1="orders", **{"first-board": "Shop"})
        self.assertEqual(self.board(first).stats, ["orders"])
        self.assertEqual(self.board(first).title, "Shop")
        self.assertNotIn("no board yet", self.visitor.see("/boards/add?stat1=orders"))
        path = self.make()
        page = self.visitor.see("/boards/add?stat1=orders&t=90d1d")
        self.assertIn('value="orders"', page)
        self.assertRegex(page, r'value="90d1d" selected')
        self.assertEqual(self.send("/boards/add", board=path[8:], stat1="orders"), path)
        self.assertEqual(self.board(path).stats, ["orders"])
        page = self.send("/boards/add", 400, board="x" * 16, stat1="orders")
        self.assertIn('id="board-error"', page)

    def test_forms_of_other_sites(self) -> None:
        """A form that another site sends changes nothing."""
        path = self.make(Tile("1", "number", ("orders",)))
        for where, form in (
            ("/boards", {"title": "x"}),
            (f"{path}/edit", {"action": "delete"}),
            (f"{path}/tile", {"stat1": "ms"}),
            ("/boards/add", {"board": path[8:], "stat1": "ms"}),
            ("/compare", {"stats": stat_id("ms"), "title": "x"}),
            ("/notes", {"action": "add", "text": "x"}),
            ("/links", {"action": "create", "kind": "board", "id": path[8:]}),
        ):
            for headers in ({}, {"Origin": "https://evil.example"}):
                response = self.visitor.ask("POST", where, form, **headers)
                self.assertEqual(response.code, 403, where)
        self.assertEqual(list(self.now(self.boards.all())), [path[8:]])
        self.assertEqual(len(self.board(path).tiles), 1)
        self.assertEqual(self.now(self.here.parts.shares.all()), {})
        self.assertEqual(self.now(self.here.parts.archive.notes.all()), {})
        self.assertEqual(self.now(self.here.parts.boards.comparisons.all()), {})


class BoardPageTests(FormCase):
    """What a board shows."""

    def test_numbers(self) -> None:
        """Tiles show totals and averages with their units, and what is not there."""
        (ms,) = self.now(self.here.parts.archive.stats(["ms"]))
        self.now(self.here.parts.archive.details.change(ms, unit="ms"))
        path = self.make(
            Tile("1", "number", ("orders",)),
            Tile("2", "sparkline", ("ms",)),
            Tile("3", "number", ("gone",)),
            Tile("4", "comparison", ("orders", "gone")),
            Tile("5", "chart", ("signups",), "1y1w", title="A year"),
        )
        for page in (path, f"{path}/wall"):
            text = re.sub("<[^>]*>", " ", self.visitor.see(page))
            words = " ".join(text.split())
            for expected in (
                "orders 3 total, last day",
                "ms 2.5 ms average, last day",
                "gone No such stat",
                "Not there: gone",
                "A year 5 total, last year",
            ):
                self.assertIn(expected, words)

    def test_changes(self) -> None:
        """
        A number says by how much it differs from the time before, without the current
        step; nothing where there was nothing, or where the other was 0.
        """
        hour = 3600
        self.keep(Count("up", 6, NOW - 2 * hour), Count("up", 4, NOW - 26 * hour))
        self.keep(Count("up", 100, NOW), Count("up", 9, NOW - 24 * hour))
        self.keep(Value("down", 1, NOW - 2 * hour), Value("down", 2, NOW - 26 * hour))
        self.keep(Count("zero", 1, NOW - hour), Count("zero", 0, NOW - 26 * hour))
        self.keep(Count("new", 1234567.5, NOW - hour))
        names = ("up", "down", "zero", "new")
        tiles = (Tile(f"{n}", "number", (name,)) for n, name in enumerate(names))
        page = self.visitor.see(self.make(*tiles, Tile("9", "sparkline", ("up",))))
        self.assertEqual(page.count("against 1 day earlier"), 2)
        self.assertIn("+50.0 % against 1 day earlier", page)
        self.assertIn("6 now, without the current step", page)
        self.assertIn("-50.0 % against 1 day earlier", page)
        self.assertIn('class="big long">1,234,567.5<', page)

    def test_large_sums(self) -> None:
        """A sum beyond the largest float is a message in its tile; others are shown."""
        for days, amount in ((12, -1.7e308), (7, 1.7e308), (6, 1.7e308)):
            self.keep(Value("huge", amount, NOW - days * 86_400))
        tiles = (
            Tile("1", "chart", ("huge",), "1y1w"),
            Tile("2", "number", ("orders",)),
        )
        page = self.visitor.see(self.make(*tiles))
        self.assertIn("beyond the largest float", page)
        self.assertIn("total, last day", page)

    def test_unchanged(self) -> None:
        """A page that has not changed is not sent again."""
        path = self.make(Tile("1", "chart", ("orders",)))
        first = self.visitor.ask("GET", path)
        (tag,) = first.headers.getRawHeaders("etag")
        self.clock.advance(5)
        again = {"If-None-Match": tag}
        self.assertEqual(self.visitor.ask("GET", path, **again).code, 304)
        self.keep(Count("orders"))
        self.assertEqual(self.visitor.ask("GET", path, **again).code, 200)

    def test_paths_without_pages(self) -> None:
        """Unknown boards and paths are not found; a slash at the end is."""
        path = self.make()
        for missing in (
            f"/boards/{'a' * 16}",
            f"/boards/{'a' * 16}/edit",
            f"/boards/{'a' * 16}/wall",
            f"/boards/{'a' * 16}/tile",
            f"{path}/more",
            f"{path}/edit/more",
            "/boards/x",
            "/compare/x",
            f"/compare/{'a' * 16}",
            "/notes/x",
            "/links/x",
            f"/links?board={'a' * 16}",
            "/links?stat=x",
        ):
            self.visitor.see(missing, 404)
        for found in ("/boards/", f"{path}/", "/compare/", "/notes/", "/links/"):
            self.visitor.see(found)


class CompareFormTests(FormCase):
    """Comparisons are made by forms."""

    def test_names_become_an_address(self) -> None:
        """Typed names lead to the address that can be passed on, each stat once."""
        response = self.visitor.ask(
            "GET", "/compare?stat1=ms&stat2=orders&stat4=ms&t=1w3h&scale=indexed"
        )
        self.assertEqual(response.code, 303)
        (location,) = response.headers.getRawHeaders("location")
        self.assertEqual(
            parse_qs(urlsplit(location).query),
            {
                "s": [stat_id("ms"), stat_id("orders")],
                "t": ["1w3h"],
                "scale": ["indexed"],
            },
        )
        page = self.visitor.see(location)
        self.assertIn("1 week, in steps of 3 hours; the start is 100", page)
        page = self.visitor.see("/compare?stat1=orders&stat2=nothing", 400)
        self.assertIn('id="stat2-error"', page)
        self.assertIn('value="orders"', page)

    def test_data(self) -> None:
        """The chart's own address gives its numbers as JSON and CSV."""
        query = f"s={stat_id('ms')}&s={stat_id('orders')}&t=1h30m"
        response = self.visitor.ask("GET", f"/compare/chart?{query}&format=json")
        table: Any = self.successResultOf(response.json())
        self.assertEqual(table["columns"], ["minute", "ms", "orders"])
        self.assertEqual([row[1:] for row in table["rows"]], [[None, 0], [2.5, 3]])
        text = self.visitor.see(f"/compare/chart?{query}&format=csv&scale=indexed")
        self.assertIn(",100.0,100.0", text)
        for wrong in ("", "s=x", query + "&t=x", query + "&scale=log", "&s=a" * 7):
            response = self.visitor.ask("GET", f"/compare/chart?{wrong}&format=json")
            self.assertEqual(response.code, 400, wrong)

    def test_saved(self) -> None:
        """
        A comparison is saved under a name that no other has. Its page stays while some
        of its stats exist.
        """
        fields = {"stats": f"{stat_id('ms')},{stat_id('orders')}", "t": "1w3h"}
        path = self.send("/compare", title="Load", scale="own", **fields)
        self.assertIn("Load", self.visitor.see("/compare"))
        page = self.send("/compare", 400, title="Load", **fields)
        self.assertIn('id="title-error"', page)
        self.send("/compare", 400, title="Other", stats=fields["stats"], t="x")
        self.send("/compare", 404, title="Other", stats="x", t="1w3h")
        self.assertIn("1 week, in steps of 3 hours", self.visitor.see(path))
        for name in ("ms", "orders"):
            self.now(self.here.parts.archive.delete(stat_id(name)))
            page = self.visitor.see(path)
            self.assertNotIn(f"<bdi>{name}</bdi></th>", page)
        self.assertIn("None of its stats is there any more.", page)
        self.send(path, 400, action="x")
        self.assertEqual(self.send(path, action="delete"), "/compare")
        self.visitor.see(path, 404)


class NoteFormTests(FormCase):
    """Notes are added and deleted by forms."""

    def test_life(self) -> None:
        """Notes are listed with the newest first, and each can be deleted."""
        self.send("/notes", action="add", text=" version 2 ", stat="")
        self.clock.advance(60)
        self.send("/notes", action="add", text=HOSTILE, stat="orders")
        page = self.visitor.see("/notes")
        found = [unescape(text) for text in re.findall(r"title\"><bdi>([^<]*)", page)]
        self.assertEqual(found, [HOSTILE, "version 2"])
        ids = re.findall(r'name="id" value="([^"]*)".*?name="note" value="(\w+)"', page)
        self.assertEqual([id for id, _ in ids], [stat_id("orders"), ""])
        for id, note in ids:
            self.send("/notes", action="delete", id=id, note=note)
            self.send("/notes", 404, action="delete", id=id, note=note)
        self.assertIn("There are no notes yet.", self.visitor.see("/notes"))

    def test_wrong(self) -> None:
        """What is wrong is said beside its field; nothing is stored."""
        for field, form in (
            ("text", {"text": ""}),
            ("text", {"text": "x" * 501}),
            ("stat", {"text": "x", "stat": "nothing"}),
        ):
            page = self.send("/notes", 400, action="add", **form)
            self.assertIn(f'id="{field}-error"', page)
        self.send("/notes", 400, action="x")
        self.assertEqual(self.now(self.here.parts.archive.notes.all()), {})

    def test_of_a_deleted_stat(self) -> None:
        """The notes of a stat in the trash are not listed; they come back with it."""
        self.send("/notes", action="add", text="slow", stat="ms")
        self.now(self.here.parts.archive.delete(stat_id("ms")))
        self.assertNotIn("slow", self.visitor.see("/notes"))
        self.now(self.here.parts.archive.restore("ms"))
        self.assertIn("slow", self.visitor.see("/notes"))
