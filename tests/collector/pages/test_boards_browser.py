"""
Boards, comparisons, notes and shared links in a real browser.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.web.resource import Resource
from twisted.web.static import Data

from tests.fixtures.pages import DRAWN, NOW, REFUSED, TEXT, TOO_WIDE, PagesCase
from txstathat import Count
from txstathat.collector.archive.stats import stat_id
from txstathat.collector.boards.model import Board, Tile

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>"
#: As if the viewer came back from another window: the page refreshes itself.
COME_BACK = "document.dispatchEvent(new Event('visibilitychange'))"
TITLES = "return [...document.querySelectorAll('.tile h2')].map((h) => h.innerText)"
ROWS = """
return [...document.querySelectorAll('.tile-rows bdi')].map((each) => each.innerText)
"""
SCREENS = [("light", 1280, 900), ("dark", 375, 812)]
OTHER_SCREENS = [("dark", 1280, 900), ("light", 375, 812)]


def some_tiles() -> tuple[Tile, ...]:
    """One tile of each kind and size, of the stats of :meth:`PagesCase.lively`."""
    return (
        Tile("1", "number", ("signups",)),
        Tile("2", "sparkline", ("page views",)),
        Tile("3", "sparkline", ("response time ms",), title="Response time"),
        Tile("4", "number", ("backup GB",), "1w3h"),
        Tile("5", "chart", ("mails sent",), size="medium"),
        Tile("6", "chart", ("response time ms",), size="medium"),
        Tile(
            "7",
            "comparison",
            ("page views", "mails sent", "orders eu"),
            size="large",
            scale="indexed",
        ),
    )


class BoardCase(PagesCase):
    """A browser that is signed in, and stats of one day."""

    @inlineCallbacks
    def setUp(self) -> Any:
        yield super().setUp()
        yield self.keep(*self.lively())
        yield self.sign_in()

    def now(self, waited: Any) -> Any:
        """The result of a coroutine."""
        return Deferred.fromCoroutine(waited)

    def make_board(self, *tiles: Tile, title: str = "The shop") -> Any:
        """Store a board; a Deferred of its id."""
        return self.now(self.parts.boards.boards.create(Board(title, tiles)))

    @inlineCallbacks
    def order(self, id: str) -> Any:
        """The ids of the tiles of a board in the store, in their order."""
        board = yield self.now(self.parts.boards.boards.get(id))
        return "".join(tile.id for tile in board.tiles)

    @inlineCallbacks
    def fits(self, name: str, *more: tuple[str, int, int]) -> Any:
        """
        Look at the page light and dark, wide and on a phone: nothing is too wide.
        """
        for scheme, width, height in (*SCREENS, *more):
            yield self.do("prefer", scheme)
            yield self.do("size", width, height)
            # A chart follows the size of the window a moment later.
            yield self.arrive(f"(() => {{{TOO_WIDE}}})() === 0")
            yield self.do("screenshot", f"{name}-{scheme}-{width}")
        yield self.do("prefer", "light")
        yield self.do("size", 1000, 700)

    @inlineCallbacks
    def tab_to(self, condition: str) -> Any:
        """Press the tab key until the focus is where a condition is true."""
        for _ in range(60):
            if (yield self.do("run", f"return Boolean({condition})")):
                return
            yield self.do("key", "Tab")
        self.fail(f"the tab key does not lead to: {condition}")


class BoardTests(BoardCase):
    """Making, changing and watching boards."""

    @inlineCallbacks
    def test_make_a_board(self) -> Any:
        """
        A person makes a board and adds tiles by forms; what is wrong is said beside the
        field, and the text stays. The tiles show what the archive has, and update.
        """
        yield self.look("/boards")
        yield self.do("type", "#title", "The shop\n")
        yield self.arrive(
            "document.querySelector('h1')?.innerText === 'Edit this board'"
        )
        yield self.do("click", "a.button")
        yield self.arrive("document.querySelector('#stat1')")
        yield self.do("type", "#stat1", "sign ups\n")
        yield self.arrive("document.querySelector('#stat1-error')")
        typed = yield self.do("run", "return document.querySelector('#stat1').value")
        self.assertEqual(typed, "sign ups")
        yield self.do("run", "document.querySelector('#stat1').value = ''")
        yield self.do("type", "#stat1", "signups")
        yield self.do("type", "#kind", "Chart")
        yield self.do("type", "#size", "Medium")
        yield self.do("click", ".panel > button")
        yield self.arrive("document.querySelector('.tile-rows')")
        ((id, board),) = (yield self.now(self.parts.boards.boards.all())).items()
        (tile,) = board.tiles
        self.assertEqual(
            (board.title, tile.kind, tile.stats, tile.size, tile.timeframe),
            ("The shop", "chart", ("signups",), "medium", "1d1h"),
        )
        text = yield self.look(f"/boards/{id}")
        (stat,) = yield self.now(self.parts.archive.find([stat_id("signups")]))
        (series,) = yield self.now(self.parts.archive.data([stat], "1d1h"))
        self.assertIn(f"{series.whole}", text)
        bars = yield self.do("run", "return document.querySelectorAll('rect').length")
        self.assertEqual(bars, sum(1 for value in series.values if value))
        yield self.keep(Count("signups", 1000, NOW))
        yield self.do("run", COME_BACK)
        expected = f"{series.whole + 1000:,}"
        yield self.arrive(f"document.querySelector('.big').innerText === '{expected}'")
        yield self.silent("the server responded with a status of 400")

    @inlineCallbacks
    def test_clicked_twice(self) -> Any:
        """A second click on a button does not send the form again."""
        yield self.look("/boards")
        yield self.do("type", "#title", "The shop")
        prevented = yield self.do(
            "run",
            "const prevented = [];"
            "addEventListener('submit', (event) => {"
            "  prevented.push(event.defaultPrevented); event.preventDefault();"
            "});"
            "const button = document.querySelector('.panel button');"
            "button.click(); button.click(); return prevented;",
        )
        self.assertEqual(prevented, [False, True])

    @inlineCallbacks
    def test_looks(self) -> Any:
        """Boards fit wide screens and phones, light and dark; a wall has no chrome."""
        yield self.now(self.parts.archive.comment(None, "version 2 deployed"))
        self.clock.advance(1)
        id = yield self.make_board(*some_tiles())
        yield self.look(f"/boards/{id}")
        yield self.fits("board", *OTHER_SCREENS)
        self.assertEqual(
            (yield self.do("run", TITLES))[2:4], ["Response time", "backup GB"]
        )
        for page in ("edit", "tile?tile=7"):
            yield self.look(f"/boards/{id}/{page}")
            yield self.fits(f"board-{page[:4]}")
        yield self.look("/boards")
        yield self.fits("boards")
        yield self.do("size", 1280, 720)
        yield self.look(f"/boards/{id}/wall", "board-wall")
        dark, header = yield self.do(
            "run",
            "return [getComputedStyle(document.body).backgroundColor,"
            " document.querySelector('header')]",
        )
        self.assertEqual((dark, header), ("rgb(16, 20, 24)", None))
        yield self.keep(Count("signups", 1000, NOW))
        before = yield self.do("run", "return document.querySelector('.big').innerText")
        yield self.do("run", COME_BACK)
        yield self.arrive(f"document.querySelector('.big').innerText !== '{before}'")
        yield self.do("click", "#full-screen")
        yield self.arrive("document.fullscreenElement")
        yield self.do("screenshot", "board-wall-full")
        yield self.do("click", "#full-screen")
        yield self.arrive("!document.fullscreenElement")
        yield self.silent()

    @inlineCallbacks
    def test_order(self) -> Any:
        """
        Tiles are dragged by their handles, and moved with the arrow keys, which keep
        the focus; the store has the order each time.
        """
        id = yield self.make_board(*some_tiles()[:4])
        yield self.look(f"/boards/{id}/edit")
        yield self.arrive("document.querySelector('.tile-rows').dataset.ready")
        x, y, height = yield self.do(
            "run",
            "const box = document.querySelector('.handle').getBoundingClientRect();"
            "const rows = [...document.querySelectorAll('.tile-rows li')];"
            "return [box.x + box.width / 2, box.y + box.height / 2,"
            " rows[1].offsetTop - rows[0].offsetTop]",
        )
        yield self.do("drag", x, y, x, y + 2.2 * height)
        self.assertEqual(
            (yield self.do("run", ROWS))[:3],
            ["page views", "Response time", "signups"],
        )
        yield self.until_order(id, "2314")
        yield self.do("run", "document.querySelectorAll('.handle')[2].focus()")
        yield self.do("key", "ArrowDown")
        yield self.until_order(id, "2341")
        for _ in range(3):
            yield self.do("key", "ArrowUp")
        yield self.until_order(id, "1234")
        label, said = yield self.do(
            "run",
            "return [document.activeElement.getAttribute('aria-label'),"
            " document.querySelector('#order-status').textContent]",
        )
        self.assertEqual((label, said), ("Move signups", "Place 1 of 4"))
        yield self.do("run", "location.reload()")
        yield self.arrive("document.querySelector('.tile-rows')?.dataset.ready")
        self.assertEqual((yield self.do("run", ROWS))[0], "signups")
        yield self.silent()

    @inlineCallbacks
    def until_order(self, id: str, wanted: str) -> Any:
        """Wait until the store has an order."""
        while (yield self.order(id)) != wanted:
            yield self.do("run", "return new Promise((go) => setTimeout(go, 20))")

    @inlineCallbacks
    def test_keyboard_alone(self) -> Any:
        """A board is made, filled, reordered and deleted without a mouse."""
        yield self.look("/boards")
        yield self.tab_to("document.activeElement.id === 'title'")
        yield self.do("key", *"Mine", "Enter")
        yield self.arrive("document.querySelector('a.button')")
        for name in ("signups", "page views"):
            yield self.tab_to("document.activeElement.className === 'button'")
            yield self.do("key", "Enter")
            yield self.arrive("document.querySelector('#stat1')")
            yield self.tab_to("document.activeElement.id === 'stat1'")
            yield self.do("key", *name, "Enter")
            yield self.arrive("document.querySelector('.tile-rows')")
        yield self.tab_to("document.activeElement.value === 'down'")
        yield self.do("key", "Enter")
        yield self.arrive("location.hash !== ''")
        self.assertEqual((yield self.do("run", ROWS)), ["page views", "signups"])
        yield self.tab_to("document.activeElement.closest('.danger summary')")
        yield self.do("key", "Enter")
        yield self.tab_to("document.activeElement.value === 'delete'")
        yield self.do("key", "Enter")
        yield self.arrive("location.pathname === '/boards'")
        self.assertEqual((yield self.now(self.parts.boards.boards.all())), {})
        yield self.silent()

    @inlineCallbacks
    def test_nine_tabs(self) -> Any:
        """While eight tabs show boards and refresh them, a ninth loads at once."""
        id = yield self.make_board(*some_tiles())
        tabs = [(yield self.do("tab"))]
        for _ in range(8):
            yield self.do("run", COME_BACK)
            tabs.append((yield self.do("new_tab")))
            yield self.do("open", f"{self.url}/boards/{id}")
        loaded = yield self.do(
            "run",
            "const [one] = performance.getEntriesByType('navigation');"
            "return one.loadEventEnd - one.startTime",
        )
        self.assertLess(loaded, 5_000)
        self.assertIn("page views", (yield self.do("run", TITLES)))
        yield self.silent()
        for tab in tabs[1:]:
            yield self.do("close_tab", tab)
        yield self.do("switch_tab", tabs[0])


class CompareTests(BoardCase):
    """Comparing stats in one chart."""

    @inlineCallbacks
    def test_compare(self) -> Any:
        """
        Stats that are typed are drawn in one chart, each with an axis of its own, or
        indexed. The address can be passed on; a comparison is saved under a name, and
        becomes a tile.
        """
        yield self.look("/compare")
        yield self.fits("compare-empty")
        yield self.do("type", "#stat1", "page views")
        yield self.do("type", "#stat2", "response time ms")
        yield self.do("type", "#stat3", "signups\n")
        yield self.arrive(DRAWN)
        axes, points = yield self.do(
            "run",
            "const plot = document.querySelector('.txstathat-picture');"
            "return [[...new Set(plot.data.map((line) => line.yaxis))],"
            " Array.from(plot.data[0].y)]",
        )
        self.assertEqual(axes, ["y", "y2", "y3"])
        (stat,) = yield self.now(self.parts.archive.find([stat_id("page views")]))
        (series,) = yield self.now(self.parts.archive.data([stat], "1d30m"))
        # The last step is not over, and drawn by itself.
        self.assertEqual(points, [*series.values[:-1], None])
        yield self.fits("compare", *OTHER_SCREENS)
        passed_on = yield self.do("run", "return location.href")
        yield self.do("open", passed_on.replace("scale=own", "scale=indexed"))
        yield self.arrive(DRAWN)
        first = yield self.do(
            "run",
            "return document.querySelector('.txstathat-picture').data.map("
            "(line) => line.showlegend === false || Array.from(line.y).find((n) => n))",
        )
        self.assertEqual([each for each in first if each is not True], [100] * 3)
        yield self.do("screenshot", "compare-indexed")
        yield self.do("type", "#title", "Load and signups\n")
        yield self.arrive(
            "document.querySelector('h1')?.innerText === 'Load and signups'"
        )
        ((id, saved),) = (yield self.now(self.parts.boards.comparisons.all())).items()
        self.assertEqual(saved.stats, ("page views", "response time ms", "signups"))
        self.assertEqual((saved.timeframe, saved.scale), ("1d30m", "indexed"))
        yield self.make_board()
        yield self.look(f"/compare/{id}")
        yield self.arrive(DRAWN)
        yield self.do("click", ".actions a:last-child")
        yield self.arrive("document.querySelector('#board')")
        yield self.do("click", "main button")
        yield self.arrive("document.querySelector('.kind-comparison .legend')")
        self.assertEqual(
            (yield self.do("run", TITLES)), ["page views · response time ms · signups"]
        )
        yield self.silent()

    @inlineCallbacks
    def test_keyboard_alone(self) -> Any:
        """Stats are compared, saved under a name, and deleted without a mouse."""
        yield self.look("/compare")
        yield self.tab_to("document.activeElement.id === 'stat1'")
        yield self.do("key", *"signups", "Tab", *"page views", "Enter")
        yield self.arrive(DRAWN)
        yield self.tab_to("document.activeElement.id === 'title'")
        yield self.do("key", *"Both", "Enter")
        yield self.arrive("document.querySelector('h1').innerText === 'Both'")
        (saved,) = (yield self.now(self.parts.boards.comparisons.all())).values()
        self.assertEqual(saved.stats, ("signups", "page views"))
        yield self.tab_to("document.activeElement.closest('.danger summary')")
        yield self.do("key", "Enter")
        yield self.tab_to("document.activeElement.value === 'delete'")
        yield self.do("key", "Enter")
        yield self.arrive("location.pathname === '/compare'")
        self.assertEqual((yield self.now(self.parts.boards.comparisons.all())), {})
        yield self.silent()

    @inlineCallbacks
    def test_one(self) -> Any:
        """With one stat the form that chooses others is open, above the chart."""
        yield self.look(f"/compare?s={stat_id('signups')}")
        yield self.arrive(DRAWN)
        yield self.fits("compare-one")
        shown = yield self.do(
            "run",
            "const box = document.querySelector('#stat2');"
            "return box.checkVisibility() && box.getBoundingClientRect().bottom;",
        )
        self.assertTrue(0 < shown < 700, shown)
        yield self.silent()

    @inlineCallbacks
    def test_six(self) -> Any:
        """Six stats have six axes, and their chart fits a phone."""
        names = ("page views", "mails sent", "orders eu", "signups", "errors 5xx")
        ids = [stat_id(name) for name in (*names, "response time ms")]
        query = "&".join(f"s={id}" for id in ids)
        yield self.do("size", 1280, 900)
        yield self.look(f"/compare?{query}")
        yield self.arrive(DRAWN)
        drawn = yield self.do(
            "run",
            "return document.querySelector('.txstathat-picture').data"
            ".filter((line) => line.showlegend !== false).length",
        )
        self.assertEqual(drawn, 6)
        yield self.do("screenshot", "compare-six-1280")
        yield self.do("size", 375, 812)
        yield self.do("open", f"{self.url}/compare?{query}")
        yield self.arrive(DRAWN)
        yield self.do("screenshot", "compare-six-375")
        numbers = yield self.do(
            "run",
            "return ['ytick', 'y2tick', 'y3tick'].map("
            "(axis) => document.querySelectorAll(`.${axis} text`).length > 1)",
        )
        self.assertEqual(numbers, [True, True, False])
        self.assertEqual((yield self.do("run", TOO_WIDE)), 0)
        yield self.silent()


class NoteTests(BoardCase):
    """Notes and their marks."""

    @inlineCallbacks
    def test_notes(self) -> Any:
        """A note is added, marked in charts with its words, and deleted."""
        yield self.look("/notes")
        yield self.do("type", "#text", "version 2 deployed\n")
        yield self.arrive("document.querySelector('.notes')")
        yield self.do("type", "#text", "robots")
        yield self.do("type", "#stat", "signups\n")
        yield self.arrive("document.querySelectorAll('.notes li').length === 2")
        yield self.fits("notes")
        self.clock.advance(60)
        id = yield self.make_board(
            Tile("1", "chart", ("signups",)), Tile("2", "chart", ("mails sent",))
        )
        yield self.look(f"/boards/{id}")
        marks = yield self.do(
            "run",
            "return [...document.querySelectorAll('.tile')].map((tile) =>"
            " [...tile.querySelectorAll('.mark')].map((mark) => mark.textContent))",
        )
        self.assertEqual(sorted(marks[0]), ["robots", "version 2 deployed"])
        self.assertEqual(marks[1], ["version 2 deployed"])
        yield self.look("/notes")
        yield self.do("click", ".notes button")
        yield self.arrive("document.querySelectorAll('.notes li').length === 1")
        self.assertEqual(
            sum(map(len, (yield self.now(self.parts.archive.notes.all())).values())), 1
        )
        yield self.silent()

    @inlineCallbacks
    def test_keyboard_alone(self) -> Any:
        """A note is added to a stat and deleted without a mouse."""
        yield self.look("/notes")
        yield self.tab_to("document.activeElement.id === 'text'")
        yield self.do("key", *"version 2", "Tab", *"signups", "Enter")
        yield self.arrive("document.querySelector('.notes li')")
        text = yield self.do("run", TEXT)
        self.assertRegex(text, r"version 2\s.* · signups")
        (notes,) = (yield self.now(self.parts.archive.notes.all())).values()
        self.assertEqual([note.text for note in notes], ["version 2"])
        yield self.tab_to("document.activeElement.value === 'delete'")
        yield self.do("key", "Enter")
        yield self.arrive("!document.querySelector('.notes li')")
        self.assertIn("There are no notes yet.", (yield self.do("run", TEXT)))
        yield self.silent()


class SharingTests(BoardCase):
    """Shared links and embeds."""

    @inlineCallbacks
    def test_a_board(self) -> Any:
        """
        A link shows a board to a visitor who is not signed in, without links to other
        pages. Another site can show its embed, and only that. After it was revoked,
        both show nothing.
        """
        id = yield self.make_board(*some_tiles())
        yield self.look(f"/boards/{id}")
        yield self.do("click", ".actions a:last-child")
        yield self.arrive("document.querySelector('main button')")
        yield self.do("click", "main button")
        yield self.arrive("document.querySelector('#shared-link')")
        yield self.fits("link-made")
        link = yield self.do(
            "run", "return document.querySelector('#shared-link').textContent"
        )
        embed = yield self.do(
            "run", "return document.querySelector('#shared-embed').textContent"
        )
        yield self.look("/links", "links")
        yield self.do("devtools", "Network.clearBrowserCookies")
        yield self.do("open", link)
        self.assertEqual(len((yield self.do("run", TITLES))), 7)
        links = yield self.do("run", "return document.querySelectorAll('a').length")
        self.assertEqual(links, 0)
        yield self.fits("shared-board")
        yield self.silent()
        frames = yield self.frames(embed, link)
        self.assertEqual([bool(frame) for frame in frames], [True, False])
        yield self.do("screenshot", "shared-embed")
        yield self.do("console")
        ((hashed, _),) = (yield self.now(self.parts.shares.all())).items()
        yield self.now(self.parts.shares.revoke(hashed))
        for url in (link, f"{link}/embed"):
            yield self.do("open", url)
            text = yield self.do("run", TEXT)
            self.assertIn("This link does not work", text)
            self.assertNotIn("signups", text)
        yield self.silent(REFUSED)

    @inlineCallbacks
    def frames(self, embed: str, link: str) -> Any:
        """
        Show an embed and a link in frames of another site; how many tiles of each the
        viewer sees.
        """
        other = Resource()
        html = f"<!DOCTYPE html>{embed}<iframe src='{link}'></iframe>"
        other.putChild(b"", Data(html.encode(), "text/html"))
        url = self.serve(SimpleNamespace(root=other))
        yield self.do("open", url.replace("127.0.0.1", "localhost"))
        found = []
        for n in range(2):
            found.append(
                (
                    yield self.do(
                        "in_frame",
                        n,
                        "return document.querySelectorAll('.tile').length",
                    )
                )
            )
        return found

    @inlineCallbacks
    def test_keyboard_alone(self) -> Any:
        """A link is made, reached to be copied, and revoked without a mouse."""
        yield self.look(f"/stats/{stat_id('signups')}")
        yield self.tab_to("document.activeElement.matches('a[href^=\"/links?\"]')")
        yield self.do("key", "Enter")
        yield self.arrive("document.querySelector('button[value=create]')")
        yield self.tab_to("document.activeElement.value === 'create'")
        yield self.do("key", "Enter")
        yield self.arrive("document.querySelector('#shared-link')")
        yield self.tab_to("document.activeElement.querySelector('#shared-link')")
        yield self.tab_to("document.activeElement.querySelector('#shared-embed')")
        yield self.tab_to("document.activeElement.matches('a[href=\"/links\"]')")
        yield self.do("key", "Enter")
        yield self.arrive("document.querySelector('a[href*=\"?revoke=\"]')")
        yield self.tab_to("document.activeElement.matches('a[href*=\"?revoke=\"]')")
        yield self.do("key", "Enter")
        yield self.arrive("document.querySelector('button[value=revoke]')")
        yield self.tab_to("document.activeElement.value === 'revoke'")
        yield self.do("key", "Enter")
        yield self.arrive("location.search === '' && document.querySelector('.hint')")
        self.assertIn("no shared links", (yield self.do("run", TEXT)))
        self.assertEqual((yield self.now(self.parts.shares.all())), {})
        yield self.silent()

    @inlineCallbacks
    def test_a_stat(self) -> Any:
        """A link to a stat shows its chart, in any range; its embed needs no script."""
        secret = yield self.now(self.parts.shares.create("stat", "page views"))
        yield self.do("devtools", "Network.clearBrowserCookies")
        yield self.do("open", f"{self.url}/shared/{secret}")
        yield self.arrive(DRAWN)
        yield self.do("click", ".timeframes a:nth-child(3)")
        yield self.arrive("location.search === '?t=1w3h'")
        yield self.arrive(DRAWN)
        yield self.fits("shared-stat")
        yield self.do("open", f"{self.url}/shared/{secret}/embed")
        yield self.arrive("document.querySelector('.plot rect')")
        yield self.fits("shared-stat-embed")
        yield self.silent()


class HostileTests(BoardCase):
    """Names and notes that try to do harm."""

    @inlineCallbacks
    def test_hostile_texts(self) -> Any:
        """
        HTML and scripts are plain text everywhere. What reverses direction, or is
        invisible, is shown as a replacement, and changes no neighbour.
        """
        names = (HOSTILE, "abc\N{RIGHT-TO-LEFT OVERRIDE}def", "\N{ZERO WIDTH SPACE}")
        yield self.keep(*(Count(name, 3, NOW) for name in names))
        (stat,) = yield self.now(self.parts.archive.find([stat_id(HOSTILE)]))
        for note in names:
            yield self.now(self.parts.archive.comment(stat, note))
        tiles = [Tile(f"{n}", "chart", (name,)) for n, name in enumerate(names)]
        compared = Tile("9", "comparison", names, title=HOSTILE)
        self.clock.advance(1)
        id = yield self.make_board(*tiles, compared, title=HOSTILE)
        shown = [
            HOSTILE,
            "abc\N{REPLACEMENT CHARACTER}def",
            "U+200B",
        ]
        for page in ("", "/wall"):
            yield self.look(f"/boards/{id}{page}")
            self.assertEqual((yield self.do("run", TITLES)), [*shown, HOSTILE])
        yield self.do("screenshot", "board-hostile")
        yield self.look(f"/boards/{id}/edit")
        self.assertEqual((yield self.do("run", ROWS))[:3], shown)
        secret = yield self.now(self.parts.shares.create("stat", HOSTILE))
        query = "&".join(f"s={stat_id(name)}" for name in names)
        for path in (f"/compare?{query}", f"/shared/{secret}"):
            yield self.look(path)
            yield self.arrive(DRAWN)
        for path in (
            "/boards",
            "/notes",
            "/links",
            f"/links?stat={stat_id(HOSTILE)}",
            "/boards/add?stat1=%3Cscript%3Ealert(1)%3C/script%3E&title=%22%3E%3Cimg%3E",
            "/compare?stat1=%3Cscript%3Ealert(1)%3C/script%3E",
        ):
            yield self.look(path)
            images = yield self.do("run", "return document.images.length")
            self.assertEqual(images, 0, path)
        yield self.silent("the server responded with a status of 400")
