"""
The list of stats, over HTTP in memory: orders, kinds, groups, pins, and addresses.
"""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures.stores import NOW
from tests.fixtures.visitors import OWN_FORM, PageCase
from txstathat import Count, Value
from txstathat.collector.archive.stats import stat_id
from txstathat.collector.pages.frame.formatting import visible_name
from txstathat.collector.pages.listing import StatList
from txstathat.collector.pages.listing.address import ListAddress
from txstathat.stores.listing import ORDERS

DASH = "–"  # noqa: RUF001


class ListCase(PageCase):
    """
    A visitor who is signed in.
    """

    def setUp(self) -> None:
        super().setUp()
        self.visitor.sign_in()

    def rows(self, path: str) -> list[list[str]]:
        """The texts of the cells of the list, without the pins."""
        html = self.visitor.see(path)
        body = html.partition("<tbody")[2]
        return [
            [
                unescape(re.sub("<[^>]*>", "", cell)).strip()
                for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S)[1:]
            ]
            for row in re.findall(r"<tr>(.*?)</tr>", body, re.S)
        ]

    def names(self, path: str) -> list[str]:
        """The names and groups, in order."""
        return [row[0] for row in self.rows(path)]

    def links(self, path: str) -> dict[str, str]:
        """The links of a page, by their text."""
        found = re.findall(
            r'<a [^>]*href="([^"]*)"[^>]*>(.*?)</a>', self.visitor.see(path)
        )
        return {
            re.sub("<[^>]*>", "", unescape(text)): unescape(href)
            for href, text in found
        }


class TableTests(ListCase):
    """
    Rows and their order.
    """

    def test_columns(self) -> None:
        """
        A row has the kind, the value of the newest minute, the last day, the total of a
        counter, the number of points in 24 hours, and the newest point's own time.
        """
        self.keep(Count("hits", 1000, NOW - 86_400 * 3), Count("hits", 5, NOW - 7200))
        self.keep(Count("hits", 7, NOW - 7200), *(Value("ms", n, NOW) for n in (1, 2)))
        self.keep(Value("ms", 9, NOW - 3600))
        day = "total"
        self.assertEqual(
            self.rows("/"),
            [
                ["hits", "counter", "12", f"12 {day}", "1,012", "2", "2 hours ago"],
                # The mean of three points, not of two hours.
                ["ms", "value", "1.5", "4 average", DASH, "3", "just now"],
            ],
        )
        html = self.visitor.see("/")
        self.assertIn('title="Minute of 2014-05-13 14:53 UTC"', html)
        self.assertIn("14:53 UTC; received 2014-05-13 16:53 UTC", html)

    def test_the_dotted_part(self) -> None:
        """The line to the current hour, which is not over, is a part of its own."""
        self.keep(Count("hits", 1, NOW), Count("hits", 5, NOW - 3600))
        self.assertEqual(self.visitor.see("/").count('class="part"'), 1)

    def test_a_unit(self) -> None:
        """The unit of a stat stands after its last value."""
        self.keep(Value("ms", 3, NOW))
        (stat,) = self.now(self.here.parts.archive.stats())
        self.now(self.here.parts.archive.details.change(stat, unit="<ms>"))
        self.assertEqual(self.rows("/")[0][2], "3 <ms>")

    def test_orders(self) -> None:
        """Each head of a column sorts by it, and then the other way round."""
        self.keep(*(Count("a", 1, NOW - 600) for _ in range(3)))
        self.keep(Count("b", 100, NOW - 40 * 86_400), Count("c", 50, NOW))
        for title, names in (
            ("Total", ["b", "c", "a"]),
            ("Newest point", ["c", "a", "b"]),
            ("Points in 24 h", ["a", "c", "b"]),
        ):
            path = self.links("/")[title]
            self.assertEqual(self.names(path), names)
            self.assertIn('aria-sort="descending"', self.visitor.see(path))
            self.assertEqual(self.names(self.links(path)[title]), names[::-1])
        path = self.links("/")["Name"]
        self.assertEqual(self.names(path), ["c", "b", "a"])
        self.assertEqual(self.names(self.links(path)["Name"]), ["a", "b", "c"])

    def test_kinds(self) -> None:
        """Only counters, or only values, in any order and search."""
        self.keep(Count("a b", 1), Count("c", 2), Value("b", 3))
        for order in ORDERS:
            for kind, names in (("counters", ["a b", "c"]), ("values", ["b"])):
                path = f"/?sort={order}&kind={kind}"
                self.assertEqual(sorted(self.names(path)), names)
        self.assertEqual(self.names("/?kind=values&q=b"), ["b"])
        page = self.visitor.see("/?kind=values")
        self.assertIn("1 of 3 stats.", page)
        self.assertIn("No values match", self.visitor.see("/?kind=values&q=c"))
        self.assertEqual(self.links("/?kind=values")["Show all"], "/")

    def test_a_stat_that_has_just_been_deleted(self) -> None:
        """A row of a stat in the trash is not shown, even before it is removed."""
        self.keep(Count("a"), Count("b"))
        self.names("/")
        remove = self.here.parts.archive.listing.remove

        async def later(names: Any) -> None:
            return None

        self.here.parts.archive.listing.remove = later
        self.now(self.here.parts.archive.delete(stat_id("a")))
        self.assertEqual(self.names("/"), ["b"])
        self.here.parts.archive.listing.remove = remove


class GroupTests(ListCase):
    """
    Groups of names with the same beginning.
    """

    def setUp(self) -> None:
        super().setUp()
        for name in ("a.b.c", "a.b.d", "a.e", "web1 load", "web1 mem", "web2 load"):
            self.keep(Count(name))
        self.keep(Value("alone", 1))

    def test_opening(self) -> None:
        """A group is opened, down to its stats, and its path leads up again."""
        path = self.links("/")["Groups"]
        self.assertEqual(self.names(path), ["a.…", "alone", "web1 …", "web2 load"])
        path = self.links(path)["a.…"]
        self.assertEqual(self.names(path), ["a.b.…", "a.e"])
        self.assertIn("3 of 7 stats in the group <bdi>a.</bdi>", self.visitor.see(path))
        path = self.links(path)["a.b.…"]
        self.assertEqual(self.names(path), ["a.b.c", "a.b.d"])
        self.assertEqual(self.names(self.links(path)["a."]), ["a.b.…", "a.e"])
        self.assertEqual(len(self.names(self.links(path)["All groups"])), 4)

    def current(self, path: str) -> list[str]:
        """The choices that a page says it shows."""
        return re.findall('aria-current="true">([^<]*)', self.visitor.see(path))

    def test_what_is_shown(self) -> None:
        """
        The results of a search are a list, and are called so; the order of a list is
        not carried into the groups, which have only one.
        """
        self.assertIn("Groups", self.current("/?view=groups"))
        path = "/?view=groups&q=web&sort=total"
        self.assertIn("List", self.current(path))
        self.assertNotIn("Groups", self.current(path))
        self.assertEqual(self.links(path)["Groups"], "/?view=groups")
        path = "/?view=groups&sort=total&dir=asc"
        for link in self.links(path).values():
            if "view=groups" in link:
                self.assertNotIn("sort=", link)
                self.assertNotIn("dir=", link)

    def test_the_end_of_a_sentence(self) -> None:
        """A name of a group that ends with a full stop ends the sentence."""
        for group, end in (("a.", "</bdi> <a"), ("web1 ", "</bdi>. <a")):
            path = f"/?{urlencode({'view': 'groups', 'group': group})}"
            self.assertIn(f"<bdi>{group.strip()}{end}", self.visitor.see(path))

    def test_as_a_list(self) -> None:
        """A group is shown as a list too, which is sorted and searched."""
        path = self.links("/?view=groups&group=a.")["List"]
        self.assertEqual(self.names(path), ["a.b.c", "a.b.d", "a.e"])
        self.assertEqual(self.names(f"{path}&sort=name&dir=desc")[0], "a.e")
        self.assertEqual(self.names("/?view=groups&group=a.&q=C"), ["a.b.c"])
        self.assertEqual(self.names("/?group=web1+&q=load"), ["web1 load"])

    def test_kinds(self) -> None:
        """Groups have the stats of the chosen kind."""
        self.keep(Value("web1 temperature", 1), Value("web1 fan", 1))
        self.assertEqual(self.names("/?view=groups&kind=values"), ["alone", "web1 …"])
        self.assertIn("2 stats", self.visitor.see("/?view=groups&kind=values"))

    def test_pages(self) -> None:
        """Many groups have pages; each is on one of them."""
        parts = self.here.parts
        parts.root.putChild(b"", StatList(parts.pages, page_size=2))
        path, seen = "/?view=groups", []
        while path:
            first = len(seen) + 1
            seen += self.names(path)
            shown = f"7 stats. Showing {first} to {len(seen)}. "
            self.assertIn(shown, self.visitor.see(path))
            last, path = path, self.links(path).get("Next →", "")
        self.assertEqual(seen, ["a.…", "alone", "web1 …", "web2 load"])
        self.keep(Count("about"))
        path = self.links(last)["← Previous"]
        self.assertEqual(self.names(path), ["about", "alone"])
        path = self.links(path)["← Previous"]
        # There are too few before it: this is the first page.
        self.assertEqual(self.names(path), ["a.…", "about"])
        self.assertNotIn("← Previous", self.links(path))
        self.assertNotIn("← Previous", self.links("/?view=groups"))

    def test_no_such_group(self) -> None:
        """A group that is not there any more has no stats."""
        self.assertEqual(self.names("/?view=groups&group=gone."), [])
        self.assertIn("No stats in the group", self.visitor.see("/?group=gone."))
        # What is no group has no effect.
        self.assertEqual(len(self.names("/?group=web")), 7)


class PinTests(ListCase):
    """
    Pinned stats.
    """

    def pin(self, field: str, name: str, **more: str) -> Any:
        """Press the button of a stat."""
        return self.visitor.ask(
            "POST", "/pin", {field: stat_id(name), **more}, **OWN_FORM
        )

    def test_pinning(self) -> None:
        """
        A pinned stat is on top, once, in each order; the button leads back to where it
        was pressed, and unpins.
        """
        self.keep(Count("a", 5), Count("b", 1), Count("c", 9))
        self.leads_to(self.pin("pin", "b", list="sort=total"), "/?sort=total")
        self.assertEqual(self.names("/?sort=total"), ["b", "c", "a"])
        self.assertEqual(self.names("/"), ["b", "a", "c"])
        self.assertIn('aria-label="Unpin b"', self.visitor.see("/"))
        self.assertEqual(self.names("/?view=groups"), ["b", "a", "c"])
        self.assertEqual(self.names("/?q=b"), ["b"])
        self.assertEqual(self.names("/?kind=values"), [])
        self.leads_to(self.pin("unpin", "b"), "/")
        self.assertEqual(self.names("/"), ["a", "b", "c"])

    def test_further_pages(self) -> None:
        """Only the first page has the pinned stats, and no other repeats them."""
        parts = self.here.parts
        parts.root.putChild(b"", StatList(parts.pages, page_size=2))
        self.keep(*(Count(f"n{n}") for n in range(5)))
        self.pin("pin", "n3")
        self.assertEqual(self.names("/"), ["n3", "n0", "n1"])
        self.assertEqual(self.names(self.links("/")["Next →"]), ["n2"])

    def test_deleted(self) -> None:
        """A pinned stat in the trash is not shown."""
        self.keep(Count("a"), Count("b"))
        self.pin("pin", "b")
        self.now(self.here.parts.archive.delete(stat_id("b")))
        self.assertEqual(self.names("/"), ["a"])

    def test_refused(self) -> None:
        """Another site, a visitor without a session, and an unknown id pin nothing."""
        self.keep(Count("a"))
        form = {"pin": stat_id("a")}
        for headers in ({}, {"Origin": "https://evil.example"}):
            self.assertEqual(
                self.visitor.ask("POST", "/pin", form, **headers).code, 403
            )
        self.assertEqual(self.pin("pin", "no such stat").code, 404)
        self.assertEqual(self.visitor.ask("POST", "/pin/x", form, **OWN_FORM).code, 404)
        self.assertEqual(self.visitor.ask("GET", "/pin").code, 405)
        cookie, self.visitor.cookie = self.visitor.cookie, ""
        self.assertEqual(self.pin("pin", "a").code, 303)
        self.visitor.cookie = cookie
        self.assertNotIn("Unpin", self.visitor.see("/"))
        elsewhere = self.pin("pin", "a", list="//evil.example")
        self.leads_to(elsewhere, "/")


class ReturnTests(ListCase):
    """
    From a stat back to the list.
    """

    def test_back(self) -> None:
        """
        The link from a stat leads to the same search, order and page, also after
        another range was chosen.
        """
        self.keep(*(Count(f"web {n}") for n in range(3)))
        list_path = "/?q=web&sort=total&kind=counters&after=5.0%3Aa&n=51"
        path = self.links(list_path)["web 0"]
        self.assertEqual(self.links(path)["← All stats"], list_path)
        again = self.links(path)["Week"]
        self.assertEqual(self.links(again)["← All stats"], list_path)
        self.assertEqual(self.links("/")["web 0"], f"/stats/{stat_id('web 0')}")

    def test_not_elsewhere(self) -> None:
        """The link leads to the list of this server only."""
        self.keep(Count("a"))
        for wrong in (
            "//evil.example",
            "javascript:alert(1)",
            "%00",
            "q=%ff",
            "x" * 9999,
        ):
            page = self.links(f"/stats/{stat_id('a')}?list={wrong}")
            self.assertRegex(page["← All stats"], r"^/(\?q=[^&]*)?$")

    def test_search_form(self) -> None:
        """A new search preserves the order, the kind and the view."""
        self.keep(Count("a"))
        html = self.visitor.see("/?sort=total&dir=asc&kind=counters&view=groups&q=x")
        (form,) = re.findall(r'<form[^>]*role="search".*?</form>', html, re.S)
        hidden = {
            re.search('name="([^"]*)"', field)[1]: re.search('value="([^"]*)"', field)[
                1
            ]  # type: ignore[index]
            for field in re.findall("<input[^>]*>", form)
            if 'type="hidden"' in field
        }
        self.assertEqual(
            hidden,
            {"sort": "total", "dir": "asc", "kind": "counters", "view": "groups"},
        )


class StrangeNamesTests(ListCase):
    """
    Names that are not what they seem.
    """

    def test_isolated(self) -> None:
        """
        Names that change the direction of text are isolated, also in labels; one
        without a visible character is written as its code points.
        """
        strange = ["a\u202eb", "\u200b", "\u2067x", "\u200f\u00ad", "\ufeff \u2060"]
        self.keep(*map(Count, strange))
        for path in ("/", "/?view=groups", "/?q=%E2%80%AEb", "/?q=%E2%80%AE"):
            html = self.visitor.see(path)
            outside = re.sub(r"<bdi>[^<]*</bdi>", "", html)
            outside = re.sub(r'value="[^"]*"', "", outside)
            for character in "\u202e\u2067\u200b\u200f":
                self.assertNotIn(character, outside, path)
        self.assertIn("U+200B", self.names("/"))
        self.assertIn("U+200F U+00AD", self.names("/"))

    @given(st.text(min_size=1))
    def test_visible(self, name: str) -> None:
        """What is shown has a visible character."""
        shown = visible_name(name)
        self.assertTrue(shown == name or shown.startswith("U+"))
        self.assertTrue(any(not each.isspace() for each in shown))


class AddressTests(SynchronousTestCase):
    """
    Addresses of the list.
    """

    @given(
        st.builds(
            ListAddress,
            search=st.text(max_size=20).map(str.strip),
            order=st.sampled_from(ORDERS),
            descending=st.booleans(),
            kind=st.sampled_from(["", "counters", "values"]),
            grouped=st.booleans(),
            group=st.sampled_from(["", "a.", "web 1 ", "é/"]),
            after=st.none()
            | st.tuples(st.floats(allow_nan=False), st.text(max_size=200)),
            first=st.just(1),
        )
    )
    def test_round(self, address: ListAddress) -> None:
        """An address is read as it was written, and is plain ASCII."""
        self.assertEqual(ListAddress.parse(address.query), address)
        self.assertTrue(address.path.isascii())
        self.assertEqual(urlsplit(address.path).netloc, "")

    @given(st.text())
    def test_anything(self, query: str) -> None:
        """Any query is the address of a page of the list."""
        address = ListAddress.parse(query)
        self.assertEqual(ListAddress.parse(address.query), address)
        self.assertLessEqual(len(parse_qs(address.query)), 9)


class UnknownPathTests(PageCase):
    """
    Paths that do not exist.
    """

    def test_browsers_and_programs(self) -> None:
        """A browser gets a page, a program JSON; neither needs to be signed in."""
        browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
        for path in ("/nope", "/nope/more?x=1", "/%3Cscript%3E"):
            response = self.visitor.ask("GET", path, **browser)
            html = self.successResultOf(response.text())
            self.assertEqual(response.code, 404)
            self.assertIn("Page not found", html)
            self.assertIn('href="/"', html)
            self.assertNotIn("<script>", html)
            for accept in ("*/*", "application/json"):
                code, answer = self.here.ask("GET", path, Accept=accept)
                self.assertEqual((code, answer["status"]), (404, 404))
                self.assertIn("post to /ez", answer["msg"])
        code, answer = self.here.ask("POST", "/nope", {"a": "b"}, **browser)
        self.assertEqual((code, answer["status"]), (404, 404))
