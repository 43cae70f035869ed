"""
The collector's pages below a path, behind nginx, in a real browser; and beside them a
second collector at the root of the same host.
"""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.template import Tag, flattenString, tags

from tests.fixtures import ROOT
from tests.fixtures.archives import batch
from tests.fixtures.pages import DRAWN, NOW, TEXT, PagesCase
from tests.fixtures.stores import free_port, wait_until
from tests.fixtures.support import reactor, require_program
from txstathat import Count
from txstathat.collector.archive.stats import stat_id
from txstathat.collector.options import parse_public_url
from txstathat.collector.pages.frame.paths import rebase
from txstathat.collector.service import build_collector
from txstathat.stores import open_store

#: The addresses of all that a page refers to.
REFERENCES = """
return [...document.querySelectorAll("[href], [src], [action], [data-path]")]
  .map((each) => new URL(each.getAttribute("href") ?? each.getAttribute("src")
    ?? each.getAttribute("action") ?? each.dataset.path, location.href).href)
  .filter((url) => !url.startsWith("data:") && !url.endsWith("#main"));
"""
#: The addresses to which forms are posted.
POSTED = """
return [...document.querySelectorAll("form[method=post]")].map((form) => form.action);
"""
#: The statuses with which they are answered.
STATUSES = """
return Promise.all(arguments[0].map(
  async (url) => [url, (await fetch(url, { redirect: "manual" })).status]));
"""


class ProxyTests(PagesCase):
    """Pages below a path."""

    @inlineCallbacks
    def setUp(self) -> Any:
        yield super().setUp()
        self.port = free_port()
        self.below = f"http://127.0.0.1:{self.port}/stats"
        store = yield open_store("memory:", reactor=reactor, clock=self.clock)
        self.addCleanup(store.close)
        self.other = build_collector(store)
        yield Deferred.fromCoroutine(self.other.keys.make_first())
        self.proxy(self.serve(self.other, public_url=self.below))

    def proxy(self, url: str) -> None:
        """Start nginx with the documented configuration."""
        nginx = require_program("nginx", "nginx-light")
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        text = (ROOT / "docs" / "own-server-pages.rst").read_text()
        (location,) = re.findall(r"code-block:: nginx\n\n((?:   .*\n|\n)+)", text)
        self.assertIn("http://127.0.0.1:8080/;", location)
        temporary = "".join(
            f"{kind}_temp_path {folder}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"user root;\nworker_processes 1;\npid {folder}/pid;\nevents {{}}\n"
            f"http {{\n{temporary}access_log off;\nserver {{\n"
            f"listen 127.0.0.1:{self.port};\n"
            f"{location.replace('http://127.0.0.1:8080/', f'{url}/')}}}\n}}\n"
        )
        command = [nginx, "-p", str(folder), "-c", "nginx.conf"]
        command += ["-e", f"{folder}/error.log", "-g", "daemon off;"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        wait_until(self.is_open)

    def is_open(self) -> bool:
        """Whether nginx listens."""
        try:
            socket.create_connection(("127.0.0.1", self.port), 10).close()
        except OSError:
            return False
        return True

    @inlineCallbacks
    def references(self) -> Any:
        """Check that all addresses on the page work; returns them."""
        urls = yield self.do("run", REFERENCES)
        posted = yield self.do("run", POSTED)
        asked = [url for url in urls if url not in posted]
        for url, status in (yield self.do("run", STATUSES, asked)):
            self.assertEqual(status, 200, url)
        return urls

    @inlineCallbacks
    def test_below_a_path(self) -> Any:
        """
        Links, files, forms, redirects and the cookie stay below the path, with the
        documented configuration of nginx; a collector at the root of the same host has
        a session of its own.
        """
        yield self.keep(Count("at the root", 1, NOW))
        yield self.sign_in()
        yield self.other.archive.add(batch(Count("below", 7, NOW)))
        yield self.do("open", self.below)
        yield self.arrive(f"location.href === '{self.below}/sign-in'")
        yield self.sign_in(self.below, self.other)
        stat = f"/stats/{stat_id('below')}"
        for path in ("/", f"{stat}?t=1d5m", f"{stat}/chart", "/stats/none"):
            yield self.do("open", self.below + path)
            for url in (yield self.references()):
                self.assertTrue(url.startswith(f"{self.below}/"), url)
        yield self.do("open", f"{self.below}/")
        yield self.do("type", "#q", "bel\n")
        yield self.arrive(f"location.href === '{self.below}/?q=bel'")
        yield self.do("click", "tbody a")
        yield self.arrive(DRAWN)
        yield self.do("click", ".timeframes a:nth-child(3)")
        yield self.arrive(f"location.pathname === '/stats{stat}'")
        (cookie,) = [
            each
            for each in (yield self.do("devtools", "Network.getAllCookies"))["cookies"]
            if each["path"] == "/stats/"
        ]
        self.assertEqual(cookie["name"], f"txstathat-{self.port}+stats")
        yield self.do("open", f"{self.below}/notes")
        yield self.do("type", "#text", "version 2\n")
        yield self.arrive("document.querySelector('.flash')")
        # The other collector of this host has not signed this browser out.
        self.assertIn("at the root", (yield self.look("/")))
        yield self.references()
        yield self.do("open", f"{self.below}/")
        yield self.do("click", ".top form button")
        yield self.arrive(f"location.href === '{self.below}/sign-in'")
        self.assertIn("at the root", (yield self.look("/")))
        self.assertIn(self.below, (yield self.empty_page()))
        yield self.silent("the server responded with a status of 404")

    @inlineCallbacks
    def empty_page(self) -> Any:
        """The text of the page of a collector without stats."""
        yield Deferred.fromCoroutine(self.other.archive.delete(stat_id("below")))
        yield self.sign_in(self.below, self.other)
        return (yield self.do("run", TEXT))


class PathTests(SynchronousTestCase):
    """Paths and URLs, without a server."""

    def test_rebase(self) -> None:
        """Paths get another one in front; other addresses stay, and so does the tag."""
        shared = tags.a("x", href="/a")
        page = tags.div(
            shared,
            [tags.img(src="/b"), (tags.link(rel="icon", href="data:,"),)],
            Tag("section", {"data-path": "/c", "title": "/d"}),
            tags.form(tags.a(href="https://example.com/"), action="/"),
            tags.a(href="?t=1"),
            tags.a(href="#main"),
        )
        for _ in range(2):
            html = self.successResultOf(flattenString(None, rebase(page, "/p")))
            found = re.findall(rb'(?:href|src|path|title|action)="([^"]*)"', html)
            self.assertEqual(
                b" ".join(found).decode(),
                "/p/a /p/b data:, /p/c /d /p/ https://example.com/ ?t=1 #main",
            )
        self.assertEqual(shared.attributes["href"], "/a")

    def test_public_url(self) -> None:
        """It is a URL of a server, perhaps with a path; anything else is refused."""
        for text, url in (
            ("https://stats.example.com", "https://stats.example.com"),
            ("http://[::1]:8080/", "http://[::1]:8080"),
            ("https://example.com/a.b/c_d~e-1//", "https://example.com/a.b/c_d~e-1"),
        ):
            self.assertEqual(parse_public_url(text), url)
        for wrong in (
            "",
            "/stats",
            "example.com",
            "ftp://example.com",
            "https://user:word@example.com",
            "https://example.com/?a",
            "https://example.com/#a",
            "https://example.com/a//b",
            "https://example.com/../b",
            "https://example.com/a/.",
            "https://example.com/a b",
            "https://example.com/a;Domain=b",
            f"https://example.com/{'a' * 300}",
        ):
            error = self.assertRaises(ValueError, parse_public_url, wrong)
            self.assertIn("must be like https://stats.example.com", str(error))
