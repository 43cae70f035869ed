"""
The drill with ``kill -9``: at random moments, and at the boundaries of system calls.

See :mod:`tests.drills.test_sender` for the small and the full form.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest import SkipTest

from twisted.internet.defer import ensureDeferred

from tests.fixtures.children import ROOT, Child, ChildrenTestCase
from tests.fixtures.delivery import FULL
from tests.fixtures.drills import report
from tests.fixtures.support import require_program
from txstathat import Count, txStatHat
from txstathat.delivery.batch import seal_batches
from txstathat.delivery.spool.file import SpoolFile

#: The boundaries of opening and adopting a file or two, and those of a few windows,
#: about: half of the children die while they start.
BOUNDARIES = (100, 500)


class KillDrills(ChildrenTestCase):
    """
    Children that are killed while they count.
    """

    def setUp(self) -> None:
        super().setUp()
        self.front.trouble = 0.3
        self.found: set[str] = set()
        self.counted = self.bound = 0

    def look(self, child: Child) -> None:
        """Note what a dead child had counted, and what it had sealed."""
        self.assertNotIn(b"Traceback", child.err)
        self.found |= self.sealed()
        log = Path(self.log)
        lines = log.read_text().split("\n")[:-1] if log.exists() else []
        times = [(float(a), int(b)) for a, b in (line.split() for line in lines)]
        if times:
            end, total = times[-1]
            # The open window, and what was on its way to the disk.
            before = [n for t, n in times if t <= end - 0.2 - 0.15]
            self.counted += total
            self.bound += total - (before[-1] if before else 0)
            log.unlink()

    async def settle(self, rounds: int, how: str) -> None:
        """Check that all sealed batches arrived once, and little is missing."""
        self.front.trouble = 0.0
        # One process adopts only some files at a time.
        while [n for n in os.listdir(self.spool) if n.endswith(".sqlite")]:
            await self.drain()
        self.assertEqual(self.found - self.front.ids, set())
        arrived = self.sum("n")
        # Each id was applied once: the points are those of the batches.
        self.assertLessEqual(arrived, self.counted)
        self.assertGreaterEqual(arrived, self.counted - self.bound)
        left = [n for n in os.listdir(self.spool) if not n.endswith(".damaged")]
        self.assertEqual(left, [])
        lost = (self.counted - arrived) / rounds
        report(
            1,
            f"{rounds} x kill -9 {how}: {len(self.found)} sealed batches found, lost 0, "
            f"{lost:.0f} of 200 counts of a window lost each time on average",
        )

    def test_1_at_any_time(self) -> Any:
        """kill -9 at any time: what was sealed arrives once, at most a window is lost."""
        rounds = 250 if FULL else 4

        async def check() -> None:
            for _ in range(rounds):
                child = self.spawn("count")
                await child.started()
                await self.wait(self.draw.uniform(0.0, 0.9))
                child.transport.signalProcess("KILL")  # type: ignore[union-attr]
                await child.ended
                self.look(child)
            await self.settle(rounds, "at random moments")

        return ensureDeferred(check())

    def test_1_at_boundaries(self) -> Any:
        """
        kill -9 right before and after calls such as fdatasync, rename and unlink, also
        those within SQLite, and while a damaged file is saved: the same.
        """
        if sys.platform != "linux":
            raise SkipTest("needs Linux")
        rounds = 250 if FULL else 4
        library = os.path.join(self.place, "boundary.so")
        compiler = require_program("cc", "gcc")
        source = str(ROOT / "tests" / "fixtures" / "boundary.c")
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-nostdlib", "-o", library, source],
            check=True,
        )

        async def check() -> None:
            draw = random.Random(4)
            for number in range(rounds):
                if number % 5 == 1:
                    self.leave_damaged(number)
                if number % 5 == 4:
                    # Else all would die while they adopt what the others left.
                    await self.drain()
                child = self.spawn(
                    "count",
                    env={
                        "LD_PRELOAD": library,
                        "PYTHONDONTWRITEBYTECODE": "1",
                        "TXSTATHAT_DIE_AT": str(
                            draw.randint(1, BOUNDARIES[number % 2])
                        ),
                    },
                )
                await child.ended
                self.assertEqual(child.status.signal, signal.SIGKILL, child.err)
                self.look(child)
            self.assertGreater(len(self.found), rounds * 0.1)
            await self.settle(rounds, "at boundaries")
            saved = len(range(1, rounds, 5))
            self.assertEqual(self.sum("saved"), saved)
            report(1, f"{saved} damaged files saved once each")

        return ensureDeferred(check())

    def leave_damaged(self, number: int) -> None:
        """Leave a file with a batch in it whose head is damaged."""
        os.makedirs(self.spool, 0o700, exist_ok=True)
        salt = f"damaged-{number}"
        fingerprint = txStatHat("canary-key", url=self.url).fingerprint(salt.encode())
        path = os.path.join(self.spool, f"{salt}-{fingerprint}.sqlite")
        spool = SpoolFile(path)
        tallies = [(Count("saved", 1, int(time.time())), 1)]
        with spool.transaction():
            spool.add(seal_batches(txStatHat("key"), tallies, 1, time.time()))
        spool.close()
        with open(path, "r+b") as file:
            file.write(bytes(100))
