"""
The collector behind reverse proxies, configured as in docs/own-server.rst.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
from http.client import HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import trustme
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Request

from tests.fixtures import ROOT
from tests.fixtures.collector_drills import Server
from tests.fixtures.stores import free_port, wait_until
from tests.fixtures.support import logged, require_program
from txstathat.collector.auth.throttle import MAX_WRONG
from txstathat.collector.web.resources import address_of
from txstathat.collector.web.site import CollectorSite

DOCS = ROOT / "docs"
FORM = "application/x-www-form-urlencoded"


class AddressTests(SynchronousTestCase):
    """
    ``address_of``: the address of a client behind proxies.
    """

    def address(self, proxies: int, *forwarded: str) -> str:
        """The client's address, with these headers and so many trusted proxies."""
        seen: list[str] = []

        class Root(Resource):
            isLeaf = True

            def render(self, request: Request) -> bytes:
                seen.append(address_of(request))
                return b""

        channel: Any = CollectorSite(Root(), Clock(), proxies=proxies).buildProtocol(
            IPv4Address("TCP", "192.0.2.1", 1)
        )
        transport = StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.1", 1))
        channel.makeConnection(transport)
        lines = "".join(f"X-Forwarded-For: {line}\r\n" for line in forwarded)
        channel.dataReceived(f"GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
        (address,) = seen
        return address

    def test_no_proxies(self) -> None:
        """Without proxies the header is ignored."""
        self.assertEqual(self.address(0, "203.0.113.7"), "192.0.2.1")

    def test_proxies(self) -> None:
        """Each proxy has an entry, counted from the end; earlier ones are ignored."""
        lines = ("198.51.100.1, 203.0.113.7", "2001:DB8::7")
        self.assertEqual(self.address(1, *lines), "2001:db8::7")
        self.assertEqual(self.address(2, *lines), "203.0.113.7")
        self.assertEqual(self.address(3, *lines), "198.51.100.1")
        # The interface after % can be any text.
        self.assertEqual(self.address(1, "fe80::1%\x1b[31m"), "fe80::1")

    def test_no_valid_address(self) -> None:
        """Without enough entries, or a valid one, the connection's address counts."""
        for proxies, *lines in (
            (1,),
            (2, "203.0.113.7"),
            (1, ""),
            (1, "203.0.113.7,"),
            (1, "unknown"),
            (1, "203.0.113.7:1234"),
        ):
            self.assertEqual(self.address(proxies, *lines), "192.0.2.1", lines)


class AccessLogTests(SynchronousTestCase):
    """
    What a client sends, in the access log.
    """

    def test_control_characters(self) -> None:
        """No control character of a client reaches the log."""
        site = CollectorSite(Resource(), Clock(), proxies=1, access_log=True)
        channel: Any = site.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1))
        transport = StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.1", 1))
        channel.makeConnection(transport)
        with logged() as log:
            channel.dataReceived(
                b"GET /abc HTTP/1.1\r\nHost: x\r\n"
                b"X-Forwarded-For: fe80::1%\x1b[31m\r\n\r\n"
            )
        (line,) = log.at_level("info")
        self.assertTrue(line.isprintable(), line)
        self.assertTrue(line.startswith("fe80::1 GET /… "), line)


class HAProxyTests(SynchronousTestCase):
    """
    HAProxy's PROXY protocol.
    """

    def test_address(self) -> None:
        """The client's address is the one in the PROXY protocol."""
        port = free_port()
        server = Server(
            f"sqlite://{Path(self.mktemp()).absolute()}",
            *("--access-log", "--listen", f"haproxy:tcp:{port}:interface=127.0.0.1"),
        )
        self.addCleanup(server.kill)
        with socket.create_connection(("127.0.0.1", port), 10) as one:
            one.sendall(
                b"PROXY TCP4 203.0.113.7 127.0.0.1 56324 443\r\n"
                b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            )
            self.assertTrue(one.recv(100).startswith(b"HTTP/1.1 200 "))
        self.assertIn("203.0.113.7 GET /healthz 200", server.kill())


class NginxTests(SynchronousTestCase):
    """
    A collector behind nginx, with the documented configuration.
    """

    def setUp(self) -> None:
        self.nginx = require_program("nginx", "nginx-light")
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.server = Server(
            f"sqlite://{self.folder}/stats", "--proxies", "1", "--access-log"
        )
        self.addCleanup(self.server.kill)
        self.port = free_port()
        authority = trustme.CA()
        self.context = ssl.create_default_context(
            cadata=authority.cert_pem.bytes().decode()
        )
        leaf = authority.issue_cert("localhost")
        certificate = self.folder / "certificate.pem"
        leaf.private_key_and_cert_chain_pem.write_to_path(certificate)
        self.configure(
            (self.documented(), "127.0.0.1:8080", f"127.0.0.1:{self.server.port}"),
            ("", "listen 443", f"listen 127.0.0.1:{self.port}"),
            ("", "/etc/ssl/certs/stats.example.com.pem", str(certificate)),
            ("", "/etc/ssl/private/stats.example.com.key", str(certificate)),
            ("", "/var/log/nginx/error.log", f"{self.folder}/error.log"),
        )
        command = [self.nginx, "-p", str(self.folder), "-c", "nginx.conf"]
        command += ["-e", f"{self.folder}/error.log", "-g", "daemon off;"]
        self.proxy = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.addCleanup(self.proxy.wait)
        self.addCleanup(self.proxy.terminate)
        wait_until(lambda: not self.refused())

    def documented(self) -> str:
        """The configuration of nginx in the documentation."""
        text = (DOCS / "own-server.rst").read_text()
        (block,) = re.findall(r"code-block:: nginx\n\n((?:   .*\n|\n)+)", text)
        return str(block)

    def configure(self, *changes: tuple[str, str, str]) -> None:
        """Write the configuration, with other ports and files."""
        site = changes[0][0]
        for _, there, here in changes:
            self.assertIn(there, site)
            site = site.replace(there, here)
        temporary = "".join(
            f"{kind}_temp_path {self.folder}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (self.folder / "nginx.conf").write_text(
            f"user root;\nworker_processes 1;\npid {self.folder}/pid;\n"
            f"events {{}}\nhttp {{\n{temporary}access_log {self.folder}/access.log;\n"
            f"{site}}}\n"
        )

    def refused(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 10).close()
        except OSError:
            return True
        return False

    def ask(
        self, method: str, path: str, body: str | None = None, **more: Any
    ) -> tuple[HTTPResponse, bytes]:
        """Send a request through nginx; the response and its body."""
        source = (more.pop("source", "127.0.0.1"), 0)
        connection = HTTPSConnection(
            "localhost",
            self.port,
            timeout=300,
            context=self.context,
            source_address=source,
        )
        headers = {name.replace("_", "-"): value for name, value in more.items()}
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def test_points(self) -> None:
        """Forms, lists, GET requests and ``~`` names pass through nginx."""
        ez, token = self.server.keys["EZ key"], self.server.keys["access token"]
        form = urlencode({"ezkey": ez, "stat": "a/b?~c,d", "count": "2"})
        many = {"ezkey": ez, "data": [{"stat": "e~f,\u00e9", "value": 0.5}]}
        for response, answer in (
            self.ask("POST", "/ez", form, Content_Type=FORM),
            self.ask("POST", "/ez", json.dumps(many), Content_Type="application/json"),
            self.ask("GET", f"/ez?{form}"),
        ):
            self.assertEqual(response.status, 200, answer)
            self.assertEqual(json.loads(answer)["msg"], "ok")
        _, listed = self.ask("GET", f"/x/{token}/statlist")
        names = [stat["name"] for stat in json.loads(listed)]
        self.assertEqual(names, ["a/b? c", "a/b? d", "e f", "e \u00e9"])
        _, found = self.ask("GET", f"/x/{token}/stat?name={quote('a/b? c', safe='')}")
        _, data = self.ask("GET", f"/x/{token}/data/{json.loads(found)['id']}?t=1d1h")
        self.assertEqual(json.loads(data)[0]["points"][-1]["value"], 4)
        response, _ = self.ask("POST", "/ez", " " * (2**20 + 1), Content_Type=FORM)
        self.assertEqual(response.status, 413)

    def test_pages(self) -> None:
        """Signing in works, and the cookie is only for HTTPS."""
        here = f"https://localhost:{self.port}"
        form = urlencode({"token": self.server.keys["access token"]})
        response, _ = self.ask("POST", "/sign-in", form, Content_Type=FORM, Origin=here)
        self.assertEqual((response.status, response.getheader("Location")), (303, "/"))
        cookie, *attributes = (response.getheader("Set-Cookie") or "").split("; ")
        for attribute in ("secure", "httponly", "samesite=strict"):
            self.assertIn(attribute, [each.lower() for each in attributes])
        response, page = self.ask("GET", "/", Cookie=cookie)
        self.assertEqual(response.status, 200)
        self.assertIn(f"{here}/ez".encode(), page)

    def test_wrong_keys(self) -> None:
        """They are slowed down by the real address of the client, which it cannot forge."""
        wrong = urlencode({"ezkey": "wrong", "stat": "a", "count": "1"})

        def status(**more: str) -> int:
            return self.ask("POST", "/ez", wrong, Content_Type=FORM, **more)[0].status

        for number in range(MAX_WRONG):
            lie = f"198.51.100.{number}"
            self.assertEqual(status(X_Forwarded_For=lie), 403)
        self.assertEqual(status(X_Forwarded_For="198.51.100.99"), 429)
        self.assertEqual(status(source="127.0.0.2"), 403)

    def test_logs(self) -> None:
        """No key or token is in any log, even if the collector is down."""
        ez, token = self.server.keys["EZ key"], self.server.keys["access token"]
        self.ask("GET", f"/x/{token}/statlist", source="127.0.0.2")
        self.ask("GET", f"/ez?ezkey={ez}&stat=a&count=1")
        log = self.server.kill()
        self.assertIn("127.0.0.2 GET /x 200", log)
        for path in (f"/x/{token}/statlist", f"/ez?ezkey={ez}&stat=a&count=1"):
            self.assertEqual(self.ask("GET", path)[0].status, 502)
        logs = [log, *(path.read_text() for path in self.folder.glob("*.log"))]
        for secret in (ez, token):
            self.assertNotIn(secret, "".join(logs))
