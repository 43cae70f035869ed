"""
What a Redis Cluster of six nodes loses when it fails: collectors on it, senders that
repeat a request with the same id until it is acknowledged, and programs with a delivery
service and a spool.

The small form runs by default, the full one with ``TXSTATHAT_DRILLS=full``; it prints
its figures.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any
from uuid import uuid4

from redis.crc import key_slot
from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures.collector_drills import Server
from tests.fixtures.delivery import FULL, NO_DRILLS
from tests.fixtures.redis_cluster import ReplicatedCluster
from tests.fixtures.senders import (
    AT_ONCE,
    STATS,
    Senders,
    SpoolingSenders,
    compare,
)
from txstathat.stores.redis.keys import KeyNames, unit_tag

skip = NO_DRILLS


class ClusterDrills(SynchronousTestCase):
    """Faults of a cluster."""

    timeout = 900

    def check(self, url: str, acknowledged: Counter[str]) -> None:
        """Check the sum of each stat at each scale."""
        scales = ("all", "year", "month", "day", "hour", "minute")
        expected = dict.fromkeys(scales, (0, 0))
        self.assertEqual(compare(url, acknowledged), expected)

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
        spooling = SpoolingSenders(servers, 3 if FULL else 1, self.mktemp())
        self.addCleanup(spooling.kill)
        spooling.wait_for_delivery()
        senders = Senders(servers, 3 if FULL else 1)
        try:
            self.under_load(cluster, senders, spooling, name)
        finally:
            senders.stop()
        spooling.stop()
        self.assertEqual(spooling.dropped, 0)
        senders.acknowledged.update(spooling.recorded)
        self.check(url, senders.acknowledged)
        self.say(
            f"{name}: {senders.requests:,} requests, {senders.repeated:,} repeated; "
            f"{spooling.recorded.total():,} counts through spools, {spooling.retries:,} "
            f"requests repeated, {spooling.recovered:,} counts found in a spool; "
            "lost 0, doubled 0 at every scale"
        )
        lost = self.without_replica(cluster, senders)
        self.say(
            f"{name}: link cut, 30 requests acknowledged, primary killed: {lost} of "
            f"{30 * AT_ONCE} counts lost; repeated: lost 0, doubled 0"
        )

    def under_load(
        self, cluster: Any, senders: Senders, spooling: SpoolingSenders, name: str
    ) -> None:
        """Faults, one after the other."""
        seconds = 5.0 if FULL else 0.5
        time.sleep(seconds)
        senders.pause()
        _, replica = cluster.pair(0)
        replica.command("CLUSTER", "FAILOVER")
        cluster.wait_for_primary(replica)
        spooling.restart(0)
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
            # What it cannot deliver now is in its spool, for its next process.
            spooling.restart(0)
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
        lost, doubled = compare(cluster.url(), senders.acknowledged)["all"]
        self.assertGreater(lost, 0)
        self.assertEqual(doubled, 0)
        for stats, id in requests:
            senders.acknowledged.subtract(stats)  # it is the same request
            senders.post(stats, id)
        self.check(cluster.url(), senders.acknowledged)
        return int(lost)
