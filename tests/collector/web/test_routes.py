"""
Every route of a collector with every credential: who gets in, and who learns nothing.

The routes are found in the tree of resources. A new one fails here until the table says
who may use it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from treq.client import HTTPClient
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.test.requesthelper import DummyRequest

from tests.fixtures.archives import batch
from tests.fixtures.collectors import Collector
from tests.fixtures.stores import NOW
from txstathat import Count
from txstathat.collector.alerts.model import parse_alert
from txstathat.collector.archive.stats import stat_id
from txstathat.collector.auth.key_record import KINDS, hash_key
from txstathat.collector.auth.throttle import HOLD_SECONDS
from txstathat.collector.boards.model import Board, Comparison, Tile
from txstathat.http.exchange import RequestBody

SECRET_STAT, SHARED_STAT = "canary", "shown"
METHODS = ("GET", "POST", "DELETE")

TOKEN = frozenset({"token"})
READERS = TOKEN | frozenset({"read-only token"} if "read" in KINDS else ())
WRITERS = frozenset({"write key"})
LINK = frozenset({"shared link"})
EVERYBODY = READERS | WRITERS | LINK | frozenset({"no key", "revoked", "revoked link"})

#: Who gets in, by method and route. A method that is not here is for nobody.
TABLE: dict[str, dict[str, frozenset[str]]] = {
    # points
    "/ez": {"GET": WRITERS, "POST": WRITERS},
    "/c": {"GET": WRITERS, "POST": WRITERS},
    "/v": {"GET": WRITERS, "POST": WRITERS},
    # programs
    "/x/{secret}/statlist": {"GET": READERS},
    "/x/{secret}/stat": {"GET": READERS},
    "/x/{secret}/data": {"GET": READERS},
    "/x/{secret}/stats": {"POST": TOKEN, "DELETE": TOKEN},
    "/x/{secret}/trash": {"GET": READERS, "POST": TOKEN, "DELETE": TOKEN},
    "/x/{secret}/channels": {"GET": READERS, "POST": TOKEN, "DELETE": TOKEN},
    "/x/{secret}/alerts": {"GET": READERS, "POST": TOKEN, "DELETE": TOKEN},
    "/a1/stats": {"GET": READERS, "POST": TOKEN, "DELETE": TOKEN},
    "/a1/trash": {"GET": READERS, "POST": TOKEN, "DELETE": TOKEN},
    "/a1/comments": {"GET": READERS, "POST": TOKEN, "DELETE": TOKEN},
    "/a1/alerts": {"GET": READERS, "POST": TOKEN, "DELETE": TOKEN},
    "/graphite/metrics/find": {"GET": READERS, "POST": READERS},
    "/graphite/render": {"GET": READERS, "POST": READERS},
    "/graphite/version": {"GET": READERS},
    "/graphite/functions": {"GET": READERS},
    "/graphite/tags": {"GET": READERS},
    "/healthz": dict.fromkeys(METHODS, EVERYBODY),
    "/metrics": dict.fromkeys(METHODS, READERS),
    # people who are signed in
    "/": {"GET": READERS},
    "/pin": {"POST": TOKEN},
    "/stats": {"GET": READERS},
    "/stats/{stat}": {"GET": READERS},
    "/stats/{stat}/chart": {"GET": READERS},
    "/stats/{stat}/edit": {"GET": READERS, "POST": TOKEN},
    "/alerts": {"GET": READERS},
    "/alerts/new": {"GET": READERS, "POST": TOKEN},
    "/alerts/{alert}": {"GET": READERS, "POST": TOKEN},
    "/alerts/{alert}/edit": {"GET": READERS, "POST": TOKEN},
    "/channels": {"GET": READERS, "POST": TOKEN},
    "/channels/new": {"GET": READERS, "POST": TOKEN},
    "/channels/new/edit": {"GET": READERS, "POST": TOKEN},
    "/channels/{channel}/edit": {"GET": READERS, "POST": TOKEN},
    "/keys": {"GET": READERS, "POST": TOKEN},
    "/trash": {"GET": READERS, "POST": TOKEN},
    "/trash/{stat}": {"GET": READERS, "POST": TOKEN},
    "/settings": {"GET": READERS, "POST": TOKEN},
    "/boards": {"GET": READERS, "POST": TOKEN},
    "/boards/add": {"GET": READERS, "POST": TOKEN},
    "/boards/{board}": {"GET": READERS},
    "/boards/{board}/edit": {"GET": READERS, "POST": TOKEN},
    "/boards/{board}/tile": {"GET": READERS, "POST": TOKEN},
    "/boards/{board}/wall": {"GET": READERS},
    "/compare": {"GET": READERS, "POST": TOKEN},
    "/compare/chart": {"GET": READERS},
    "/compare/{comparison}": {"GET": READERS, "POST": TOKEN},
    "/notes": {"GET": READERS, "POST": TOKEN},
    "/links": {"GET": READERS, "POST": TOKEN},
    # everybody, or who has a link
    "/sign-in": {"GET": EVERYBODY, "POST": READERS},
    # a one-time link, which none of these is
    "/sign-in/{secret}": {},
    "/sign-out": {"POST": EVERYBODY},
    "/shared/{secret}": {"GET": LINK},
    "/shared/{secret}/chart": {"GET": LINK},
    "/shared/{secret}/embed": {"GET": LINK},
    "/assets/pages.css": {"GET": EVERYBODY},
    "/assets/pages.js": {"GET": EVERYBODY},
    "/assets/list.css": {"GET": EVERYBODY},
    "/assets/boards.css": {"GET": EVERYBODY},
    "/assets/boards.js": {"GET": EVERYBODY},
    "/assets/tending.css": {"GET": EVERYBODY},
    "/assets/theme.js": {"GET": EVERYBODY},
    "/assets/forms.js": {"GET": EVERYBODY},
    "/assets/keyboard.js": {"GET": EVERYBODY},
    "/assets/icon.svg": {"GET": EVERYBODY},
    "/assets/plotly.js": {"GET": EVERYBODY},
    "/assets/charts.js": {"GET": EVERYBODY},
    "/assets/charts.css": {"GET": EVERYBODY},
}

INGEST = ("/ez", "/c", "/v")
#: What stands for a part of a path that is not fixed.
VARIABLE = {
    "/x": "{secret}",
    "/stats": "{stat}",
    "/trash": "{stat}",
    "/alerts": "{alert}",
    "/channels": "{channel}",
    "/boards": "{board}",
    "/compare": "{comparison}",
    "/sign-in": "{secret}",
    "/shared": "{secret}",
}
#: Names that a resource may take for an id or a secret.
PROBES = (b"zzz", b"a" * 16, b"1")
#: The resources that answer that there is nothing.
NOTHING = {"NotFound", "MissingPage", "UnknownPage", "_Nothing", "_UnsafeNoResource"}
#: The resources that only have others below them.
FOLDERS = {
    "Branch",
    "ChartAssets",
    "PageAssets",
    "ExportApi",
    "CommandLineApi",
    "GraphiteApi",
    "SharedPages",
    "_BelowChannel",
}


def below(resource: Any, path: str) -> Iterator[tuple[str, Any]]:
    """What is below a resource: paths and resources."""
    for name in resource.listNames():
        yield f"{path}/{name.decode()}", resource.children[name]
    if hasattr(resource, "paths"):
        for name in resource.paths:
            yield f"{path}/{{secret}}/{name}", Resource()
    elif not resource.isLeaf:
        for probe in PROBES:
            found = resource.getChild(probe, DummyRequest([]))
            if type(found).__name__ not in NOTHING and found is not resource:
                yield f"{path}/{VARIABLE.get(path, '{UNKNOWN}')}", found
                return


def routes(resource: Any, path: str = "") -> Iterator[str]:
    """The routes below a resource, without those of folders."""
    for below_path, found in below(resource, path):
        if type(found).__name__ not in FOLDERS:
            yield below_path
        yield from routes(found, below_path)


@dataclass(frozen=True)
class Credential:
    """
    Something that may let a client in. It is tried wherever a route takes one.

    :ivar secret: the key, token or secret of a link.
    :ivar cookie: the session; by default the secret.
    :ivar fields: other fields of a form, where they are not the secret; the keys of
        stats by the route.
    """

    secret: str = ""
    cookie: str = ""
    fields: tuple[tuple[str, str], ...] = ()

    @property
    def headers(self) -> Any:
        """The headers that have it."""
        headers = {"Origin": "http://localhost"}
        if self.secret:
            basic = b64encode(f"{self.secret}:".encode()).decode()
            headers["Authorization"] = f"Basic {basic}"
            headers["Cookie"] = f"txstathat-80={self.cookie or self.secret}"
        return headers

    def form(self, route: str) -> dict[str, str]:
        """The fields that have it, with a whole point for the ingest."""
        fields = dict(self.fields)
        if route == "/ez":
            return {"ezkey": self.secret, "stat": SECRET_STAT, "count": "1"}
        if route in INGEST:
            keys = {"ukey": "ukey", "key": route}
            amount = {"/c": "count", "/v": "value"}[route]
            found = {name: fields.get(at, self.secret) for name, at in keys.items()}
            return {**found, amount: "1"}
        return {"token": self.secret, "action": "delete", "title": "x"}


class RouteTests(SynchronousTestCase):
    """Routes and credentials."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.here = Collector(self)
        self.parts = self.here.parts
        self.now = self.here.now
        names = (SECRET_STAT, SHARED_STAT)
        points = batch(*(Count(name) for name in names))
        self.successResultOf(self.parts.archive.add(points))
        tile = Tile("1", "number", (SECRET_STAT,))
        board = self.now(self.parts.boards.boards.create(Board("b", (tile,))))
        saved = Comparison("c", (SECRET_STAT,), "1w3h")
        comparison = self.now(self.parts.boards.comparisons.create(saved))
        stat = self.now(self.parts.archive.stat(SECRET_STAT))
        fields = {"kind": "data", "time_window": "1h"}
        alert = parse_alert(fields, stat, self.parts.archive.retention, str)
        self.now(self.parts.alerts.create(alert))
        hook = {"kind": "webhook", "name": "hook", "url": "https://h.example/"}
        self.now(self.parts.channels.create(hook))
        self.ids = {
            "channel": "hook",
            "stat": stat_id(SECRET_STAT),
            "alert": alert.id,
            "board": board,
            "comparison": comparison,
        }

    def credentials(self) -> dict[str, Credential]:
        """One of each kind."""
        keys, sessions, shares = self.parts.keys, self.parts.sessions, self.parts.shares
        classic = (
            ("ukey", self.here.user),
            ("/c", self.now(keys.add("stat", "of a counter", SECRET_STAT))),
            ("/v", self.now(keys.add("stat", "of a value", f"{SECRET_STAT} ms"))),
        )
        found = {
            "no key": Credential(),
            "write key": Credential(self.here.ez, fields=classic),
        }
        tokens = {"token": "access", "read-only token": "read", "revoked": "access"}
        for name, kind in tokens.items():
            if kind in KINDS:
                token = self.now(keys.add(kind, name))
                found[name] = Credential(token, self.now(sessions.open(token)))
        self.now(keys.revoke("revoked"))
        for name in ("shared link", "revoked link"):
            found[name] = Credential(self.now(shares.create("stat", SHARED_STAT)))
        self.now(shares.revoke(hash_key(found["revoked link"].secret)))
        return found

    def stored(self) -> Any:
        """All that the store has, but sessions."""
        kinds = {reader.kind for reader in self.parts.record_readers} - {"session"}
        records = {
            kind: self.successResultOf(self.here.store.records(kind)) for kind in kinds
        }
        return records, self.now(self.parts.archive.totals())

    def ask(
        self, method: str, route: str, credential: Credential
    ) -> tuple[int, str, bytes]:
        """Send a request; the status, where it leads to, and the body."""
        secret = quote(credential.secret or "none", safe="")
        path = route.format(secret=secret, **self.ids)
        form = credential.form(route)
        client = HTTPClient(self.here.agent, data_to_body_producer=RequestBody)
        asked = client.request(
            method,
            f"http://localhost{path}",
            params=form if route in INGEST and method == "GET" else None,
            data=form if method == "POST" else None,
            headers=credential.headers,
            allow_redirects=False,
        )
        self.here.agent.flush()
        answers: list[Any] = []
        asked.addCallback(answers.append)
        while not answers:
            # Refusals to an address that sent many wrong keys are delayed.
            self.clock.advance(HOLD_SECONDS)
            self.here.agent.flush()
        (response,) = answers
        location = response.headers.getRawHeaders("location", [""])[0]
        return response.code, location, self.successResultOf(response.content())

    def test_every_route_has_a_row(self) -> None:
        """The tree of resources has the routes of the table, and no others."""
        self.assertEqual(sorted(set(routes(self.parts.root))), sorted(TABLE))

    def test_who_gets_in(self) -> None:
        """
        Each route lets in who may use it. To others it says nothing about a stat, and
        they change nothing in the store.
        """
        for name, credential in self.credentials().items():
            before = self.stored()
            for route, methods in TABLE.items():
                allowed = [each for each in METHODS if name in methods.get(each, ())]
                for method in METHODS:
                    if method not in allowed:
                        self.check(name, credential, method, route, allowed=False)
                self.assertEqual(self.stored(), before, (name, route))
                for method in allowed:
                    self.check(name, credential, method, route, allowed=True)
                if set(allowed) - {"GET"} or route in INGEST:
                    before = self.stored()
                if route == "/sign-out" and self.parts.keys.may_read(credential.secret):
                    session = self.now(self.parts.sessions.open(credential.secret))
                    credential = replace(credential, cookie=session)

    def check(
        self,
        name: str,
        credential: Credential,
        method: str,
        route: str,
        *,
        allowed: bool,
    ) -> None:
        """Check one answer."""
        self.now(self.parts.keys.load())
        code, location, body = self.ask(method, route, credential)
        where = (name, method, route, code, location)
        refused = code in (401, 403, 429) or location.startswith("/sign-in")
        if route in INGEST:
            refused = refused or code == 400
        if route == "/sign-out":
            refused = not allowed
        if method not in TABLE[route]:
            self.assertTrue(refused or code in (404, 405), where)
        else:
            self.assertEqual(refused, not allowed, where)
            self.assertNotIn(code, (405, 500), where)
        if name not in READERS:
            self.assertNotIn(SECRET_STAT.encode(), body, where)
