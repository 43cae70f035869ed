"""
What the drills with real processes share: children that count, and their server.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from tests.delivery import FULL, NO_DRILLS
from tests.support import reactor
from txstathat.collector.ingest.resource import IngestResource
from txstathat.collector.web.site import CollectorSite
from txstathat.testing import FakeStatHat

ROOT = Path(__file__).parent.parent


class Child(ProcessProtocol):
    """
    A child process with lines to wait for.
    """

    def __init__(self) -> None:
        self.out = self.err = b""
        self.ended: Deferred[None] = Deferred()
        self.status: Any = None
        self._waiting: list[Deferred[None]] = []

    def outReceived(self, data: bytes) -> None:
        self.out += data
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    def errReceived(self, data: bytes) -> None:
        self.err += data

    def processEnded(self, reason: Any) -> None:
        self.status = reason.value
        self.outReceived(b"")
        self.ended.callback(None)

    async def started(self) -> None:
        while b"started\n" not in self.out:
            assert self.status is None, self.err.decode()
            waiter: Deferred[None] = Deferred()
            self._waiting.append(waiter)
            await waiter

    @property
    def health(self) -> dict[str, Any]:
        return dict(json.loads(self.out.split(b"\n")[-2]))


class Moody(Resource):
    """
    A server with random trouble: busy, or closing the connection before or after it
    takes the points.

    :ivar hangs: whether requests get no answer.
    :ivar on_request: called for each request, before it is answered.
    """

    def __init__(self, front: IngestResource, draw: random.Random) -> None:
        super().__init__()
        self.front = front
        self.draw = draw
        self.trouble = 0.0
        self.hangs = False
        #: The ids of the batches that were taken.
        self.ids: set[str | None] = set()
        self.on_request: Callable[[], object] = lambda: None

    def getChildWithDefault(self, path: bytes, request: Any) -> Resource:
        self.on_request()
        return _Mood(self, self.front.getChildWithDefault(path, request))


class _Mood(Resource):
    isLeaf = True

    def __init__(self, moody: Moody, child: Any) -> None:
        super().__init__()
        self._moody = moody
        self._child = child

    def render(self, request: Any) -> Any:
        if self._moody.hangs:
            return NOT_DONE_YET
        luck, trouble = self._moody.draw.random(), self._moody.trouble
        if luck < trouble / 3:
            request.setResponseCode(503)
            return b""
        if luck < 2 * trouble / 3:
            request.transport.abortConnection()
            return NOT_DONE_YET
        self._moody.ids.add(request.getHeader("idempotency-key"))
        rendered = self._child.render(request)
        if luck < trouble:
            # The points are taken, but the client gets no answer.
            request.transport.abortConnection()
        return rendered


class ChildrenTestCase(TestCase):
    """
    A real server, and children that count.
    """

    skip = NO_DRILLS

    timeout = 3600 if FULL else 600

    def setUp(self) -> None:
        self.place = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.place)
        self.spool = os.path.join(self.place, "spool")
        self.log = os.path.join(self.place, "log")
        self.draw = random.Random(1)
        self.received = FakeStatHat()
        self.front = Moody(self.received.resource, self.draw)
        self.site = CollectorSite(self.front, reactor)
        self.port: Any = None
        self.number = 0
        self.listen()
        self.addCleanup(lambda: self.port.stopListening())

    def listen(self) -> None:
        self.port = reactor.listenTCP(self.number, self.site, interface="127.0.0.1")
        self.number = self.port.getHost().port
        self.url = f"http://127.0.0.1:{self.number}"

    def sum(self, stat: str) -> Any:
        total = self.received.summaries.get(stat)
        return 0 if total is None else total.sum

    def spawn(
        self,
        mode: str,
        *,
        interval: float = 0.2,
        env: dict[str, str] | None = None,
        **config: Any,
    ) -> Child:
        child = Child()
        settings = {"interval": interval} | config.pop("settings", {})
        settings.setdefault("spool", self.spool)
        config = {
            "mode": mode, "url": self.url, "log": self.log, "settings": settings,
        } | config  # fmt: skip
        process = reactor.spawnProcess(
            child,
            sys.executable,
            [sys.executable, "-m", "tests.sender_child", json.dumps(config)],
            env=os.environ | {"PYTHONPATH": str(ROOT)} | (env or {}),
            path=str(ROOT),
        )
        child.transport = process

        def end() -> Any:
            if child.status is None:
                process.signalProcess("KILL")
            return child.ended

        self.addCleanup(end)
        return child

    async def wait(self, seconds: float) -> None:
        await deferLater(reactor, seconds, lambda: None)

    async def drain(self, **config: Any) -> dict[str, Any]:
        child = self.spawn("drain", **config)
        await child.ended
        self.assertEqual(child.status.exitCode, 0, child.err.decode())
        self.assertNotIn(b"Traceback", child.err)
        self.assertNotIn(b"canary-key", child.err + child.out)
        return child.health

    def sealed(self) -> set[str]:
        """The ids of the batches in the spool, read without changing it."""
        ids: set[str] = set()
        copy = os.path.join(self.place, "copy")
        shutil.rmtree(copy, ignore_errors=True)
        if os.path.isdir(self.spool):
            shutil.copytree(self.spool, copy)
            for name in os.listdir(copy):
                # Those that were damaged on purpose cannot be read like that.
                if name.endswith(".sqlite") and not name.startswith("damaged"):
                    db = sqlite3.connect(os.path.join(copy, name))
                    # It may have been killed before it had made its table.
                    with contextlib.suppress(sqlite3.OperationalError):
                        ids |= {row[0] for row in db.execute("SELECT id FROM batches")}
                    db.close()
        return ids
