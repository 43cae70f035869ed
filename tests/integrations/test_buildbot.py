"""
Buildbot: a real master with a worker, and the service with as much of a master as it
uses.
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from buildbot.config.errors import ConfigErrors
from buildbot.statistics.storage_backends.base import StatsStorageBase
from buildbot.util.service import BuildbotServiceManager, MasterService
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock, deferLater
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.fixtures import ROOT
from tests.fixtures.children import Child
from tests.fixtures.support import logged, reactor
from txstathat.collector.web.site import CollectorSite
from txstathat.integrations.buildbot import (
    MAX_BUILDERS,
    StatHatBuilds,
    StatHatStorage,
)
from txstathat.testing import FakeStatHat, MemoryStatHat

RUN = "from buildbot.scripts.runner import run; run()"
# Other settings for the service, a build that fails, and one without a worker.
RECONFIGURED = """
from txstathat import StatHatService, txStatHat


def make_stats(ezkey):
    return StatHatService(txStatHat(ezkey, url=server), interval=0.1)


c["services"][0] = StatHatBuilds(
    make_stats=make_stats,
    arguments={"ezkey": util.Secret("ezkey")},
    interval=0.2,
    count="later {builder} {result}",
)
c["workers"].append(worker.Worker("absent", "password"))
c["protocols"]["pb"] = {"port": "tcp:0:interface=127.0.0.1"}
c["builders"] += [
    util.BuilderConfig(
        "broken",
        workernames=["local"],
        factory=util.BuildFactory([steps.ShellCommand(command=["false"])]),
    ),
    util.BuilderConfig("idle", workernames=["absent"], factory=count_words),
]
c["schedulers"].append(
    schedulers.Periodic(
        "again", builderNames=["broken", "idle"], periodicBuildTimer=3600
    )
)
"""


class MasterTests(TestCase):
    """What arrives at a StatHat when a master builds."""

    timeout = 120

    def setUp(self) -> None:
        self.received = FakeStatHat(lambda api, key: key == "canary-key")
        site: Any = CollectorSite(self.received.resource, reactor)
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TXSTATHAT_URL": f"http://127.0.0.1:{port.getHost().port}",
        }
        self.folder = Path(self.mktemp()).absolute()

    async def create(self) -> None:
        """Make a master's folder with the example's configuration."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        arguments = ["-c", RUN, "create-master", "-q", str(self.folder)]
        out, err, status = await getProcessOutputAndValue(
            sys.executable, arguments, env=self.environ
        )
        self.assertEqual(status, 0, out + err)
        self.config = (ROOT / "examples" / "master.cfg").read_text()
        (self.folder / "master.cfg").write_text(self.config)
        secrets = self.folder / "secrets"
        secrets.mkdir(mode=0o700)
        (secrets / "ezkey").touch(mode=0o600)
        (secrets / "ezkey").write_text("canary-key\n")

    def start(self) -> Child:
        child = Child()
        process = reactor.spawnProcess(
            child,
            sys.executable,
            [sys.executable, "-c", RUN, "start", "--nodaemon", str(self.folder)],
            env=self.environ,
            path=str(self.folder),
        )

        def end() -> None:
            if child.status is None:
                process.signalProcess("KILL")

        self.addCleanup(end)
        self.process = process
        return child

    @property
    def log(self) -> str:
        return (self.folder / "twistd.log").read_text()

    async def arrival(self, stat: str, least: float = 0.0) -> None:
        """Wait until a stat has arrived."""
        while self.received.totals.get(stat, -1) < least:
            self.assertNotIn("BuildMaster startup failed", self.log_so_far)
            await deferLater(reactor, 0.05)

    @property
    def log_so_far(self) -> str:
        return self.log if (self.folder / "twistd.log").exists() else ""

    async def test_builds(self) -> None:
        """
        Builds are counted by result and measured, before and after a reconfiguration to
        another client and other names, each once; so are the length of the queue and
        what Buildbot's statistics capture. The master's end is clean, and its log has
        no key.
        """
        await self.create()
        child = self.start()
        await self.arrival("book success", 1)
        await self.arrival("book-words value", 3)
        (self.folder / "master.cfg").write_text(self.config + RECONFIGURED)
        self.process.signalProcess(signal.SIGHUP)
        await self.arrival("later broken failure", 1)
        await self.arrival("queue length", 1)
        self.process.signalProcess(signal.SIGTERM)
        await child.ended
        self.assertNotIn("Traceback", self.log)
        self.assertIn("configuration update complete", self.log)
        self.assertNotIn("canary", self.log)
        totals = self.received.summaries
        counted = {name: totals[name].sum for name in totals if "seconds" not in name}
        counted["queue length"] = min(counted["queue length"], 1)
        self.assertEqual(
            counted,
            {
                "book success": 1,
                "book-words value": 3,
                "later broken failure": 1,
                "queue length": 1,
            },
        )
        for builder in ("book success", "broken failure"):
            name = f"{builder.split()[0]} seconds"
            self.assertEqual(totals[name].points, 1)
            # Buildbot has the times of builds in whole seconds.
            self.assertLess(totals[name].sum, 300)
            self.assertGreaterEqual(totals[name].sum, 0)


class Master(MasterService):  # type: ignore[misc]
    """As much of a master as the service uses."""

    masterid = 1

    def __init__(self) -> None:
        super().__init__()
        self.reactor = Clock()
        self.reactor.callFromThread = lambda f, *args: f(*args)  # type: ignore[attr-defined]
        self.mq = self.data = self
        self.service_manager = BuildbotServiceManager()
        self.service_manager.setServiceParent(self)
        self.consumers: list[Any] = []
        self.names = {7: "linux"}
        self.queue: list[Any] = []
        self.delay: Deferred[None] = succeed(None)

    # The message queue.
    def startConsuming(self, consume: Any, key: tuple[Any, ...]) -> Deferred[Any]:
        assert key == ("builds", None, "finished")
        self.consumers.append(consume)
        consumer = type("Consumer", (), {})()
        consumer.stopConsuming = lambda: self.consumers.remove(consume)
        return succeed(consumer)

    def finish(self, builder: int = 7, results: int = 0, **build: Any) -> None:
        start = datetime(2026, 1, 1, tzinfo=UTC)
        message = {
            "builderid": builder,
            "masterid": 1,
            "results": results,
            "started_at": start,
            "complete_at": start + timedelta(seconds=90),
            **build,
        }
        for consume in list(self.consumers):
            consume(("builds", "1", "finished"), message)

    # The data API.
    async def _get(self, path: tuple[Any, ...]) -> Any:
        await self.delay
        return (
            self.queue if path == ("buildrequests",) else {"name": self.names[path[1]]}
        )

    def get(self, path: tuple[Any, ...], filters: Any = ()) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._get(path))


class Slow(Service):
    """A service of stats that takes a while to stop."""

    def __init__(self, log: list[str], name: str) -> None:
        self.log = log
        self.label = name
        self.stopping: Deferred[None] = Deferred()

    def startService(self) -> None:
        self.log.append(f"{self.label} starts")

    def stopService(self) -> Any:
        self.log.append(f"{self.label} stops")
        return self.stopping

    def count(self, stat: str, count: float = 1, **options: Any) -> Deferred[bool]:
        self.log.append(f"{self.label} {stat}")
        return succeed(True)

    def value(self, stat: str, value: float, **options: Any) -> Deferred[bool]:
        return succeed(True)


class BuildsTests(SynchronousTestCase):
    """What is sent of a master's builds, one by one."""

    def setUp(self) -> None:
        self.stats = MemoryStatHat(ignore_errors=False)
        self.master = Master()
        self.successResultOf(self.master.startService())

    def make_stats(self) -> Any:
        return self.stats

    def run_service(self, **settings: Any) -> StatHatBuilds:
        service = StatHatBuilds(**{"make_stats": self.make_stats, **settings})
        self.successResultOf(service.setServiceParent(self.master.service_manager))
        return service

    def test_builds(self) -> None:
        """A build is counted by builder and result; its duration is a value."""
        self.run_service(duration="{result} of {builder}")
        self.master.finish()
        self.master.finish(results=2)
        self.assertEqual(self.stats.counts, {"linux success": 1, "linux failure": 1})
        self.assertEqual(
            self.stats.values, {"success of linux": [90], "failure of linux": [90]}
        )

    def test_others_and_clocks(self) -> None:
        """Other masters' builds are theirs; a clock set back makes no negative value."""
        self.run_service()
        self.master.finish(masterid=2)
        self.assertEqual(self.stats.points, [])
        self.master.finish(complete_at=datetime(2025, 1, 1, tzinfo=UTC))
        self.assertEqual(self.stats.values, {"linux seconds": [0]})

    def test_queue(self) -> None:
        """Every interval, the number of waiting requests is a value; failures are lost."""
        service = self.run_service(interval=5, queue="waiting")
        self.master.queue = [{}, {}]
        self.master.reactor.advance(5)
        self.master.queue = []
        self.master.reactor.advance(5)
        self.assertEqual(self.stats.values, {"waiting": [2, 0]})
        self.master.queue = None  # type: ignore[assignment]
        with logged():
            self.master.reactor.advance(5)
        self.assertEqual(service.losses.total, 1)
        self.master.queue = [{}]
        self.master.reactor.advance(5)
        self.assertEqual(self.stats.values, {"waiting": [2, 0, 1]})

    def test_many_builders(self) -> None:
        """Builders beyond the limit share one name."""
        self.run_service()
        self.master.names = {n: f"b{n}" for n in range(MAX_BUILDERS + 2)}
        for builder in self.master.names:
            self.master.finish(builder)
        self.assertEqual(len(self.stats.counts), MAX_BUILDERS + 1)
        self.assertEqual(self.stats.counts["other success"], 2)

    def test_unknown_builder(self) -> None:
        """A build of a builder that is gone is a loss, and the next one counts."""
        service = self.run_service()
        with logged():
            self.master.finish(builder=8)
        self.assertEqual(service.losses.total, 1)
        self.master.finish()
        self.assertEqual(self.stats.counts, {"linux success": 1})

    def test_same_stats(self) -> None:
        """A reconfiguration of names and interval keeps what it sends to."""
        made = []

        def make_stats(**arguments: Any) -> Any:
            made.append(arguments)
            return self.stats

        service = self.run_service(make_stats=make_stats, arguments={"a": 1})
        changed = StatHatBuilds(
            make_stats=make_stats, arguments={"a": 1}, count="{builder}", interval=1
        )
        self.successResultOf(service.reconfigServiceWithSibling(changed))
        self.assertEqual(made, [{"a": 1}])
        self.master.finish()
        self.master.reactor.advance(1)
        self.assertEqual(self.stats.counts, {"linux": 1})
        self.assertEqual(self.stats.values["queue length"], [0])

    def test_other_stats(self) -> None:
        """
        Other stats start when the old ones have ended; a build that ends in between, and
        what statistics capture, wait and arrive once.
        """
        log: list[str] = []
        old, new = Slow(log, "old"), Slow(log, "new")
        service = self.run_service(make_stats=lambda: old)
        sibling = StatHatBuilds(make_stats=lambda: new)
        done = service.reconfigServiceWithSibling(sibling)
        service.send("count", "captured", 1)
        self.master.finish()
        self.assertNoResult(done)
        self.assertEqual(log, ["old starts", "old stops"])
        old.stopping.callback(None)
        self.successResultOf(done)
        self.assertEqual(log[2:], ["new starts", "new captured", "new linux success"])

    def test_stats_that_cannot_be_made(self) -> None:
        """If making other stats fails, so does the reconfiguration; the old ones stay."""
        service = self.run_service()

        def broken() -> Any:
            raise RuntimeError("no")

        done = service.reconfigServiceWithSibling(StatHatBuilds(make_stats=broken))
        self.failureResultOf(done, RuntimeError)
        self.master.finish()
        self.assertEqual(self.stats.counts, {"linux success": 1})

    def test_end(self) -> None:
        """The end waits for builds in hand, and for the last points for a limited time."""
        log: list[str] = []
        service = self.run_service(make_stats=lambda: Slow(log, "s"), close_timeout=3)
        self.master.delay = Deferred()
        self.master.finish()
        done = service.stopService()
        self.assertEqual((log, self.master.consumers), (["s starts"], []))
        self.master.delay.callback(None)
        self.assertEqual(log, ["s starts", "s linux success", "s stops"])
        self.assertNoResult(done)
        with logged() as messages:
            self.master.reactor.advance(3)
        self.successResultOf(done)
        self.assertEqual(
            messages.at_level("warn"),
            ["The last points of StatHatBuilds may be lost: TimeoutError"],
        )
        self.assertEqual(self.master.reactor.getDelayedCalls(), [])

    def test_settings(self) -> None:
        """Settings that are wrong are errors of the configuration, in plain words."""
        for settings, message in (
            ({"interval": 0}, "above 0 seconds, not 0 and 10"),
            ({"count": "{worker}"}, "a field must be one of {builder}, {result}"),
            ({"make_stats": "txstathat.nothing"}, "nothing"),
            ({"make_stats": 3}, "make_stats=3: must be a function"),
            ({"colour": 3}, "colour"),
        ):
            error = self.assertRaises(ConfigErrors, StatHatBuilds, **settings)
            self.assertIn(message, str(error))
            self.assertIn("StatHatBuilds: ", str(error))

    def test_after_the_end(self) -> None:
        """A point that comes after the end is a loss."""
        service = self.run_service()
        self.successResultOf(service.stopService())
        with logged() as messages:
            service.send("count", "late", 1)
        self.assertEqual(service.losses.total, 1)
        self.assertEqual(len(messages.at_level("warn")), 1)

    def test_shown_settings(self) -> None:
        """What Buildbot logs of the settings has no arguments, which may hold a key."""
        service = StatHatBuilds(arguments={"ezkey": "canary"}, interval=5)
        self.assertNotIn("canary", repr(service.getConfigDict()))
        self.assertEqual(service.getConfigDict()["kwargs"], {"interval": 5})


class StorageTests(SynchronousTestCase):
    """What the backend sends of Buildbot's statistics."""

    def setUp(self) -> None:
        self.stats = MemoryStatHat(ignore_errors=False)
        self.master = Master()
        self.successResultOf(self.master.startService())
        capture = type("Capture", (), {"master": self.master})
        self.storage = StatHatStorage([capture])

    def test_numbers(self) -> None:
        """Numbers are values, named after series and field; the rest is not sent."""
        service = StatHatBuilds(make_stats=lambda: self.stats)
        self.successResultOf(service.setServiceParent(self.master.service_manager))
        self.assertIsInstance(self.storage, StatsStorageBase)
        data = {"name": "size", "value": 3, "share": 0.5, "ok": True}
        self.storage.thd_postStatsValue(data, "linux-size", {"build_number": "1"})
        self.assertEqual(
            self.stats.values, {"linux-size value": [3], "linux-size share": [0.5]}
        )

    def test_without_service(self) -> None:
        """Without the service that sends, the error says what to add."""
        error = self.assertRaises(
            LookupError, self.storage.thd_postStatsValue, {"value": 3}, "linux-size"
        )
        self.assertIn("named 'StatHatBuilds': add one to c['services']", str(error))
