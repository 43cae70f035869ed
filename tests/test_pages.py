"""
The collector's pages, over HTTP in memory: who gets in, and what is shown.
"""

from __future__ import annotations

import re
import sys
from html import unescape
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import Deferred, fail, gatherResults, inlineCallbacks
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.stores import NOW, RedisHost, SqliteHost
from tests.support import logged
from tests.test_archive import batch
from tests.test_collector import Collector
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
from txstathat.collector.auth.throttle import HOLD, MAX_WRONG
from txstathat.collector.pages import stat_list
from txstathat.collector.pages.sparkline import sparkline
from txstathat.collector.pages.texts import ago, moment, number
from txstathat.errors import StoreUnavailable
from txstathat.http.exchange import _Body

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>"
OWN_FORM = {"Origin": "http://localhost"}


class Visitor:
    """
    A browser as far as the pages need one: it keeps a cookie.
    """

    def __init__(self, here: Collector) -> None:
        self.here = here
        self.cookie = ""

    def ask(self, method: str, path: str, form: Any = None, **headers: str) -> Any:
        """Ask; the response, without following where it leads."""
        if self.cookie:
            headers["Cookie"] = self.cookie
        # A client of its own, which has no cookies of others.
        asked = HTTPClient(self.here.agent, data_to_body_producer=_Body).request(
            method,
            f"http://localhost{path}",
            data=form,
            headers={k.replace("_", "-"): v for k, v in headers.items()},
            allow_redirects=False,
        )
        self.here.agent.flush()
        response = self.here.case.successResultOf(asked)
        for cookie in response.headers.getRawHeaders("set-cookie", []):
            self.cookie = cookie.split(";")[0]
        return response

    def see(self, path: str, status: int = 200, **headers: str) -> str:
        """Get a page, and its HTML."""
        response = self.ask("GET", path, **headers)
        self.here.case.assertEqual(response.code, status)
        text: str = self.here.case.successResultOf(response.text())
        return text

    def sign_in(self, token: str | None = None, next: str = "/") -> Any:
        """Send the form with an access token."""
        form = {"token": self.here.token if token is None else token, "next": next}
        return self.ask("POST", "/sign-in", form, **OWN_FORM)


class PageCase(SynchronousTestCase):
    """
    A collector, and a visitor.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.here = Collector(self)
        self.visitor = Visitor(self.here)

    def keep(self, *points: Any) -> None:
        """Have points kept."""
        self.successResultOf(self.here.parts.archive.keep(batch(*points)))

    def now(self, waited: Any) -> Any:
        """What has come of it already."""
        return self.here.now(waited)

    def leads_to(self, response: Any, path: str) -> None:
        """An answer sends the browser on."""
        self.assertEqual(response.code, 303)
        location = response.headers.getRawHeaders("location")
        self.assertEqual(location, [path])

    def is_signed_in(self, visitor: Visitor | None = None) -> bool:
        """Whether the list is shown."""
        code: int = (visitor or self.visitor).ask("GET", "/").code
        self.assertIn(code, (200, 303))
        return code == 200


class SignInTests(PageCase):
    """
    Getting in.
    """

    def test_nothing_is_public(self) -> None:
        """Without a session every page leads to the form, and says nothing else."""
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
        """A token gets one in, to where one wanted to go; and out again."""
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
        self.assertEqual(self.visitor.cookie, "txstathat=")
        self.assertFalse(self.is_signed_in())
        self.visitor.cookie = kept
        self.assertFalse(self.is_signed_in())

    def test_secure_under_tls(self) -> None:
        """Behind a proxy that does the TLS, the cookie is for TLS only."""
        form = {"token": self.here.token}
        headers = {**OWN_FORM, "X-Forwarded-Proto": "https"}
        response = self.visitor.ask("POST", "/sign-in", form, **headers)
        self.assertIn("Secure", response.headers.getRawHeaders("set-cookie")[0])

    def test_wrong_tokens(self) -> None:
        """Other keys and texts get nobody in; after twenty the answers are slow."""
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
            self.assertIn("This access token is not known here.", text)
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
        self.clock.advance(2 * HOLD)
        self.here.agent.flush()
        response = self.successResultOf(asked)
        self.assertEqual(response.code, 429)
        self.assertTrue(response.headers.hasHeader("retry-after"))
        self.leads_to(self.visitor.sign_in(), "/")

    def test_forms_of_other_sites(self) -> None:
        """A form that another site sends does nothing, right token or not."""
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
        """Nobody is led to another site, nor to what is not there."""
        for wrong in (
            "https://evil.example/",
            "//evil.example",
            "/\\evil.example",
            "/stats/../x",
            "/x/token",
            "/\r\nSet-Cookie: a=b",
            "javascript:alert(1)",
        ):
            self.leads_to(self.visitor.sign_in(next=wrong), "/")
        for right in ("/", "/?q=a%20b&page=2", "/stats/abcdefghij234567"):
            self.leads_to(self.visitor.sign_in(next=right), right)

    def test_the_link(self) -> None:
        """A one-time link lets one in when its button is pressed, once."""
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

    def test_methods(self) -> None:
        """Other methods are refused in JSON, as by the rest of the collector."""
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
        """One is told to try again, and not why."""
        self.visitor.sign_in()
        self.here.store.records = lambda kind: fail(StoreUnavailable("/secret"))
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
    Sessions and links, in the store.
    """

    def setUp(self) -> None:
        super().setUp()
        self.sessions = self.here.parts.sessions

    def by_link(self) -> str:
        """A session that begins with a link."""
        session: str = self.now(self.sessions.redeem(self.now(self.sessions.link())))
        return session

    def test_several_collectors(self) -> None:
        """What one collector on a store knows, the others know at once."""
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

    def test_kept_hashed(self) -> None:
        """What is in the store lets nobody in."""
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

    def test_they_end(self) -> None:
        """A session ends in a week, a link in an hour."""
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
        """But not those of others, or of a link while another token is left."""
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
        """And so does its session, whatever tokens are made later."""
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
        """One too many ends the oldest."""
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
        """Whatever stands in the cookie, it is no session."""
        for cookie in (
            "txstathat=",
            "txstathat=x",
            "txstathat=\xfc",
            "txstathat",
            "a=b",
        ):
            self.visitor.cookie = cookie
            self.assertFalse(self.is_signed_in())


class ListTests(PageCase):
    """
    The list.
    """

    def setUp(self) -> None:
        super().setUp()
        self.visitor.sign_in()

    def names(self, path: str) -> list[str]:
        """The names in the list, in their order."""
        html = self.visitor.see(path)
        return [
            unescape(name)
            for name in re.findall(r'<th scope="row"><a [^>]*>([^<]*)</a>', html)
        ]

    def test_empty(self) -> None:
        """Without stats it tells how to send one: with the URL, without any key."""
        page = unescape(self.visitor.see("/"))
        self.assertIn("curl http://localhost/ez -d ezkey=YOUR-EZ-KEY", page)
        self.assertIn('txStatHat("YOUR-EZ-KEY", url="http://localhost")', page)
        for key in (self.here.ez, self.here.user, self.here.token):
            self.assertNotIn(key, page)
        for host, url in (
            ("stats.example:8443", "http://stats.example:8443/ez"),
            ("[::1]:8080", "http://[::1]:8080/ez"),
            ("a;rm -rf ~", "http://localhost/ez"),
            ("<b>", "http://localhost/ez"),
        ):
            self.assertIn(url, unescape(self.visitor.see("/", Host=host)))
        secure = self.visitor.see("/", X_Forwarded_Proto="https", Host="a.example")
        self.assertIn("curl https://a.example/ez", secure)

    def test_list(self) -> None:
        """Each stat with its last day: a counter's total, a value's average."""
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

    def test_hours_that_are_not_kept(self) -> None:
        """Where hours are kept for less than a day, there is no line."""
        self.keep(Count("b", 1200))
        self.here.parts.archive.retention["hour"] = 7200.0
        self.assertEqual(self.names("/"), ["b"])
        self.assertNotIn("<svg", self.visitor.see("/"))

    def test_large_amounts(self) -> None:
        """A sum that no float can hold is a dash; all else is there."""
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
        """By words in the name, in any case and order."""
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
        self.assertIn("No stat's name has", unescape(self.visitor.see("/?q=none")))

    def test_pages(self) -> None:
        """A long list has pages, which keep the search."""
        self.patch(stat_list, "PAGE", 2)
        self.keep(*(Count(f"n{n}") for n in range(5)), Count("other"))
        self.assertEqual(self.names("/?q=n"), ["n0", "n1"])
        html = unescape(self.visitor.see("/?q=n&page=2"))
        self.assertIn("Page 2 of 3", html)
        self.assertIn('href="/?q=n&page=3"', html)
        self.assertIn('href="/?q=n&page=1"', html)
        for last in ("3", "4", "999999"):
            self.assertEqual(self.names(f"/?q=n&page={last}"), ["n4"])
        for wrong in ("0", "-1", "x", "9" * 5000, ""):
            self.assertEqual(self.names(f"/?q=n&page={wrong}"), ["n0", "n1"])

    def test_hostile(self) -> None:
        """A name, and a search, are text and nothing else."""
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

    def test_headers(self) -> None:
        """All pages have a strict policy, and are kept by nobody."""
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
        """The summary."""
        html = self.visitor.see(f"/stats/{stat_id(name)}{t}")
        return dict(re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", html))

    def test_summary(self) -> None:
        """It is of the steps that have data, as the command line's: no gap is in it."""
        dash = "–"  # noqa: RUF001
        self.assertEqual(
            self.facts("hits", "?t=1h1m"),
            {
                "Latest": "1",
                "Min": "1",
                "Max": "3",
                "Mean": "2",
                "Total": "6",
                "Deviation": "1",
            },
        )
        self.assertEqual(
            self.facts("hits", "?t=1m1m"),
            {
                **dict.fromkeys(("Latest", "Min", "Max", "Mean", "Deviation"), dash),
                "Total": "0",
            },
        )
        self.assertEqual(
            self.facts("load", "?t=1h1m"),
            {
                "Latest": "5",
                "Min": "2",
                "Max": "5",
                "Mean": "3.5",
                "Deviation": "2.1213",
            },
        )
        self.assertEqual(
            self.facts("load", "?t=1m1m"),
            {
                "Latest": "5",
                "Min": "5",
                "Max": "5",
                "Mean": "5",
                "Deviation": dash,
            },
        )

    def test_large_amounts(self) -> None:
        """What is beyond the largest float is a dash, or words; nothing is broken."""
        day = 86_400
        for days, amount in ((70, -1.7e308), (14, 1.7e308), (11, 1.7e308)):
            self.keep(Count("big", amount, NOW - days * day))
        facts = self.facts("big", "?t=1y1d")
        dash = "–"  # noqa: RUF001
        self.assertEqual(facts["Total"], "1.7e+308")
        self.assertEqual(facts["Deviation"], dash)
        self.assertEqual(self.facts("big", "?t=2w1d")["Total"], "1.7e+308")
        self.assertEqual(self.facts("big", "?t=3w1d")["Total"], dash)
        big = stat_id("big")
        for path in (f"/stats/{big}?t=3w1w", f"/stats/{big}/chart?t=3w1w&format=json"):
            self.assertIn("beyond the largest float", self.visitor.see(path, 400))

    def test_timeframes(self) -> None:
        """Any that is kept; a new stat begins with the hour, others with the day."""
        page = self.visitor.see(f"/stats/{stat_id('hits')}")
        for t in ("1h1m", "1d5m", "1w3h", "1M1h", "1y1d"):
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
            ("x", "must be a duration and an interval"),
            ("1y1m", "has 525,"),
            ("9d5m", "minutes are kept for 26 hours"),
            ("1001m1m", "1001m1m has 1,001 points, and a page shows 1,000 at most"),
            ("%22%3E%3Cb%3E", "must be a duration and an interval"),
        ):
            page = self.visitor.see(f"/stats/{stat_id('hits')}?t={wrong}", 400)
            self.assertIn(words, page)
            self.assertNotIn("<b>", page)

    def test_chart(self) -> None:
        """The chart, by itself and in the page, has what the export API tells."""
        id = stat_id("load")
        told = self.here.get(f"/data/{id}?t=1h1m")[0]["points"]
        response = self.visitor.ask("GET", f"/stats/{id}/chart?t=1h1m&format=json")
        table = self.successResultOf(response.json())
        rows = [row[1] for row in table["rows"]]
        self.assertEqual(len(rows), 60)
        self.assertEqual(
            [n for n in rows if n is not None], [point["value"] for point in told]
        )
        page = self.visitor.see(f"/stats/{id}?t=1h1m")
        cells = re.findall("<td>([^<]*)</td>", page)
        self.assertEqual(
            [float(cell) for cell in cells if cell], [p["value"] for p in told]
        )
        for path in ("/assets/plotly.js", "/assets/charts.js", "/assets/charts.css"):
            self.assertIn(path, page)
        lines = self.visitor.see(f"/stats/{id}/chart?t=1h1m&format=csv").split()
        self.assertEqual((lines[0], len(lines)), ("minute,average", 61))
        self.visitor.see(f"/stats/{id}/chart?t=1000m1m&format=json")
        self.visitor.see(f"/stats/{id}/chart?t=1001m1m&format=json", 400)
        self.visitor.see(f"/stats/{id}/chart?x=1", 400)

    def test_no_such_page(self) -> None:
        """What is not there is a page that says so."""
        id = stat_id("hits")
        for path in (
            "/stats/aaaaaaaaaaaaaaaa",
            "/stats/%3Cb%3E",
            f"/stats/{id}/more",
            f"/stats/{id}/chart/more",
            "/stats/aaaaaaaaaaaaaaaa/chart",
        ):
            page = self.visitor.see(path, 404)
            self.assertIn("There is nothing here", page)
            self.assertNotIn("<b>", page)

    def test_a_stat_in_the_trash_has_no_page(self) -> None:
        """Nor is it in the list."""
        self.now(self.here.parts.archive.delete(stat_id("hits")))
        self.visitor.see(f"/stats/{stat_id('hits')}", 404)
        self.assertNotIn("hits", self.visitor.see("/"))

    def test_without_plotly(self) -> None:
        """All is there but the chart, and a word on how to get it."""
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


class TextTests(SynchronousTestCase):
    """
    CollectorMetrics, times and lines.
    """

    def test_numbers(self) -> None:
        """Whole ones whole, others with five digits or so."""
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
        """How long ago."""
        for seconds, text in (
            (-5, "just now"),
            (59, "just now"),
            (60, "1 minute ago"),
            (7200, "2 hours ago"),
            (86_400 * 2000, "2,000 days ago"),
        ):
            self.assertEqual(ago(NOW - seconds, NOW), text)
        self.assertEqual(moment(NOW), "2014-05-13 16:53 UTC")

    def test_lines(self) -> None:
        """A gap breaks the line; one point is a dot; heights are from 0."""
        lines = [
            (each.attributes["points"], each.attributes.get("class"))
            for each in sparkline([0, 5, None, 10, None]).children
        ]
        self.assertEqual(
            lines, [("2.0,26.0 31.0,14.0", None), ("89.0,2.0 89.0,2.0", "dot")]
        )
        # The last step is not over.
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
    Two collectors on one store of a real kind.
    """

    timeout = 600

    @inlineCallbacks
    def sign_in(self, host: Any) -> Any:
        """A link and a session, seen from both sides."""
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
        """One file: of two who use a link at once, one gets in."""
        return self.sign_in(SqliteHost(self))

    def test_redis(self) -> Any:
        """One Redis: the same."""
        return self.sign_in(RedisHost(self))


def _asked(waited: Any) -> Deferred[Any]:
    return Deferred.fromCoroutine(waited)
