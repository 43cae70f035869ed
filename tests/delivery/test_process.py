"""
What the service needs of its process: a thread for the disk.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

from twisted.internet.defer import inlineCallbacks
from twisted.trial.unittest import TestCase

from tests.fixtures.support import reactor
from txstathat.delivery.process.worker import ThreadWorker


class WorkerTests(TestCase):
    """The thread that the disk is used in."""

    timeout = 30

    @inlineCallbacks
    def test_stop(self) -> Any:
        """It does its jobs in their order, and then ends."""
        before = set(threading.enumerate())
        worker = ThreadWorker(reactor, 60.0, lambda: None)
        (thread,) = set(threading.enumerate()) - before
        done: list[int] = []
        for number in range(10):
            worker.run(partial(done.append, number))
        yield worker.stop()
        self.assertEqual(done, list(range(10)))
        self.assertFalse(thread.is_alive())

    @inlineCallbacks
    def test_a_job_that_raises(self) -> Any:
        """Its Deferred fails, and the next job is done."""
        worker = ThreadWorker(reactor, 60.0, lambda: None)
        yield self.assertFailure(worker.run(partial(int, "x")), ValueError)
        self.assertEqual((yield worker.run(partial(int, "1"))), 1)
        yield worker.stop()
