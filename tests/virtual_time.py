"""
Services and clients in virtual time, with an answering server in memory.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.answering_server import AnsweringServer, MemoryAgent
from tests.delivery import MEMORY, balanced
from txstathat import StatHatService

#: Where the server in memory is.
URL = "http://stathat.test"


class VirtualCase(SynchronousTestCase):
    """
    Programs in virtual time.
    """

    def setUp(self) -> None:
        self.folder = tempfile.mkdtemp(dir=MEMORY)
        self.addCleanup(shutil.rmtree, self.folder)
        self._folders = 0

    def begin(self, **options: Any) -> None:
        """A new server, and a clock that starts anew."""
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.server = AnsweringServer(**options)
        self.agent = MemoryAgent(self.server, self.clock)

    def client(self, make: Callable[..., Any]) -> Any:
        """A client of the server."""
        return make("canary-key", url=URL, reactor=self.clock, agent=self.agent)

    def new_folder(self) -> str:
        """A folder that is not there yet."""
        self._folders += 1
        return os.path.join(self.folder, str(self._folders))

    def run_clock(self, seconds: float) -> None:
        """Let time pass, from one timer to the next."""
        end = self.clock.seconds() + seconds
        while calls := self.clock.getDelayedCalls():
            due = min(call.getTime() for call in calls)
            if due > end:
                break
            self.clock.advance(max(due - self.clock.seconds(), 0.001))
        self.clock.advance(max(0.0, end - self.clock.seconds()))

    def start(self, make: Callable[..., Any], **settings: Any) -> StatHatService:
        """Start a service with a client of the server."""
        service = StatHatService(
            self.client(make), clock=self.clock, random=random.Random(1), **settings
        )
        service.startService()
        return service

    def stop(self, service: StatHatService) -> None:
        """Stop a service: every call is accounted for, and no timer is left."""
        stopped = service.stopService()
        self.run_clock(6)
        self.successResultOf(stopped)
        self.assertTrue(balanced(service.health), service.health)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertFalse(self.server.faults, self.server.faults[:1])
