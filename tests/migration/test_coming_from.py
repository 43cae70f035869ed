"""
Every line of "Coming from other clients": the new call runs, and does what the page says.
"""

from __future__ import annotations

import os
import sys
from decimal import Decimal
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar

from click.testing import CliRunner
from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred
from twisted.internet.error import TimeoutError
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.protocols.policies import WrappingFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.server import Site

import txstathat
from tests.fixtures import ROOT
from tests.fixtures.migration_pages import EveryLine, literals, read_tables
from tests.fixtures.support import reactor
from txstathat import Count, InvalidPoint, StatHatAPIError, Value, blocking, txStatHat
from txstathat.cli.commands import txstathat as command
from txstathat.client import API_URL
from txstathat.export import StatHatExport
from txstathat.testing import FakeStatHat

PAGE = "coming-from.rst"


def set_url(case: Any, url: str | None) -> None:
    """
    Set the server's URL in the environment, until the test ends.

    :param url: the URL; ``None`` for none.
    """

    def change(url: str | None) -> None:
        if url is None:
            os.environ.pop("TXSTATHAT_URL", None)
        else:
            os.environ["TXSTATHAT_URL"] = url

    case.addCleanup(change, os.environ.get("TXSTATHAT_URL"))
    change(url)


class PageTests(SynchronousTestCase):
    """The page as a whole."""

    def test_tables(self) -> None:
        """The page has these tables, and all are tried."""
        classes: list[type[EveryLine]] = [ServerTests, OldClientTests, ObjectTests]
        self.assertEqual(set(read_tables(PAGE)), {one.heading for one in classes})


class ServerTests(EveryLine, SynchronousTestCase):
    """StatHat.com, and a server of one's own."""

    page = PAGE
    heading = "From StatHat.com"
    lines: ClassVar[dict[str, str]] = {
        (
            "programs that post to ``https://api.stathat.com``, in any language"
        ): "test_url",
        "your account's EZ key, user key and access token": "test_keys",
        "the pages at ``www.stathat.com``": "test_pages",
        "alerts": "test_alerts",
        "the export API at ``https://www.stathat.com/x/TOKEN``": "test_export",
        "the command ``stathat``": "test_commands",
        "the data that you saved before the end": "test_import",
    }

    def help(self, *arguments: str) -> str:
        """What a command of ours says of itself."""
        result = CliRunner().invoke(command, [*arguments, "--help"])
        self.assertEqual(result.exit_code, 0, result.output)
        return str(result.output)

    def linked(self) -> str:
        """The page that the line links to."""
        name = self.right().partition(":doc:`")[2].partition("`")[0]
        return (ROOT / "docs" / f"{name}.rst").read_text()

    def test_url(self) -> None:
        """TXSTATHAT_URL names the server for this package."""
        self.assertEqual(self.code(), "TXSTATHAT_URL")
        set_url(self, "https://stats.example.org")
        client = txStatHat("key", agent=FakeStatHat().agent)
        self.assertEqual(repr(client), "<txStatHat at https://stats.example.org>")

    def test_keys(self) -> None:
        """A command makes more keys."""
        program, *arguments = self.code().split()
        self.assertEqual(program, "txstathat")
        self.assertIn("Usage", self.help(*arguments))

    def test_pages(self) -> None:
        """The server has pages."""
        self.assertIn("page", self.linked())

    def test_alerts(self) -> None:
        """Alerts are posted to a webhook."""
        self.assertIn("webhook", self.linked())
        self.assertIn("--webhooks", self.help("serve"))

    def test_export(self) -> None:
        """The export API is at the same path."""
        fake = FakeStatHat()
        reader = StatHatExport("TOKEN", url="https://a.example", agent=fake.agent)
        reader.stats().addErrback(lambda _: None)
        self.assertTrue(fake.requests[0].path.startswith(f"{self.code()}/"))

    def test_commands(self) -> None:
        """The commands are there."""
        commands = self.help()
        for code in literals(self.right()):
            self.assertIn(code.split()[-1], commands)

    def test_import(self) -> None:
        """Saved data is imported."""
        self.assertIn("Usage", self.help(*self.code().split()[1:]))


class OldClientTests(EveryLine, SynchronousTestCase):
    """txStatHat 0.2."""

    page = PAGE
    heading = "From txStatHat 0.2"
    lines: ClassVar[dict[str, str]] = {
        "``txStatHat('key')``": "test_client",
        "``txStatHat('key', ignore_errors=False)``": "test_ignore_errors",
        "``https://api.stathat.com``": "test_url",
        "``txstathat.API_URI``, ``txstathat.have_ssl``": "test_module_names",
        "``sh.ignore_errors``, ``sh.default_args``": "test_attributes",
        "``sh.count('a')``, ``sh.count('a', 42)``": "test_count",
        "``sh.count('a', '5')``, numbers as text": "test_text",
        "``sh.value('a', 0.42)``": "test_value",
        "``txStatHatApiException`` with ``.status`` and ``.message``": "test_exception",
        "with ``ignore_errors`` the client does not read the answer": "test_answer_read",
        "a connection for each call": "test_connections",
        "plain HTTP without pyOpenSSL": "test_https",
        "no time limit of its own": "test_timeout",
        "Python 2": "test_python",
    }

    def setUp(self) -> None:
        self.fake = FakeStatHat()
        set_url(self, None)

    def client(self, **options: Any) -> txStatHat:
        return txStatHat("key", agent=self.fake.agent, **options)

    def test_client(self) -> None:
        """The only argument that is needed is the key."""
        self.assertTrue(self.right().startswith("the same"))
        self.assertEqual(self.successResultOf(self.client().count("a")), True)

    def test_ignore_errors(self) -> None:
        """Errors come through for a client, or for one call."""
        self.fake.answer(500, times=2)
        called = self.client(ignore_errors=False).count("a")
        self.failureResultOf(called, StatHatAPIError)
        called = eval(f"sh.count('a', {self.code()}False)", {"sh": self.client()})
        self.failureResultOf(called, StatHatAPIError)

    def test_url(self) -> None:
        """StatHat is the default, a URL or a variable names another server."""
        self.assertEqual(literals(self.right()), ["url=", "TXSTATHAT_URL"])
        self.assertEqual(repr(self.client()), "<txStatHat at https://api.stathat.com>")
        there = self.client(url="https://a.example")
        self.assertEqual(repr(there), "<txStatHat at https://a.example>")

    def test_module_names(self) -> None:
        """The URL has another name, and HTTPS needs no flag."""
        self.assertEqual(API_URL, "https://api.stathat.com")
        self.assertEqual(self.code(), "txstathat.client.API_URL")
        for name in ("API_URI", "have_ssl"):
            self.assertFalse(hasattr(txstathat, name))

    def test_attributes(self) -> None:
        """A client does not show what it was made with."""
        self.assertIn("the key is a secret", self.right())
        client = txStatHat("s3cret", agent=self.fake.agent)
        for name in ("ignore_errors", "default_args"):
            self.assertFalse(hasattr(client, name))
        self.assertNotIn("s3cret", repr(client))

    def test_count(self) -> None:
        """The Deferred fires with True or False."""
        self.assertIn("``True`` or ``False``", self.right())
        client = self.client()
        self.assertIs(self.successResultOf(client.count("a")), True)
        self.assertIs(self.successResultOf(client.count("a", 42)), True)
        self.fake.answer(500)
        self.assertIs(self.successResultOf(client.count("a")), False)
        self.assertEqual(self.fake.points, [Count("a", 1), Count("a", 42)])

    def test_text(self) -> None:
        """A number as text is refused, with a clear line."""
        text: Any = "5"
        called = self.client(ignore_errors=False).count("a", text)
        error = self.failureResultOf(called, InvalidPoint).value
        self.assertIn("must be a number, not '5'", str(error))
        self.assertIs(self.successResultOf(self.client().count("a", text)), False)
        amount = eval(literals(self.right())[-1])
        self.assertIs(self.successResultOf(self.client().count("a", amount)), True)
        self.assertEqual(self.fake.points, [Count("a", 5)])

    def test_value(self) -> None:
        """Values; Decimals are exact."""
        self.assertIn("a Decimal is sent exactly", self.right())
        exact = "0.1234567890123456789"
        self.successResultOf(self.client().value("a", 0.42))
        self.successResultOf(self.client().value("a", Decimal(exact)))
        self.assertEqual(self.fake.points[0], Value("a", 0.42))
        self.assertIn(exact.encode(), self.fake.requests[1].body)

    def test_exception(self) -> None:
        """The old name of the exception stays; its message is .msg."""
        self.assertIn("``.msg``", self.right())
        self.fake.answer(500, '{"status": 500, "msg": "no"}')
        called = self.client(ignore_errors=False).count("a")
        error = self.failureResultOf(called, txstathat.txStatHatApiException).value
        self.assertEqual((error.status, error.msg), (500, "no"))
        self.assertFalse(hasattr(error, "message"))

    def test_answer_read(self) -> None:
        """The answer decides, also while errors are ignored."""
        self.assertIn("fires with ``True`` or ``False``", self.right())
        self.fake.answer(200, '{"status": 500, "msg": "no"}')
        self.assertIs(self.successResultOf(self.client().count("a")), False)

    def test_connections(self) -> None:
        """Connections are reused; the page of benchmarks says what this gives."""
        self.assertIn("connections are reused", self.right())
        page = self.right().partition(":doc:`")[2].partition("`")[0]
        text = (ROOT / "docs" / f"{page}.rst").read_text()
        self.assertIn("connection", text)

    def test_https(self) -> None:
        """Plain HTTP is for URLs that say so."""
        self.assertIn("``http://``", self.right())
        self.successResultOf(self.client().count("a"))
        self.assertIn("https", repr(self.client()))
        local = self.client(url="http://127.0.0.1:8080")
        self.assertEqual(repr(local), "<txStatHat at http://127.0.0.1:8080>")

    def test_timeout(self) -> None:
        """The time limit is that of the page."""
        (seconds,) = (eval(f"dict({self.code()})")["timeout"],)
        clock = Clock()
        self.fake.hang()
        called = self.client(reactor=clock, ignore_errors=False).count("a")
        clock.advance(seconds - 0.1)
        self.assertNoResult(called)
        clock.advance(0.2)
        self.failureResultOf(called, TimeoutError)

    def test_python(self) -> None:
        """The oldest Python is that of the package."""
        self.assertIn("3.11", self.right())
        self.assertGreaterEqual(sys.version_info, (3, 11))
        settings = ROOT / "setup.cfg"
        self.assertIn("python_requires = >=3.11", settings.read_text())


class ObjectTests(EveryLine, TestCase):
    """python-stathat, against a server on the loopback interface."""

    timeout = 30
    page = PAGE
    heading = "From python-stathat"
    lines: ClassVar[dict[str, str]] = {
        "``StatHatEZ('key', 'a').count(5)``": "test_count",
        "``StatHatEZ('key', 'a').value(0.5)``": "test_value",
        "``StatHatEZ('key', 'a').tick()``": "test_tick",
        "``StatHat('user', 'stat key').count(5)``": "test_classic_count",
        "``StatHat('user', 'stat key').value(0.5)``": "test_classic_value",
        "``async=True`` (gevent), errors dropped": "test_async",
        "``async=False``, raises ``StatHatError``": "test_not_async",
        "``StatHatError``": "test_error",
        "``has_async()``": "test_has_async",
    }

    def setUp(self) -> None:
        self.fake = FakeStatHat()
        site = Site(self.fake.resource)
        site.noisy = False
        self.factory = WrappingFactory(site)
        self.factory.noisy = False
        port = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        self.addCleanup(self.all_closed)
        self.addCleanup(port.stopListening)
        set_url(self, f"http://127.0.0.1:{port.getHost().port}")
        #: What the code of the page uses.
        self.names: dict[str, Any] = {
            "txStatHat": lambda key: self.remembered(txStatHat(key)),
            "blocking": SimpleNamespace(
                **{name: getattr(blocking, name) for name in blocking.__all__}
            ),
        }
        for made in (blocking.txStatHat, blocking.txStatHatClassic):
            make = partial(self.made_blocking, made)
            setattr(self.names["blocking"], made.__name__, make)

    @inlineCallbacks
    def all_closed(self) -> Any:
        """Wait until the server has seen that all clients are closed."""
        while self.factory.protocols:
            yield deferLater(reactor, 0)

    def remembered(self, client: Any) -> Any:
        self.addCleanup(client.close)
        return client

    def made_blocking(self, make: Any, *args: Any, **options: Any) -> Any:
        client = make(*args, **options)
        self.addCleanup(deferToThread, client.close)
        return client

    def run_code(self, code: str) -> Deferred[Any]:
        """
        Run a call of the page: a blocking one in a thread, as it is meant.
        """
        run = deferToThread if code.startswith("blocking.") else maybeDeferred
        called: Deferred[Any] = run(eval, code, self.names)
        return called

    @inlineCallbacks
    def sends(self, *points: Any) -> Any:
        """Each call that the page has beside the line sends one point."""
        calls = [code for code in literals(self.right()) if code.endswith(")")]
        self.assertEqual(len(calls), len(points))
        for code in calls:
            self.assertIs((yield self.run_code(code)), True)
        self.assertEqual(self.fake.points, list(points))

    def test_count(self) -> Any:
        """Count, with an object or at once."""
        return self.sends(Count("a", 5), Count("a", 5))

    def test_value(self) -> Any:
        """Measure, with an object or at once."""
        return self.sends(Value("a", 0.5), Value("a", 0.5))

    def test_tick(self) -> Any:
        """Count by one."""
        return self.sends(Count("a", 1))

    def test_classic_count(self) -> Any:
        """Count with the Classic API."""
        return self.sends(Count("stat key", 5), Count("stat key", 5))

    def test_classic_value(self) -> Any:
        """Measure with the Classic API."""
        return self.sends(Value("stat key", 0.5), Value("stat key", 0.5))

    @inlineCallbacks
    def test_async(self) -> Any:
        """Nothing blocks, and failures are swallowed."""
        self.assertIn("nothing blocks, failures are swallowed", self.right())
        set_url(self, "http://127.0.0.1:9")
        client = eval(self.code(), self.names)
        called = client.count("a")
        self.assertNoResult(called)
        self.assertIs((yield called), False)

    @inlineCallbacks
    def test_not_async(self) -> Any:
        """Failures come through, trouble with the network too."""
        set_url(self, "http://127.0.0.1:9")
        called = self.run_code(f"{self.code()}.count('a')")
        yield self.assertFailure(called, txstathat.StatHatError)

    def test_error(self) -> None:
        """The base of all errors has the same name."""
        base = eval(self.code(), self.names)
        self.assertIs(base, txstathat.StatHatError)
        self.assertTrue(issubclass(StatHatAPIError, base))

    def test_has_async(self) -> None:
        """There is no such question."""
        self.assertEqual(self.right(), "not needed")
        self.assertFalse(hasattr(txstathat, "has_async"))
