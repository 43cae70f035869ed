"""
What a Redis Cluster of six nodes loses when it fails: collectors on it, and senders
that repeat a request with the same id until it is acknowledged.

The small form runs by default, the full one with ``TXSTATHAT_DRILLS=full``; it prints
its figures.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from threading import Event, Lock, Thread
from typing import Any
from uuid import uuid4

from redis.crc import key_slot
from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures.collector_drills import Server
from tests.fixtures.delivery import FULL, NO_DRILLS
from tests.fixtures.redis_cluster import ReplicatedCluster
from txstathat.stores.redis.dump import RedisDump
from txstathat.stores.redis.keys import KeyNames, unit_tag

skip = NO_DRILLS

STATS = [f"stat {n}" for n in range(40)]
AT_ONCE = 10


class Senders:
    """
    Senders that post to collectors.

    :param servers: the collectors.
    :param count: the number of senders.

    :ivar acknowledged: how often each stat was in an acknowledged request.
    :ivar longest: the longest time without an acknowledged request, in seconds.
    """

    def __init__(self, servers: list[Server], count: int) -> None:
        self.servers = servers
        self.acknowledged: Counter[str] = Counter()
        self.requests = self.repeated = 0
        self.longest = 0.0
        self._last = time.monotonic()
        self._lock = Lock()
        self._stopped = Event()
        self._threads = [Thread(target=self._send, args=(n,)) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def _send(self, number: int) -> None:
        while not self._stopped.is_set():
            first = (number * 7 + self.requests) % len(STATS)
            stats = [STATS[(first + n) % len(STATS)] for n in range(AT_ONCE)]
            self.post(stats, uuid4().hex, number)

    def post(self, stats: list[str], id: str, number: int = 0) -> None:
        """Post a request until it is acknowledged."""
        attempts = 0
        while True:
            server = self.servers[(number + attempts) % len(self.servers)]
            if server.post(stats, id) == 200:
                break
            attempts += 1
            time.sleep(0.1)
        with self._lock:
            now = time.monotonic()
            self.longest = max(self.longest, now - self._last)
            self._last = now
            self.requests += 1
            self.repeated += attempts > 0
            self.acknowledged.update(stats)

    def pause(self) -> float:
        """The longest time without an acknowledgement since the last call."""
        with self._lock:
            longest = max(self.longest, time.monotonic() - self._last)
            self.longest = 0.0
            return longest

    def stop(self) -> None:
        """Stop, after what each sender has begun is acknowledged."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(120)


class ClusterDrills(SynchronousTestCase):
    """Faults of a cluster."""

    timeout = 900

    def compare(self, url: str, acknowledged: Counter[str]) -> dict[str, Any]:
        """How many counts are lost, and how many are doubled, at each scale."""
        sums: dict[str, Counter[str]] = {}
        with closing(RedisDump(url, time.time)) as dump:
            dump.open()
            for cell in dump.cells():
                if cell.scale != "received":
                    scale = sums.setdefault(cell.scale, Counter())
                    scale[cell.name] += cell.sums.whole
        return {
            scale: (
                sum((acknowledged - found).values()),
                sum((found - acknowledged).values()),
            )
            for scale, found in sums.items()
        }

    def check(self, url: str, acknowledged: Counter[str]) -> None:
        """Check the sum of each stat at each scale."""
        scales = ("all", "year", "month", "day", "hour", "minute")
        expected = dict.fromkeys(scales, (0, 0))
        self.assertEqual(self.compare(url, acknowledged), expected)

    def say(self, figure: str) -> None:
        """Print a figure of the full form."""
        if FULL:
            print(f"\n    {figure}", end="")

    def test_41_cluster(self) -> None:
        """
        Acknowledged counts are neither lost nor counted twice, at any scale: when
        primaries are killed or hand over, when slots move, and when a primary is killed
        that had lost the link to its replica, after the requests were repeated.
        """
        for durable in (("--appendonly", "yes", "--appendfsync", "always"), ())[
            : 2 if FULL else 1
        ]:
            self.drill(durable)

    def drill(self, options: tuple[str, ...]) -> None:
        """Run all faults on one cluster."""
        cluster = ReplicatedCluster(*options, timeout=2000 if FULL else 1000)
        self.addCleanup(cluster.remove)
        url = cluster.url()
        servers = []
        for _ in range(3 if FULL else 1):
            servers.append(Server(url))
            servers[-1].keys = servers[0].keys
            self.addCleanup(servers[-1].kill)
        name = "appendfsync always" if options else "no log"
        senders = Senders(servers, 6 if FULL else 2)
        try:
            self.under_load(cluster, senders, name)
        finally:
            senders.stop()
        self.check(url, senders.acknowledged)
        self.say(
            f"{name}: {senders.requests:,} requests, {senders.repeated:,} repeated; "
            "lost 0, doubled 0 at every scale"
        )
        lost = self.without_replica(cluster, senders)
        self.say(
            f"{name}: link cut, 30 requests acknowledged, primary killed: {lost} of "
            f"{30 * AT_ONCE} counts lost; repeated: lost 0, doubled 0"
        )

    def under_load(self, cluster: Any, senders: Senders, name: str) -> None:
        """Faults, one after the other."""
        seconds = 5.0 if FULL else 0.5
        time.sleep(seconds)
        senders.pause()
        _, replica = cluster.pair(0)
        replica.command("CLUSTER", "FAILOVER")
        cluster.wait_for_primary(replica)
        time.sleep(seconds)
        self.say(f"{name}: manual failover: {senders.pause():.1f} s without a 200")
        keys = KeyNames("txstathat")
        slots = {key_slot(keys.key(unit_tag(one, "[]"), "").encode()) for one in STATS}
        source, to = cluster.pair(1)[0], cluster.pair(2)[0]
        moved = sorted(slots & set(cluster.slots_of(source)))
        self.assertTrue(moved)
        cluster.move(moved, source, to)
        time.sleep(seconds)
        self.say(
            f"{name}: {len(moved)} slots moved: {senders.pause():.1f} s without a 200"
        )
        for number in (2, 0) if FULL else ():
            cluster.settle()
            primary, replica = cluster.pair(number)
            primary.kill()
            cluster.wait_for_primary(replica)
            time.sleep(seconds)
            self.say(f"{name}: primary killed: {senders.pause():.1f} s without a 200")
            primary.start()
        cluster.settle()

    def without_replica(self, cluster: Any, senders: Senders) -> int:
        """
        Kill a primary that has lost the link to its replica, and repeat the requests.

        :returns: how many counts were lost until then.
        """
        primary, replica = cluster.pair(0)
        cluster.cut_link(primary)
        requests = [(STATS[n : n + AT_ONCE], uuid4().hex) for n in range(30)]
        for stats, id in requests:
            senders.post(stats, id)
        primary.kill()
        cluster.wait_for_primary(replica)
        lost, doubled = self.compare(cluster.url(), senders.acknowledged)["all"]
        self.assertGreater(lost, 0)
        self.assertEqual(doubled, 0)
        for stats, id in requests:
            senders.acknowledged.subtract(stats)  # it is the same request
            senders.post(stats, id)
        self.check(cluster.url(), senders.acknowledged)
        return int(lost)
