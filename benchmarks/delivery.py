"""
Measure the cost of recording a count, and of delivering many.

The first part counts with a service and with four peers that also only record, in short
rounds that take turns; the medians of the rounds' ratios are shown. statsd sends a
datagram for each count, to a socket on loopback that nobody reads; datadog's client
buffers several into one; prometheus_client and opentelemetry-sdk add in memory.

The second part records a million counts over 1,000 stats and 100,000 values, delivers
them over HTTPS to a server in another process, and compares what arrived there.

Needs: pip install trustme prometheus_client statsd datadog opentelemetry-sdk
"""

from __future__ import annotations

import argparse
import json
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

try:
    import trustme
    from datadog.dogstatsd import DogStatsd
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from prometheus_client import CollectorRegistry, Counter
    from statsd import StatsClient
except ModuleNotFoundError as error:
    sys.exit(
        f"{error.name} is missing: pip install prometheus_client statsd datadog "
        "opentelemetry-sdk trustme"
    )
from twisted.internet.defer import ensureDeferred
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.internet.task import cooperate, react

from txstathat import StatHatService, txStatHat
from txstathat.http.connections.pool import PooledAgent


def serve(pem: str) -> None:
    """
    Take points as the collector does; print the port, and the totals in the end.
    """
    from twisted.internet import reactor
    from twisted.internet.ssl import PrivateCertificate

    from txstathat.collector.web.site import CollectorSite
    from txstathat.testing import FakeStatHat

    requests = [0]

    def allow(api, key):
        requests[0] += 1
        return key == "key"

    options = PrivateCertificate.loadPEM(Path(pem).read_bytes()).options()
    fake = FakeStatHat(allow)
    site = CollectorSite(fake.resource, reactor)
    port = reactor.listenSSL(0, site, options, interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    reactor.run()
    sums = {stat: [t.points, t.sum] for stat, t in fake.summaries.items()}
    print(json.dumps([requests[0], sums]), flush=True)


def recorders(port):
    """
    For each peer a function that counts a given number of times.
    """
    service = StatHatService(txStatHat("key"))

    def ours(n):
        count = service.count
        for _ in range(n):
            count("name")

    counter = Counter("hits", "Hits.", ["name"], registry=CollectorRegistry())

    def prometheus(n):
        for _ in range(n):
            counter.labels("name").inc()

    statsd = StatsClient("127.0.0.1", port)

    def statsd_udp(n):
        incr = statsd.incr
        for _ in range(n):
            incr("name")

    dog = DogStatsd(
        "127.0.0.1", port, disable_buffering=False, telemetry_min_flush_interval=60
    )

    def datadog(n):
        increment = dog.increment
        for _ in range(n):
            increment("name")

    meters = MeterProvider([InMemoryMetricReader()])
    otel = meters.get_meter("benchmark").create_counter("hits")

    def opentelemetry(n):
        add = otel.add
        for _ in range(n):
            add(1, {"name": "name"})

    peers = {
        "prometheus_client labels().inc()": prometheus,
        "statsd incr(), UDP": statsd_udp,
        "datadog increment(), buffered": datadog,
        "opentelemetry-sdk add()": opentelemetry,
    }
    return ours, peers


def seconds(record, n):
    """
    The CPU time of a number of counts.
    """
    before = time.process_time()
    record(n)
    return time.process_time() - before


def recording(rounds, n):
    """
    The first part.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        ours, peers = recorders(sink.getsockname()[1])
        for record in (ours, *peers.values()):
            record(n // 10)
        ratios = {name: [] for name in peers}
        own, others = [], {name: [] for name in peers}
        for _ in range(rounds):
            for name, peer in peers.items():
                mine, theirs = seconds(ours, n), seconds(peer, n)
                own.append(mine)
                others[name].append(theirs)
                ratios[name].append(mine / theirs)
    print(f"service.count('name'): {statistics.median(own) / n * 1e9:.0f} ns per call")
    for name, values in ratios.items():
        ns = statistics.median(others[name]) / n * 1e9
        print(f"  {statistics.median(values):5.2f}x of {name} ({ns:.0f} ns)")


async def deliver(reactor, url, trust_root, spool, counts, values):
    """
    The second part, up to the last answer.
    """
    agent = PooledAgent(reactor, trust_root=trust_root)
    client = txStatHat("key", url=url, agent=agent)
    service = StatHatService(client, spool=spool, interval=1.0)
    service.startService()
    before, cpu = time.monotonic(), time.process_time()
    names = [f"stat {i}" for i in range(1000)]

    def work():
        # A program does other things, too: a thousand counts in a turn.
        each = values // (counts // 1000)
        for turn in range(counts // 1000):
            for name in names:
                service.count(name)
            for i in range(each):
                service.value("load", turn + i / 4)
            yield None

    await cooperate(work()).whenDone()
    recorded = time.monotonic() - before
    flushed = await service.flush()
    took, cpu = time.monotonic() - before, time.process_time() - cpu
    health = service.health
    await service.stopService()
    await agent.close()
    return took, recorded, cpu, flushed, health, service.health


def delivering(counts, values, spooled):
    """
    The second part, with its server.
    """
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost")
    with tempfile.TemporaryDirectory() as place:
        pem = Path(place, "server.pem")
        pem.write_bytes(leaf.private_key_pem.bytes() + leaf.cert_chain_pems[0].bytes())
        server = subprocess.Popen(
            [sys.executable, __file__, "--serve", str(pem)],
            stdout=subprocess.PIPE,
            text=True,
        )
        port = int(server.stdout.readline())
        root = trustRootFromCertificates(
            [Certificate.loadPEM(authority.cert_pem.bytes())]
        )
        spool = str(Path(place, "spool")) if spooled else None
        results = []

        async def main(reactor):
            url = f"https://localhost:{port}"
            results.append(await deliver(reactor, url, root, spool, counts, values))

        try:
            react(lambda reactor: ensureDeferred(main(reactor)))
        except SystemExit as ended:
            if ended.code:
                raise
        finally:
            server.terminate()
        requests, sums = json.loads(server.stdout.read())
        server.wait()
    ((took, recorded, cpu, flushed, health, after),) = results
    expected = {f"stat {i}": counts // 1000 for i in range(1000)}
    wrong = [stat for stat, n in expected.items() if sums.get(stat, [0, 0])[1] != n]
    load = sums.get("load", [0, 0])
    total = sum(
        turn + i / 4
        for turn in range(counts // 1000)
        for i in range(values // (counts // 1000))
    )
    exact = (
        flushed
        and not wrong
        and load == [values, total]
        and health.delivered == counts + values
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{counts:,} counts over 1,000 stats and {values:,} values, "
        f"{'with' if spooled else 'without'} a spool:"
    )
    print(f"  arrived exactly: {'yes' if exact else 'NO'}")
    print(
        f"  {(counts + values) / took:,.0f} events per second "
        f"({took:.1f} s, {recorded:.1f} s of it recording), {requests} requests"
    )
    print(f"  {cpu:.1f} CPU seconds of the sender, peak memory {peak:.0f} MiB in all")
    if not exact:
        print(f"  {len(wrong)} stats are wrong; load is {load}, not {[values, total]}")
        print(f"  {flushed}")
        print(f"  at the flush: {health}")
        print(f"  when stopped: {after}")
        sys.exit(1)


def main():
    """
    Run a part.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=50_000)
    parser.add_argument("--counts", type=int, default=1_000_000)
    parser.add_argument("--values", type=int, default=100_000)
    parser.add_argument("--part", choices=["record", "memory", "spool"])
    given = parser.parse_args()
    if given.serve:
        serve(given.serve)
    elif given.part == "record":
        recording(given.rounds, given.calls)
    elif given.part:
        delivering(given.counts, given.values, given.part == "spool")
    else:
        # Each in a process of its own: a reactor runs once, and memory is measured.
        for part in ("record", "memory", "spool"):
            command = [sys.executable, __file__, *sys.argv[1:], "--part", part]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
