"""
The collector's pages, over HTTP in memory: access, and content.
"""

from __future__ import annotations

import json
import re
import sys
from html import unescape
from typing import Any
from urllib.parse import unquote, urlencode

from twisted.internet.defer import Deferred, fail, gatherResults, inlineCallbacks
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.fixtures.collectors import Collector
from tests.fixtures.stores import NOW, RedisHost, SqliteHost
from tests.fixtures.support import logged
from tests.fixtures.visitors import HOSTILE, OWN_FORM, PageCase, Visitor
from tests.fixtures.web_client import WebClient
from txstathat import Count, Value
from txstathat.collector.archive.stats import stat_id
from txstathat.collector.auth.keys import Keys
from txstathat.collector.auth.sessions import (
    LINK_SECONDS,
    MAX_LINKS,
    MAX_SESSIONS,
    SESSION_SECONDS,
    Sessions,
)
from txstathat.collector.auth.throttle import HOLD_SECONDS, MAX_WRONG
from txstathat.collector.boards.model import Comparison
from txstathat.collector.number_text import number
from txstathat.collector.pages.frame.formatting import ago, day, minute, plural
from txstathat.collector.pages.listing import StatList
from txstathat.collector.pages.sparkline import sparkline
from txstathat.collector.pages.stat.chart import StatChart
from txstathat.collector.pages.stat.ranges import PRESETS
from txstathat.errors import StoreUnavailable


class SignInTests(PageCase):
    """
    Signing in and out.
    """

    def test_nothing_is_public(self) -> None:
        """Without a session every page redirects to the form, and shows nothing."""
        self.keep(Count("canary"))
        id = stat_id("canary")
        for path in ("/", "/?q=canary", f"/stats/{id}?t=1w3h", f"/stats/{id}/chart"):
            response = self.visitor.ask("GET", path)
            self.assertEqual(response.code, 303)
            location = response.headers.getRawHeaders("location")[0]
            self.assertTrue(location.startswith("/sign-in"), location)
            self.assertEqual(self.successResultOf(response.text()), "")
        for path in (f"/stats/{id}/no", "/stats", "/stats/", "/stats/no/such/page"):
            response = self.visitor.ask("GET", path)
            self.assertIn(response.code, (303, 404))
        self.assertNotIn("canary", self.visitor.see("/sign-in"))

    def test_with_a_token(self) -> None:
        """A token signs in, and leads to the requested page; signing out ends it."""
        first = self.visitor.ask("GET", "/stats/aaaaaaaaaaaaaaaa?t=1w3h")
        (there,) = first.headers.getRawHeaders("location")
        form = self.visitor.see(there)
        hidden = re.search(r'name="next"[^>]*value="([^"]*)"', form)
        assert hidden is not None
        response = self.visitor.sign_in(next=unescape(hidden[1]))
        self.leads_to(response, "/stats/aaaaaaaaaaaaaaaa?t=1w3h")
        (cookie,) = response.headers.getRawHeaders("set-cookie")
        for word in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=604800"):
            self.assertIn(word, cookie)
        self.assertNotIn("Secure", cookie)
        self.assertNotIn(self.here.token, cookie)
        self.assertTrue(self.is_signed_in())
        kept = self.visitor.cookie
        self.leads_to(self.visitor.ask("POST", "/sign-out", **OWN_FORM), "/sign-in")
        self.assertEqual(self.visitor.cookie, "txstathat-80=")
        self.assertFalse(self.is_signed_in())
        self.visitor.cookie = kept
        self.assertFalse(self.is_signed_in())

    def test_secure_under_tls(self) -> None:
        """Behind a proxy that terminates TLS, the cookie is for TLS only."""
        form = {"token": self.here.token}
        headers = {**OWN_FORM, "X-Forwarded-Proto": "https"}
        response = self.visitor.ask("POST", "/sign-in", form, **headers)
        self.assertIn("Secure", response.headers.getRawHeaders("set-cookie")[0])

    def test_wrong_tokens(self) -> None:
        """Other keys and texts are refused; after twenty the answers are slow."""
        wrong = [
            "",
            "wrong-token",
            self.here.ez,
            self.here.user,
            "ü",
            "\N{SNOWMAN}" * 900,
        ]
        for token in wrong:
            response = self.visitor.sign_in(token)
            self.assertEqual(response.code, 403)
            text = self.successResultOf(response.text())
            self.assertIn("Wrong access token.", text)
            if token:
                self.assertNotIn(token, text)
            self.assertFalse(response.headers.hasHeader("set-cookie"))
        for _ in range(MAX_WRONG - len(wrong)):
            self.visitor.sign_in("x")
        asked = self.here.http.request(
            "POST", "http://localhost/sign-in", data={"token": "x"}, headers=OWN_FORM
        )
        self.here.agent.flush()
        self.assertNoResult(asked)
        self.clock.advance(2 * HOLD_SECONDS)
        self.here.agent.flush()
        response = self.successResultOf(asked)
        self.assertEqual(response.code, 429)
        self.assertTrue(response.headers.hasHeader("retry-after"))
        text = self.successResultOf(response.text())
        self.assertIn("Too many wrong access tokens from your address.", text)
        self.leads_to(self.visitor.sign_in(), "/")

    def test_forms_of_other_sites(self) -> None:
        """A form that another site sends has no effect, with the right token too."""
        for headers in (
            {},
            {"Origin": "null"},
            {"Origin": "https://evil.example"},
            {"Origin": "http://localhost:81"},
            {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"},
            {"Origin": "http://localhost", "Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": "none"},
        ):
            form = {"token": self.here.token}
            response = self.visitor.ask("POST", "/sign-in", form, **headers)
            self.assertEqual(response.code, 403)
            self.assertFalse(self.is_signed_in())
        link = self.now(self.here.parts.sessions.link())
        self.assertEqual(self.visitor.ask("POST", f"/sign-in/{link}").code, 403)
        same = {"Sec-Fetch-Site": "same-origin"}
        self.leads_to(self.visitor.ask("POST", f"/sign-in/{link}", **same), "/")
        self.assertEqual(self.visitor.ask("POST", "/sign-out").code, 403)
        self.assertTrue(self.is_signed_in())

    def test_where_it_leads(self) -> None:
        """Signing in redirects to pages of this server only."""
        for wrong in (
            "https://evil.example/",
            "//evil.example",
            "/\\evil.example",
            "/stats/../x",
            "/x/token",
            "/sign-in/link",
            "/sign-out",
            "/metrics",
            "//stats",
            "/\r\nSet-Cookie: a=b",
            "javascript:alert(1)",
        ):
            self.leads_to(self.visitor.sign_in(next=wrong), "/")
            self.leads_to(self.follow_link(next=wrong), "/")
        for right in (
            "/",
            "/?q=a%20b&page=2",
            "/stats/abcdefghij234567",
            "/stats/abcdefghij234567?since=2026-01-01&until=2026-02-01",
        ):
            self.leads_to(self.visitor.sign_in(next=right), right)
            self.leads_to(self.follow_link(next=right), right)

    def follow_link(self, **query: str) -> Any:
        """Press the button of a new one-time link with a query."""
        link = self.now(self.here.parts.sessions.link())
        path = f"/sign-in/{link}?{urlencode(query)}"
        return self.visitor.ask("POST", path, **OWN_FORM)

    def test_the_link(self) -> None:
        """The button of a one-time link signs in, once."""
        link = self.now(self.here.parts.sessions.link())
        for _ in range(2):
            page = self.visitor.see(f"/sign-in/{link}")
            self.assertNotIn(link, page)
            self.assertFalse(self.is_signed_in())
        response = self.visitor.ask("POST", f"/sign-in/{link}", **OWN_FORM)
        self.leads_to(response, "/")
        self.assertTrue(self.is_signed_in())
        other = Visitor(self.here)
        for used in (link, "x", f"{link}/more"):
            response = other.ask("POST", f"/sign-in/{used}", **OWN_FORM)
            self.assertIn(response.code, (403, 404))
            self.assertFalse(self.is_signed_in(other))
        page = self.successResultOf(
            other.ask("POST", f"/sign-in/{link}", **OWN_FORM).text()
        )
        self.assertIn("used before", page)
        self.assertEqual(self.here.parts.throttle.wrong, 3)
        # It says so before anybody presses a button.
        page = other.see(f"/sign-in/{link}", 403)
        self.assertIn("used before", page)
        self.assertNotIn('<button type="submit">Sign in', page)
        self.assertEqual(self.here.parts.throttle.wrong, 4)

    def test_methods(self) -> None:
        """Other methods are refused with JSON, as by the rest of the collector."""
        for method, path, status, words in (
            ("DELETE", "/", 404, "post to /ez"),
            ("POST", "/stats/abc", 405, "use GET"),
            ("GET", "/sign-out", 405, "use POST"),
            ("PUT", "/sign-in", 405, "use GET"),
        ):
            code, answer = self.here.ask(method, path)
            self.assertEqual((code, answer["status"]), (status, status))
            self.assertIn(words, answer["msg"])

    def test_a_store_that_is_away(self) -> None:
        """The page says to try again, and does not say why."""
        self.visitor.sign_in()
        self.here.store.list_page = lambda query: fail(StoreUnavailable("/secret"))
        with logged() as log:
            response = self.visitor.ask("GET", "/")
        self.assertEqual(response.code, 503)
        self.assertEqual(response.headers.getRawHeaders("retry-after"), ["1"])
        text = self.successResultOf(response.text())
        self.assertIn("The store cannot be used now; try again.", text)
        self.assertNotIn("secret", text)
        self.assertIn("secret", log.text)


class SessionTests(PageCase):
    """
    Sessions and one-time links in the store.
    """

    def setUp(self) -> None:
        super().setUp()
        self.sessions = self.here.parts.sessions

    def by_link(self) -> str:
        """Open a session with a link."""
        session: str = self.now(self.sessions.redeem(self.now(self.sessions.link())))
        return session

    def test_several_collectors(self) -> None:
        """Collectors on one store share sessions and links at once."""
        keys = Keys(self.here.store)
        self.now(keys.load())
        other = Sessions(self.here.store, keys)
        session = self.now(self.sessions.open(self.here.token))
        self.assertTrue(self.now(other.knows(session)))
        token = self.now(self.here.parts.keys.add("access", "new"))
        new = self.now(self.sessions.open(token))
        self.clock.advance(1)
        self.assertTrue(self.now(other.knows(new)))
        link = self.now(self.sessions.link())
        self.assertTrue(self.now(other.redeem(link)))
        self.assertFalse(self.now(self.sessions.redeem(link)))
        self.now(other.close(session))
        self.assertFalse(self.now(self.sessions.knows(session)))

    def test_stored_hashed(self) -> None:
        """The records in the store do not allow to sign in."""
        secrets = [
            self.now(self.sessions.open(self.here.token)),
            self.by_link(),
            self.now(self.sessions.link()),
            self.here.token,
        ]
        kept = {
            kind: self.successResultOf(self.here.store.records(kind))
            for kind in ("session", "link")
        }
        self.assertEqual([len(records) for records in kept.values()], [2, 1])
        for secret in secrets:
            self.assertNotIn(secret, repr(kept))
        for id in kept["session"]:
            self.assertFalse(self.now(self.sessions.knows(id)))
        for id in kept["link"]:
            self.assertFalse(self.now(self.sessions.redeem(id)))

    def test_expiry(self) -> None:
        """A session ends after a week, a link after an hour."""
        session = self.now(self.sessions.open(self.here.token))
        link, later = (self.now(self.sessions.link()) for _ in range(2))
        self.clock.advance(LINK_SECONDS - 1)
        self.assertTrue(self.now(self.sessions.redeem(link)))
        self.clock.advance(1)
        self.assertFalse(self.now(self.sessions.redeem(later)))
        self.clock.advance(SESSION_SECONDS - LINK_SECONDS - 1)
        self.assertTrue(self.now(self.sessions.knows(session)))
        self.clock.advance(1)
        self.assertFalse(self.now(self.sessions.knows(session)))
        self.now(self.sessions.open(self.here.token))
        records = self.successResultOf(self.here.store.records("session"))
        # This one, and the one that began with the link an hour later.
        self.assertEqual(len(records), 2)

    def test_revoking_the_token_ends_its_sessions(self) -> None:
        """Revoking a token ends its sessions, but not those of other tokens."""
        keys = self.here.parts.keys
        token = self.now(keys.add("access", "guest"))
        guest = self.now(self.sessions.open(token))
        others = [self.by_link(), self.now(self.sessions.open(self.here.token))]
        self.assertTrue(self.now(self.sessions.knows(guest)))
        self.now(keys.revoke("guest"))
        self.now(keys.add("access", "guest"))
        self.assertFalse(self.now(self.sessions.knows(guest)))
        for session in others:
            self.assertTrue(self.now(self.sessions.knows(session)))

    def test_a_link_ends_with_the_tokens_of_its_time(self) -> None:
        """When all tokens of its time are revoked, a link and its session end."""
        keys = self.here.parts.keys
        session, link = self.by_link(), self.now(self.sessions.link())
        self.now(keys.add("access", "later"))
        self.now(keys.revoke("first access token"))
        self.assertFalse(self.now(self.sessions.knows(session)))
        self.assertIsNone(self.now(self.sessions.redeem(link)))
        self.assertTrue(self.now(self.sessions.knows(self.by_link())))
        # Where there is no token, there is none to be revoked.
        self.now(keys.revoke("later"))
        self.assertTrue(self.now(self.sessions.knows(self.by_link())))

    def test_bounds(self) -> None:
        """Above the limit, the oldest session or link ends."""
        for make, knows, limit in (
            (
                lambda: self.sessions.open(self.here.token),
                self.sessions.knows,
                MAX_SESSIONS,
            ),
            (self.sessions.link, self.sessions.redeem, MAX_LINKS),
        ):
            made = []
            for _ in range(limit + 2):
                self.clock.advance(1)
                made.append(self.now(make()))
            good = [bool(self.now(knows(each))) for each in made]
            self.assertEqual(good, [False, False] + [True] * limit)

    def test_strange_cookies(self) -> None:
        """Malformed cookies are no session."""
        for cookie in (
            "txstathat-80=",
            "txstathat-80=x",
            "txstathat-80=\xfc",
            "txstathat-80",
            "a=b",
        ):
            self.visitor.cookie = cookie
            self.assertFalse(self.is_signed_in())


class ListTests(PageCase):
    """
    The list of stats.
    """

    def setUp(self) -> None:
        super().setUp()
        self.visitor.sign_in()

    def names(self, path: str) -> list[str]:
        """The names in the list, in order."""
        html = self.visitor.see(path)
        return [
            unescape(name)
            for name in re.findall(r'<th scope="row"><a [^>]*><bdi>([^<]*)</bdi>', html)
        ]

    def test_empty(self) -> None:
        """Without stats the page shows how to send one: with the URL, without keys."""
        page = unescape(self.visitor.see("/"))
        self.assertIn("curl http://localhost/ez -d ezkey=YOUR-EZ-KEY", page)
        self.assertIn('txStatHat("YOUR-EZ-KEY", url="http://localhost")', page)
        for key in (self.here.ez, self.here.user, self.here.token):
            self.assertNotIn(key, page)
        session = self.visitor.cookie.partition("=")[2]
        for host, port, url in (
            ("stats.example:8443", 8443, "http://stats.example:8443/ez"),
            ("[::1]:8080", 8080, "http://[::1]:8080/ez"),
            ("a;rm -rf ~", 80, "http://localhost/ez"),
            ("<b>", 80, "http://localhost/ez"),
        ):
            self.visitor.cookie = f"txstathat-{port}={session}"
            self.assertIn(url, unescape(self.visitor.see("/", Host=host)))
        self.visitor.cookie = f"txstathat-443={session}"
        secure = self.visitor.see("/", X_Forwarded_Proto="https", Host="a.example")
        self.assertIn("curl https://a.example/ez", secure)

    def test_list(self) -> None:
        """Each stat has its last day: a counter the total, a value the average."""
        self.keep(Count("b", 1200), Count("b", 34, NOW - 3600), Value("a", 1.5))
        self.keep(Value("a", 2.5), Count("b", 7, NOW - 86_400))
        html = self.visitor.see("/")
        self.assertEqual(self.names("/"), ["a", "b"])
        self.assertIn("1,234 <small>total", html)
        self.assertIn("2 <small>average", html)
        self.assertEqual(html.count('<svg class="sparkline"'), 2)
        self.assertIn(f'href="/stats/{stat_id("b")}"', html)
        self.assertIn("just now", html)
        self.clock.advance(7200)
        self.assertIn("2 hours ago", self.visitor.see("/"))

    def test_short_retention(self) -> None:
        """If the retention of hours is less than a day, no line is drawn."""
        self.keep(Count("b", 1200))
        self.here.parts.archive.retention["hour"] = 7200.0
        self.assertEqual(self.names("/"), ["b"])
        self.assertNotIn("<svg", self.visitor.see("/"))

    def test_large_amounts(self) -> None:
        """A sum beyond the largest float is a dash; the rest is shown."""
        self.keep(Count("fine", 2), Count("big", 1.7976931348623157e308))
        # Each is too little for the sum's last digit, and both are not.
        self.keep(Count("big", 9e291))
        self.keep(Count("big", 9e291))
        html = self.visitor.see("/")
        dash = "–"  # noqa: RUF001
        self.assertIn(f"{dash} <small>total", html)
        self.assertIn("2 <small>total", html)
        page = self.visitor.see(f"/stats/{stat_id('big')}?t=1h1m", 400)
        self.assertIn("beyond the largest float", page)
        totals = self.now(self.here.parts.archive.totals())
        self.assertEqual(totals["big"].sum, 1.7976931348623157e308)

    def test_search(self) -> None:
        """The search finds words in names, in any case and order."""
        self.keep(*map(Count, ["Sign ups EU", "sign ups US", "errors", "100%", "a&b"]))
        for search, found in (
            ("SIGN", ["Sign ups EU", "sign ups US"]),
            ("eu+sign", ["Sign ups EU"]),
            ("%25", ["100%"]),
            ("%26", ["a&b"]),
            ("none", []),
            ("%ff", []),
            ("x" * 5000, []),
            ("+", ["100%", "Sign ups EU", "a&b", "errors", "sign ups US"]),
        ):
            self.assertEqual(self.names(f"/?q={search}"), found, search)
        self.assertIn("No stats match “<bdi>none</bdi>”.", self.visitor.see("/?q=none"))

    def test_pages(self) -> None:
        """A long list has pages, which preserve the search."""
        parts = self.here.parts
        parts.root.putChild(b"", StatList(parts.pages, page_size=2))
        self.keep(*(Count(f"n{n}") for n in range(5)), Count("other"))
        path, seen = "/?q=n", []
        for turn in range(3):
            html = unescape(self.visitor.see(path))
            seen.append(self.names(path))
            first, last = 2 * turn + 1, min(2 * turn + 2, 5)
            self.assertIn(f"Showing {first} to {last}. ", html)
            following = re.search('href="([^"]*)" rel="next"', html)
            self.assertEqual(following is None, turn == 2)
            path = following[1] if following else path
        self.assertEqual(seen, [["n0", "n1"], ["n2", "n3"], ["n4"]])
        for pages in (["n2", "n3"], ["n0", "n1"]):
            previous = re.search('href="([^"]*)" rel="prev"', html)
            assert previous is not None
            self.assertEqual(self.names(previous[1]), pages)
            html = unescape(self.visitor.see(previous[1]))
        self.assertNotIn('rel="prev"', html)
        for wrong in ("0", "nan:n1", "x", "9" * 5000, "", "0.0:z"):
            self.assertEqual(self.names(f"/?q=n&after={wrong}"), ["n0", "n1"])

    def test_hostile(self) -> None:
        """Names and searches are plain text."""
        self.keep(Count(HOSTILE))
        self.assertEqual(self.names("/"), [HOSTILE])
        id = stat_id(HOSTILE)
        search = "%3Cscript%3Ealert(1)%3C/script%3E%22%27%26"
        for path in ("/", f"/?q={search}", f"/?q={search}no", f"/stats/{id}"):
            html = self.visitor.see(path)
            self.assertNotIn("<script>alert", html)
            self.assertNotIn("<img", html)
            self.assertNotIn("\"'&<", html)
            self.assertIn("&lt;script&gt;", html)

    def test_conditional_requests(self) -> None:
        """
        A page and a chart have an ETag. With it the answer is 304 and empty while they
        stay as they are, and a new page as soon as they change.
        """
        self.keep(Count("a", 1, NOW))
        id = stat_id("a")
        for path in ("/", f"/stats/{id}?t=1h1m", f"/stats/{id}/chart?format=json"):
            first = self.visitor.ask("GET", path)
            (tag,) = first.headers.getRawHeaders("etag")
            again = self.visitor.ask("GET", path, If_None_Match=tag)
            self.assertEqual((again.code, again.length), (304, 0), path)
            self.assertEqual(again.headers.getRawHeaders("etag"), [tag])
            self.keep(Count("a", 5, NOW))
            changed = self.visitor.ask("GET", path, If_None_Match=tag)
            self.assertEqual(changed.code, 200, path)
            self.assertNotEqual(changed.headers.getRawHeaders("etag"), [tag])
        for path in ("/stats/none", f"/stats/{id}?t=x"):
            self.assertFalse(self.visitor.ask("GET", path).headers.hasHeader("etag"))

    def test_direction(self) -> None:
        """
        A name that reverses the direction of text does so for itself only; the title of
        the page, which cannot isolate it, has it without the character.
        """
        self.keep(Count("a\u202eb"))
        self.assertEqual(self.names("/"), ["a\u202eb"])
        id = stat_id("a\u202eb")
        html = self.visitor.see(f"/stats/{id}")
        self.assertIn("<title>1 · a\N{REPLACEMENT CHARACTER}b", html)
        outside = re.sub(r"<bdi>[^<]*</bdi>", "", html)
        self.assertNotIn("\u202e", outside)
        self.assertIn("<bdi>a\u202eb</bdi>", html)

    def test_headers(self) -> None:
        """All pages have a strict policy, and are not cached."""
        self.keep(Count("a"))
        id = stat_id("a")
        for path in (
            "/",
            "/sign-in",
            f"/stats/{id}",
            f"/stats/{id}/chart",
            "/stats/no",
        ):
            headers = self.visitor.ask("GET", path).headers
            (policy,) = headers.getRawHeaders("content-security-policy")
            self.assertIn(
                "default-src 'none'; script-src 'self'; style-src 'self'", policy
            )
            self.assertIn("frame-ancestors 'none'", policy)
            self.assertNotIn("unsafe", policy)
            self.assertIn("no-store", headers.getRawHeaders("cache-control"))
            self.assertEqual(
                headers.getRawHeaders("x-content-type-options"), ["nosniff"]
            )
            self.assertEqual(headers.getRawHeaders("referrer-policy"), ["same-origin"])
            html = self.visitor.see(path, 404 if path.endswith("no") else 200)
            self.assertIn('<html lang="en">', html)
            self.assertNotIn(" style=", html)
            self.assertNotRegex(html, r"<script(?! src=)|<style| on\w+=")


class StatTests(PageCase):
    """
    The page of a stat.
    """

    def setUp(self) -> None:
        super().setUp()
        self.visitor.sign_in()
        self.keep(*(Count("hits", n, NOW - 60 * n) for n in (1, 2, 3)))
        self.keep(Value("load", 1.5, NOW - 600), Value("load", 2.5, NOW - 600))
        self.keep(Value("load", 5, NOW))

    def facts(self, name: str, t: str = "") -> dict[str, str]:
        """Read the summary of a stat."""
        html = self.visitor.see(f"/stats/{stat_id(name)}{t}")
        found = re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", html)
        return {fact: re.sub("<[^>]*>", "", value) for fact, value in found}

    def test_summary(self) -> None:
        """
        A counter's empty steps count as 0, and its current step only for the maximum
        and the total. Of a value, the extremes and the mean are those of its points.
        """
        dash = "–"  # noqa: RUF001
        self.assertEqual(
            self.facts("hits", "?t=1h1m"),
            {
                "Latest": "1",
                "Min": "0",
                "Max": "3",
                # 6 in 59 finished minutes
                "Mean": "0.10169",
                "Total": "6",
                "Std. deviation": "0.48048",
            },
        )
        self.assertEqual(
            self.facts("hits", "?t=1m1m"),
            {
                **dict.fromkeys(("Min", "Max", "Mean", "Total"), "0"),
                **dict.fromkeys(("Latest", "Std. deviation"), dash),
            },
        )
        self.assertEqual(
            self.facts("load", "?t=1h1m"),
            {
                "Latest": "5",
                "Min": "1.5",
                "Max": "5",
                "Mean": "3",
                "Std. deviation": "2.1213",
            },
        )
        self.assertEqual(
            self.facts("load", "?t=1m1m"),
            {
                "Latest": "5",
                "Min": "5",
                "Max": "5",
                "Mean": "5",
                "Std. deviation": dash,
            },
        )

    def test_basis(self) -> None:
        """The page says how much data the summary has, and when the stat was created."""
        for t, basis in (
            ("1h1m", "3 of 60 steps of 1 minute have points."),
            ("1d5m", "1 of 288 steps of 5 minutes have points."),
            ("1y1d", "1 of 365 steps of 1 day have points."),
        ):
            page = self.visitor.see(f"/stats/{stat_id('hits')}?t={t}")
            self.assertIn(
                f"{basis} Min, mean and deviation count the others as 0, and leave out "
                "the current step. <span",
                page,
            )
            self.assertIn("</span>. Created 13 May 2014.", page)
        page = self.visitor.see(f"/stats/{stat_id('load')}?t=1h1m")
        self.assertIn(
            "2 of 60 steps of 1 minute have points. The mean is that of 3 points. Min "
            "and max are those of points too; the deviation is that of the averages of "
            "the steps.",
            page,
        )
        self.now(self.here.parts.archive.create("none", "count"))
        page = self.visitor.see(f"/stats/{stat_id('none')}")
        self.assertIn("Nothing in the last hour. No points yet.", page)

    def test_last_point(self) -> None:
        """
        The last point is the newest point's own time, which is known as exactly as its
        detail is stored; the title has the time of receipt.
        """
        self.keep(Count("late", 1, NOW - 7200))
        for name, last, title in (
            ("hits", "1 minute ago", "2014-05-13 16:52 UTC"),
            ("late", "2 hours ago", "2014-05-13 14:53 UTC"),
        ):
            page = self.visitor.see(f"/stats/{stat_id(name)}")
            received = "received 2014-05-13 16:53 UTC"
            span = f'<span title="{title}; {received}">Last point {last}</span>'
            self.assertIn(span, page)
        for days, last in ((36, "7 Apr 2014"), (500, "Dec 2012"), (9000, "Sep 1989")):
            name = f"old {days}"
            self.keep(Count(name, 1, NOW - days * 86_400))
            page = self.visitor.see(f"/stats/{stat_id(name)}")
            self.assertIn(f"Last point {last}<", page)
            self.assertIn(f'title="{last}; received 2014-05-13 16:53 UTC"', page)

    def test_where_the_points_are(self) -> None:
        """
        A page opens with the shortest range that has data, and an empty range says
        where the newest point is.
        """
        for days, opens, words, t in (
            (0.5, "1d5m", "the day", "1d5m"),
            (3, "1w3h", "the week", "1w3h"),
            (20, "1M1h", "the month", "1M1h"),
            (200, "1y1d", "the year", "1y1d"),
            (700, "1h1m", "2012", "1y1M&amp;start=2012-01-01"),
        ):
            name = f"{days} days ago"
            self.keep(Value(name, 1, NOW - days * 86_400))
            path = f"/stats/{stat_id(name)}"
            page = self.visitor.see(path)
            self.assertIn(f'?t={opens}" aria-current="true"', page, name)
            page = self.visitor.see(f"{path}?t=1h1m")
            self.assertIn("Nothing in the last hour. Newest point: ", page)
            link = f'<a href="{path}?t={t}">Show {words}</a>'
            self.assertIn(link, page)
            there = self.visitor.see(unescape(f"{path}?t={t}"))
            self.assertNotIn("Nothing in", there)
        self.keep(Count("hits", 1, NOW - 7200))
        self.clock.advance(30 * 86_400)
        self.visitor.sign_in()
        page = self.visitor.see(f"/stats/{stat_id('hits')}?t=1d1h&start=2014-06-01")
        self.assertIn("Nothing in this range. Newest point: 13 May 2014. ", page)

    def test_disconnected(self) -> None:
        """A browser that leaves while its page is made cancels the reading."""
        cancelled: list[Any] = []
        self.visitor.see("/")
        self.here.store.read = lambda keys: Deferred(cancelled.append)
        for path in (
            "/",
            f"/stats/{stat_id('hits')}",
            f"/stats/{stat_id('hits')}/chart",
        ):
            client = WebClient(self.here.parts.root)
            client.request(path, headers=f"Cookie: {self.visitor.cookie}\r\n")
            client.disconnect()
        self.assertEqual(len(cancelled), 3)

    def test_large_amounts(self) -> None:
        """A number beyond the largest float is a dash or an error message."""
        day = 86_400
        for days, amount in ((70, -1.7e308), (14, 1.7e308), (11, 1.7e308)):
            self.keep(Count("big", amount, NOW - days * day))
        facts = self.facts("big", "?t=1y1d")
        dash = "–"  # noqa: RUF001
        self.assertEqual(facts["Total"], "1.7e+308")
        self.assertEqual(facts["Std. deviation"], dash)
        self.assertEqual(self.facts("big", "?t=2w1d")["Total"], "1.7e+308")
        self.assertEqual(self.facts("big", "?t=3w1d")["Total"], dash)
        big = stat_id("big")
        for path in (f"/stats/{big}?t=3w1w", f"/stats/{big}/chart?t=3w1w&format=json"):
            self.assertIn("beyond the largest float", self.visitor.see(path, 400))

    def test_timeframes(self) -> None:
        """
        A new stat starts with the last hour, others with the last day. A range that
        cannot be shown is an error beside its field, which keeps its text.
        """
        page = self.visitor.see(f"/stats/{stat_id('hits')}")
        for t in PRESETS:
            self.assertIn(f"?t={t}", page)
            self.assertEqual(self.facts("hits", f"?t={t}")["Total"], "6")
        current = r'\?t=(\w+)"[^>]*aria-current|aria-current[^>]*\?t=(\w+)"'
        for t in ("1h1m", "1d5m"):
            page = self.visitor.see(f"/stats/{stat_id('hits')}")
            found = re.search(current, page)
            assert found is not None
            self.assertIn(t, found.groups())
            self.clock.advance(7200)
        for wrong, words in (
            ("x", "Write a length of time such as 5d"),
            ("1y1m", "1y1m has more than 1,000 steps"),
            ("3d5m", "minutes are stored for 26 hours"),
            ("1002m1m", "1002m1m has more than 1,000 steps"),
            ("%22%3E%3Cb%3E", "Write a length of time such as 5d"),
            ("101y1y", "Write a length of time such as 5d"),
            ("1d1h&start=x", "must be a day or a minute in UTC"),
            ("1d1h&start=2999-01-01", "must be between 1970 and now"),
            ("1d1h&start=1960-01-01", "must be between 1970 and now"),
        ):
            page = self.visitor.see(f"/stats/{stat_id('hits')}?t={wrong}", 400)
            (error,) = re.findall('<p class="wrong"[^>]*><bdi>(.*?)</bdi>', page)
            self.assertIn(words, unescape(error))
            self.assertRegex(page, '<input name="t"[^>]* aria-invalid="true"')
            field = re.search('<input name="t" id="t" value="([^"]*)"', page)
            assert field is not None
            self.assertEqual(unescape(field[1]), unquote(wrong).partition("&")[0])
            self.assertIn('<dl class="facts">', page)
            self.assertNotIn("<b>", page)

    def test_dates(self) -> None:
        """Days can be chosen; a wrong one is an error beside its field."""
        path = f"/stats/{stat_id('hits')}"
        page = self.visitor.see(f"{path}?from=2014-05-01&to=2014-05-13")
        self.assertIn("13 days from 1 May 2014, in steps of 1 hour", page)
        self.assertIn('<input name="from" id="from" value="2014-05-01"', page)
        self.assertIn('<input name="to" id="to" value="2014-05-13"', page)
        self.assertEqual(
            self.facts("hits", "?from=2014-05-01&to=2014-05-13")["Max"], "6"
        )
        for first, last, field, words in (
            ("x", "2014-05-13", "from", "choose a day"),
            ("2014-05-13", "", "to", "choose a day"),
            ("2014-05-13", "2014-05-12", "to", "is before 2014-05-13"),
            ("2014-05-14", "2014-05-14", "from", "is in the future"),
            ("1969-12-31", "2014-05-12", "from", "is before 1970"),
            ("1971-01-01", "9999-12-31", "from", "is longer than 100 years"),
        ):
            page = self.visitor.see(f"{path}?from={first}&to={last}", 400)
            self.assertRegex(page, f'<input name="{field}"[^>]* aria-invalid="true"')
            self.assertIn(words, page.lower() if words.startswith("choose") else page)

    def test_steps_in_time(self) -> None:
        """
        Links lead to the range before and after, with the detail that is stored there;
        from the last one before now back to the range that ends now.
        """
        path = f"/stats/{stat_id('hits')}"

        def links(query: str) -> dict[str, str]:
            page = self.visitor.see(f"{path}?{query}")
            found = re.findall(f'<a href="{path}\\?([^"]*)"[^>]*>(← E|Later)', page)
            return {word[-1]: unescape(link) for link, word in found}

        here = links("t=1d5m")
        # Minutes are stored for 26 hours.
        self.assertEqual(here, {"E": "t=1d1h&start=2014-05-11T16%3A55"})
        there = links(here["E"])
        self.assertEqual(there["E"], "t=1d1h&start=2014-05-10T16%3A00")
        self.assertEqual(there["r"], "t=1d1h&start=2014-05-12T16%3A00")
        self.assertEqual(links(there["r"])["r"], "t=1d5m")
        self.assertEqual(links("t=1y1M&start=1970-06-01").keys(), {"r"})
        self.assertEqual(links("t=90d")["E"][:5], "t=90d")

    def test_picked_steps(self) -> None:
        """For a length alone, steps are picked of which all detail is stored."""
        path = f"/stats/{stat_id('hits')}"
        for t, step in (
            ("5m", "1 minute"),
            ("1d", "5 minutes"),
            ("2d", "1 hour"),
            ("5d", "1 hour"),
            ("30d", "2 hours"),
            ("90d", "1 day"),
            ("10y", "1 month"),
        ):
            self.assertIn(f"in steps of {step}", self.visitor.see(f"{path}?t={t}"), t)

    def test_earlier(self) -> None:
        """
        The same stretch one period earlier is beside each step, and the summary has the
        change of what is finished; where there is no detail, in longer steps.
        """
        for n in range(1, 121):
            self.keep(Count("c", 1 if n > 60 else 3, NOW - 60 * n))
            self.keep(Value("v", 10 if n > 60 else 5, NOW - 60 * n))
        self.keep(Count("c", 1000, NOW), Count("d", 48, NOW - 36 * 3600))
        self.keep(Count("d", 24, NOW - 12 * 3600))
        page = self.visitor.see(f"/stats/{stat_id('c')}?t=1h1m")
        self.assertIn("<bdi>1 hour earlier</bdi></th>", page)
        self.assertIn("<dt>Against 1 hour earlier</dt><dd>+200 %</dd>", page)
        self.assertIn("<td>3</td><td>1</td></tr>", page)
        facts = self.facts("v", "?t=1h1m")
        self.assertEqual(facts["Against 1 hour earlier"], "-50.0 %")
        page = self.visitor.see(f"/stats/{stat_id('d')}?t=1d5m")
        self.assertIn("<dt>Against 1 day earlier</dt><dd>-50.0 %</dd>", page)
        # 48 in an hour are 4 in each five minutes.
        self.assertEqual(page.count("<td>0</td><td>4</td></tr>"), 1)
        self.assertNotIn("earlier</dt>", self.visitor.see(f"/stats/{stat_id('hits')}"))

    def test_details_and_notes(self) -> None:
        """
        The page shows the unit and the description of a stat, and notes in the step of
        their moment; JSON and CSV have them too.
        """
        archive = self.here.parts.archive
        (stat,) = self.now(archive.find([stat_id("load")]))
        self.now(archive.details.change(stat, unit="<GB>", description="how full"))
        self.now(archive.comment(stat, "moved <b>"))
        self.now(archive.comment(None, "version 2"))
        path = f"/stats/{stat.id}"
        page = self.visitor.see(f"{path}?t=1h1m")
        self.assertIn("<title>5 &lt;GB&gt; · load", page)
        self.assertIn('<p class="description"><bdi>how full</bdi></p>', page)
        self.assertEqual(self.facts("load", "?t=1h1m")["Max"], "5 &lt;GB&gt;")
        notes = r'<p data-time="2014-05-13T16:53:20\+00:00"><bdi>(.*?)</bdi></p>'
        last = re.findall("<tr>.*?</tr>", page)[-1]
        self.assertEqual(
            sorted(map(unescape, re.findall(notes, last))), ["moved <b>", "version 2"]
        )
        shown = self.visitor.ask("GET", f"{path}/chart?t=1h1m&format=json")
        table = self.successResultOf(shown.json())
        self.assertEqual(table["unit"], "<GB>")
        self.assertEqual(len(table["notes"]), 2)
        page = self.visitor.see(f"{path}?t=1d1h&start=2014-05-12")
        self.assertNotIn("version 2", page)

    def test_levels(self) -> None:
        """
        The chart has the limits of the alerts; that of a counter is its share of the
        alert's time.
        """
        self.keep(Count("signups", 3))
        for name in ("load", "signups"):
            form = {
                "stat_id": stat_id(name),
                "kind": "value",
                "time_window": "1h",
                "operator": "gt",
                "threshold": "1500",
            }
            body = urlencode(form)
            self.here.ask(
                "POST",
                f"/x/{self.here.token}/alerts",
                body.encode(),
                Content_Type="application/x-www-form-urlencoded",
            )
        page = self.visitor.see(f"/stats/{stat_id('load')}")
        self.assertIn(
            "<li><bdi>alert over 1 hour: greater than</bdi> "
            '<strong data-value="1500">1,500</strong></li>',
            page,
        )
        path = f"/stats/{stat_id('signups')}/chart?t=1d5m&format=json"
        shown = json.loads(self.visitor.see(path))
        words = "alert: more than 1,500 in 1 hour; in 5 minutes that is"
        self.assertEqual(shown["levels"], [[125.0, words]])
        path = f"/stats/{stat_id('signups')}/chart?t=1d1h&format=json"
        (level,) = json.loads(self.visitor.see(path))["levels"]
        self.assertEqual(level, [1500, "alert over 1 hour: greater than"])

    def test_unknown_paths(self) -> None:
        """An unknown path shows a page to a browser, and JSON to a program."""
        html = self.visitor.see("/nothing", 404, Accept="text/html,*/*;q=0.8")
        self.assertIn("<h1>Page not found</h1>", html)
        for accept in ("*/*", "application/json"):
            shown = self.visitor.see("/nothing", 404, Accept=accept)
            self.assertEqual(json.loads(shown)["status"], 404)
        answer = self.visitor.ask("POST", "/nothing", Accept="text/html")
        self.assertEqual(answer.code, 404)
        self.assertEqual(self.successResultOf(answer.json())["status"], 404)

    def test_chart(self) -> None:
        """The chart, by itself and in the page, has the points of the export API."""
        id = stat_id("load")
        exported = self.here.get(f"/data/{id}?t=1h1m")[0]["points"]
        response = self.visitor.ask("GET", f"/stats/{id}/chart?t=1h1m&format=json")
        table = self.successResultOf(response.json())
        rows = [row[1] for row in table["rows"]]
        self.assertEqual(len(rows), 60)
        self.assertEqual(
            [n for n in rows if n is not None], [point["value"] for point in exported]
        )
        page = self.visitor.see(f"/stats/{id}?t=1h1m")
        cells = re.findall("<td[^>]*>([^<]*)</td>", page)
        self.assertEqual(
            [float(cell) for cell in cells if cell], [p["value"] for p in exported]
        )
        for path in ("/assets/plotly.js", "/assets/charts.js", "/assets/charts.css"):
            self.assertIn(path, page)
        lines = self.visitor.see(f"/stats/{id}/chart?t=1h1m&format=csv").split()
        self.assertEqual((lines[0], len(lines)), ("minute,average", 61))
        self.visitor.see(f"/stats/{id}/chart?t=1000m1m&format=json")
        self.visitor.see(f"/stats/{id}/chart?t=1002m1m&format=json", 400)
        self.visitor.see(f"/stats/{id}/chart?x=1", 400)

    def test_assets_are_shared(self) -> None:
        """The chart of a stat makes no assets of its own, for any request."""
        (stat,) = self.now(self.here.parts.archive.find([stat_id("load")]))
        self.assertEqual(StatChart(self.here.parts.archive, stat).children, {})

    def test_no_such_page(self) -> None:
        """A path without a page is answered with a 404 page."""
        id = stat_id("hits")
        for path in (
            "/stats/aaaaaaaaaaaaaaaa",
            "/stats/%3Cb%3E",
            f"/stats/{id}/more",
            f"/stats/{id}/chart/more",
            "/stats/aaaaaaaaaaaaaaaa/chart",
        ):
            page = self.visitor.see(path, 404)
            self.assertIn("Page not found", page)
            self.assertNotIn("<b>", page)

    def test_ways_out(self) -> None:
        """
        The page for an error has the links to the sections for who is signed in, and
        for nobody else.
        """
        for path in ("/stats/aaaaaaaaaaaaaaaa", "/boards/none", "/nowhere"):
            page = self.visitor.see(path, 404, Accept="text/html")
            self.assertIn('href="/alerts"', page)
        stranger = Visitor(self.here).see("/nowhere", 404, Accept="text/html")
        self.assertNotIn('href="/alerts"', stranger)

    def test_trash(self) -> None:
        """A stat in the trash has no page and is not in the list."""
        self.now(self.here.parts.archive.delete(stat_id("hits")))
        self.visitor.see(f"/stats/{stat_id('hits')}", 404)
        self.assertNotIn("hits", self.visitor.see("/"))

    def test_without_plotly(self) -> None:
        """Only the chart is missing, and the pages say how to get it."""
        kept = sys.modules.get("plotly")
        self.addCleanup(
            sys.modules.update if kept else sys.modules.pop,
            {"plotly": kept} if kept else "plotly",
        )
        sys.modules["plotly"] = None  # type: ignore[assignment]
        self.here = Collector(self)
        self.visitor = Visitor(self.here)
        self.visitor.sign_in()
        self.keep(Count("hits", 6))
        id = stat_id("hits")
        page = unescape(self.visitor.see(f"/stats/{id}"))
        self.assertIn("pip install 'txStatHat[charts]'", page)
        self.assertNotIn("plotly.js", page)
        self.assertIn("<dt>Total</dt><dd>6</dd>", page)
        self.visitor.see(f"/stats/{id}/chart", 404)
        self.visitor.see("/assets/plotly.js", 404)
        saved = Comparison("Load", ("hits",), "1w3h")
        path = self.here.now(self.here.parts.boards.comparisons.create(saved))
        page = unescape(self.visitor.see(f"/compare/{path}"))
        self.assertIn("pip install 'txStatHat[charts]'", page)
        self.assertNotIn("plotly.js", page)


class TextTests(SynchronousTestCase):
    """
    Numbers, times and sparklines.
    """

    def test_numbers(self) -> None:
        """Whole numbers have all digits, others about five."""
        for value, text in (
            (None, "–"),  # noqa: RUF001
            (0, "0"),
            (-1234567, "-1,234,567"),
            (2**63, "9,223,372,036,854,775,808"),
            (2.0, "2"),
            (0.1 + 0.2, "0.3"),
            (12345.678, "12,345.7"),
            (-2057613533.53, "-2,057,613,534"),
            (1.5e15 + 0.5, "1.5e+15"),
            (1e300, "1e+300"),
            (1.5e-9, "1.5e-09"),
        ):
            self.assertEqual(number(value), text)

    def test_times(self) -> None:
        """Times are relative, to the minute, or a date."""
        for seconds, text in (
            (-5, "just now"),
            (59, "just now"),
            (60, "1 minute ago"),
            (7200, "2 hours ago"),
            (86_400 * 2000, "2,000 days ago"),
        ):
            self.assertEqual(ago(NOW - seconds, NOW), text)
        self.assertEqual(day(NOW), "13 May 2014")
        self.assertEqual(
            (plural(1, "stat"), plural(1200, "stat")), ("1 stat", "1,200 stats")
        )
        self.assertEqual(minute(NOW), "2014-05-13 16:53 UTC")

    def test_lines(self) -> None:
        """A gap breaks the line; a single point is a dot; heights start at 0."""
        lines = [
            (each.attributes["points"], each.attributes.get("class"))
            for each in sparkline([0, 5, None, 10, None]).children
        ]
        self.assertEqual(
            lines, [("2.0,26.0 31.0,14.0", None), ("89.0,2.0 89.0,2.0", "dot")]
        )
        # The last step is the current one.
        whole, part = sparkline([0, 10, 5]).children
        self.assertEqual(whole.attributes, {"points": "2.0,26.0 60.0,2.0"})
        self.assertEqual(
            part.attributes, {"points": "60.0,2.0 118.0,14.0", "class": "part"}
        )
        (part,) = sparkline([None, 10, 5]).children
        self.assertEqual(part.attributes["class"], "part")
        for values in ([], [None], [0], [0, 0], [-1, 1], [7] * 25, [1e308, -1e308]):
            for each in sparkline(values).children:
                for place in each.attributes["points"].replace(",", " ").split():
                    self.assertTrue(0 <= float(place) <= 120, values)


class SharingTests(TestCase):
    """
    Two collectors on one store.
    """

    timeout = 600

    @inlineCallbacks
    def sign_in(self, host: Any) -> Any:
        """Use a link and a session from both collectors."""
        stores = []
        for _ in range(2):
            stores.append((yield host.open()))
        here, there = (Sessions(store, Keys(store)) for store in stores)
        link = yield _asked(here.link())
        used = yield gatherResults([_asked(one.redeem(link)) for one in (here, there)])
        (session,) = filter(None, used)
        self.assertTrue((yield _asked(there.knows(session))))
        yield _asked(there.close(session))
        self.assertFalse((yield _asked(here.knows(session))))

    def test_sqlite(self) -> Any:
        """On one SQLite file, one of two simultaneous uses of a link signs in."""
        return self.sign_in(SqliteHost(self))

    def test_redis(self) -> Any:
        """On one Redis too."""
        return self.sign_in(RedisHost(self))


def _asked(waited: Any) -> Deferred[Any]:
    return Deferred.fromCoroutine(waited)
