"""
The ways of running: other reactors, threads, programs without a reactor, trial.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from twisted.internet.defer import inlineCallbacks
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.fixtures import ROOT
from tests.fixtures.support import reactor
from txstathat import txStatHat
from txstathat.collector.archive.stats import Total
from txstathat.collector.web.site import CollectorSite
from txstathat.testing import FakeStatHat

SERVER = """
from twisted.internet import reactor
from txstathat.collector.web.site import CollectorSite
from txstathat.testing import FakeStatHat
fake = FakeStatHat()
site = CollectorSite(fake.resource, reactor)
"""

ASYNCIO = (
    """
from twisted.internet import asyncioreactor
asyncioreactor.install()
import asyncio
from twisted.internet.task import react
from txstathat import txStatHat
%s
async def main(reactor):
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    url = f"http://127.0.0.1:{port.getHost().port}"
    sh = txStatHat("key", url=url, ignore_errors=False)
    assert await sh.count("awaited")
    async def in_asyncio():
        return await sh.count("from asyncio").asFuture(asyncio.get_event_loop())
    from twisted.internet.defer import Deferred
    assert await Deferred.fromFuture(asyncio.ensure_future(in_asyncio()))
    await sh.close()
    await port.stopListening()
    print(sorted(fake.summaries))
from twisted.internet.defer import ensureDeferred
react(lambda reactor: ensureDeferred(main(reactor)))
"""
    % SERVER
)

CROCHET = (
    """
import crochet
crochet.setup()
from twisted.internet import reactor
%s
from txstathat import txStatHat

@crochet.wait_for(timeout=120)
def start():
    return reactor.listenTCP(0, site, interface="127.0.0.1").getHost().port

@crochet.run_in_reactor
def count(stat):
    return sh.count(stat)

sh = txStatHat("key", url=f"http://127.0.0.1:{start()}", ignore_errors=False)
print(count("blocking").wait(timeout=120), sorted(fake.summaries))
"""
    % SERVER
)


class ProgramTests(SynchronousTestCase):
    """
    Whole programs.
    """

    def run_program(self, code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error::ResourceWarning", "-c", code],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=ROOT,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_asyncio_reactor(self) -> None:
        """On asyncio's loop, awaited by Twisted's coroutines and by asyncio's own."""
        self.assertEqual(self.run_program(ASYNCIO), "['awaited', 'from asyncio']\n")

    def test_crochet(self) -> None:
        """A blocking program counts through crochet."""
        self.assertEqual(self.run_program(CROCHET), "True ['blocking']\n")


class ThreadTests(TestCase):
    """
    Other threads of a Twisted program.
    """

    def setUp(self) -> None:
        self.fake = FakeStatHat()
        site = CollectorSite(self.fake.resource, reactor)
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        url = f"http://127.0.0.1:{port.getHost().port}"
        self.client = txStatHat("key", url=url, ignore_errors=False)
        self.addCleanup(self.client.close)

    @inlineCallbacks
    def test_waiting_in_a_thread(self) -> Any:
        """blockingCallFromThread gives a thread the outcome."""
        taken = yield deferToThread(
            blockingCallFromThread, reactor, self.client.count, "a", 2
        )
        self.assertIs(taken, True)
        self.assertEqual(self.fake.summaries["a"], Total("count", 1, 2))

    @inlineCallbacks
    def test_counting_from_a_thread(self) -> Any:
        """callFromThread counts without waiting."""
        for _ in range(10):
            yield deferToThread(reactor.callFromThread, self.client.count, "a")
        yield self.client.close()
        self.assertEqual(self.fake.summaries["a"].sum, 10)
