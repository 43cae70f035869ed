"""
Measure what a point costs on each kind of store: CPU of all collectors and of all
Redis processes together, with ids.

SQLite, one Redis, and a Redis Cluster of three primaries (each with ``appendonly yes``
and ``appendfsync always``) take turns within a round; 10 and 500 points a request; 1, 2
and 4 collectors. Each collector has as many connections as a single one has, so that as
many requests wait in it and are written together. With ``--shared`` the collectors
share that number of connections. Each ratio is the median of the ratios of the rounds.
The wall clock counts for little where collectors, servers and senders share a few
cores.

``--many COUNT`` measures something else: senders that post 10,000 new stats each, all
at once, to a collector with its own time limit for Redis; then the same requests again.

``--before FOLDER`` also measures another checkout of this package with one collector on
one Redis.

Needs: pip install 'txStatHat[all]', and a redis-server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

TICKS = os.sysconf("SC_CLK_TCK")
# On a busy machine Redis may take a while.
PATIENT = "?socket_timeout=30"
# How many points each collector gets after its start, before anything is measured.
WARM_POINTS = 2_000
# How many requests each connection sends at least.
MIN_REQUESTS = 10
DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")


def cpu(process: subprocess.Popen) -> float:
    """Seconds of CPU of a process so far."""
    stat = Path(f"/proc/{process.pid}/stat").read_text()
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / TICKS


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    # A node of a cluster also uses the port 10,000 above.
    return port if port < 50_000 else free_port()


def command(port: int, *words: object) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(" ".join(map(str, words)).encode() + b"\r\n")
        return connection.recv(65536)


def start_redis(folder: str, *options: str) -> tuple[subprocess.Popen, int]:
    port = free_port()
    own = tempfile.mkdtemp(dir=folder)
    process = subprocess.Popen(
        [
            *("redis-server", "--port", str(port), "--bind", "127.0.0.1"),
            *("--dir", own, *DURABLE, *options),
        ],
        stdout=subprocess.DEVNULL,
    )
    while True:
        try:
            if command(port, "PING").startswith(b"+PONG"):
                return process, port
        except OSError:
            time.sleep(0.05)


def start_cluster(folder: str) -> tuple[list[subprocess.Popen], int]:
    nodes = [start_redis(folder, "--cluster-enabled", "yes") for _ in range(3)]
    slots = [(0, 5460), (5461, 10922), (10923, 16383)]
    for (_, port), (low, high) in zip(nodes, slots, strict=True):
        command(port, "CLUSTER", "ADDSLOTSRANGE", low, high)
        command(nodes[0][1], "CLUSTER", "MEET", "127.0.0.1", port)
    for _, port in nodes:
        while b"cluster_state:ok" not in command(port, "CLUSTER", "INFO"):
            time.sleep(0.1)
    return [process for process, _ in nodes], nodes[0][1]


# By store, points a request and collectors: a figure for each round.
Figures: TypeAlias = dict[tuple[str, int, int], list[float]]


@dataclass
class Setup:
    """A store, and collectors on it."""

    name: str
    url: str
    servers: list[subprocess.Popen]
    source: str = ""
    collectors: list[subprocess.Popen] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    key: str = ""

    def start(self, count: int, *more: str) -> None:
        for _ in range(count):
            environment = dict(os.environ)
            if self.source:
                environment["PYTHONPATH"] = self.source
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "txstathat", "serve", "--store", self.url),
                    *("--listen", "tcp:0:interface=127.0.0.1", *more),
                ],
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
                cwd=self.source or None,
            )
            self.collectors.append(process)
            assert process.stdout is not None
            for line in process.stdout:
                what, _, value = line.strip().partition(": ")
                if what == "EZ key":
                    self.key = value
                if what.startswith("Listening"):
                    self.ports.append(int(what.rpartition(":")[2]))
                    break

    def cpu(self) -> tuple[float, float]:
        """Seconds of CPU so far: of all processes, and of the servers of the store."""
        servers = sum(map(cpu, self.servers))
        return servers + sum(map(cpu, self.collectors)), servers

    def stop(self) -> None:
        for process in self.collectors:
            process.terminate()
        for process in self.collectors:
            process.wait(20)
        self.collectors, self.ports = [], []


# -- load


def requests(key: str, count: int, size: int, stats: int) -> Iterator[bytes]:
    """Requests with ids, of counts of random stats."""
    for _ in range(count):
        data: list[dict[str, object]] = [
            {"stat": f"stat.number.{random.randrange(stats)}", "count": 1}
            for _ in range(size)
        ]
        yield post(key, data)


def post(key: str, data: list[dict[str, object]]) -> bytes:
    """A request with an id."""
    body = json.dumps({"ezkey": key, "data": data}).encode()
    return (
        b"POST /ez HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
        b"\r\nIdempotency-Key: %b\r\nContent-Length: %d\r\n\r\n%b"
        % (uuid.uuid4().hex.encode(), len(body), body)
    )


async def send(ports: list[int], waiting: Iterator[bytes], connections: int) -> None:
    async def one(number: int) -> None:
        port = ports[number % len(ports)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in waiting:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].split(b"\r")[0]
            body = await reader.readexactly(int(length))
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"refused: {body[:200]!r}")
        writer.close()

    await asyncio.gather(*(one(number) for number in range(connections)))


def measure(
    setup: Setup, size: int, options: argparse.Namespace, points: int
) -> tuple[float, float, float]:
    """
    Microseconds of CPU for each point: of all processes, and of the servers of the
    store; and points a second.
    """
    connections = options.connections * (1 if options.shared else len(setup.ports))
    count = max(points // size, MIN_REQUESTS * connections)
    work = list(requests(setup.key, count, size, options.stats))
    before, began = setup.cpu(), time.perf_counter()
    asyncio.run(send(setup.ports, iter(work), connections))
    seconds = time.perf_counter() - began
    points = count * size
    cost, servers = (
        (now - then) / points * 1e6
        for now, then in zip(setup.cpu(), before, strict=True)
    )
    return cost, servers, points / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--points", type=int, default=60_000, help="in each round, at least"
    )
    parser.add_argument("--stats", type=int, default=1_000)
    parser.add_argument("--connections", type=int, default=64, help="to each collector")
    parser.add_argument(
        "--shared",
        action="store_true",
        help="as many connections to all collectors together",
    )
    parser.add_argument("--collectors", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--sizes", type=int, nargs="*", default=[10, 500])
    parser.add_argument("--before", metavar="FOLDER")
    parser.add_argument(
        "--many", type=int, default=0, help="only this: so many new stats on one Redis"
    )
    options = parser.parse_args()
    if shutil.which("redis-server") is None:
        raise SystemExit("redis-server is missing: apt-get install redis-server")
    with tempfile.TemporaryDirectory() as folder:
        redis, port = start_redis(folder)
        nodes, node_port = start_cluster(folder)
        servers = [redis, *nodes]
        setups = {
            "SQLite": Setup("SQLite", f"sqlite:{folder}/stats", []),
            "Redis": Setup("Redis", f"redis://127.0.0.1:{port}/0{PATIENT}", [redis]),
            "Cluster": Setup(
                "Cluster", f"redis+cluster://127.0.0.1:{node_port}/0{PATIENT}", nodes
            ),
        }
        try:
            if options.many:
                # With the collector's own time limit.
                url = setups["Redis"].url.removesuffix(PATIENT)
                many(Setup("Redis", url, [redis]), options.many)
                return
            if options.before:
                old, old_port = start_redis(folder)
                servers.append(old)
                url = f"redis://127.0.0.1:{old_port}/0{PATIENT}"
                setups["before"] = Setup("before", url, [old], options.before)
            run(setups, options)
        finally:
            for setup in setups.values():
                setup.stop()
            for process in servers:
                process.kill()
                process.wait()


def run(setups: dict[str, Setup], options: argparse.Namespace) -> None:
    costs: Figures = {}
    servers: Figures = {}
    rates: Figures = {}
    for number in range(options.rounds + 1):
        for collectors in options.collectors:
            for name, setup in setups.items():
                if collectors > 1 and name in ("SQLite", "before"):
                    continue
                setup.start(collectors)
                # What a collector does once, after its start.
                measure(setup, 10, options, WARM_POINTS * collectors)
                for size in options.sizes:
                    cost, server, rate = measure(setup, size, options, options.points)
                    if number:  # the first round warms up
                        key = (name, size, collectors)
                        costs.setdefault(key, []).append(cost)
                        servers.setdefault(key, []).append(server)
                        rates.setdefault(key, []).append(rate)
                setup.stop()
    show(costs, servers, rates, options)


# -- many stats

# How many new stats a key may create in a day.
STATS_OF_A_KEY = 10_000


def memory(process: subprocess.Popen) -> float:
    """MiB of memory of a process."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def new_stats(setup: Setup, size: int, count: int) -> list[bytes]:
    """
    Requests with new stats, a sender with a key of its own after the other.
    """
    sent = []
    for sender in range(count // STATS_OF_A_KEY):
        add = ("keys", "add", "ez", f"sender {sender}", "--store", setup.url)
        command_line = [sys.executable, "-m", "txstathat", *add]
        made = subprocess.run(command_line, capture_output=True, text=True, check=True)
        key = made.stdout.split()[-1]
        for begin in range(0, STATS_OF_A_KEY, size):
            names = [f"stat {sender}.{begin + n}" for n in range(size)]
            sent.append(post(key, [{"stat": name, "count": 1} for name in names]))
    return sent


def many(setup: Setup, count: int) -> None:
    """
    Ten and more senders post 10,000 new stats each, all at once; then the same again.
    """
    setup.start(1, "--max-stats", str(2 * count))
    work = new_stats(setup, STATS_OF_A_KEY, count)
    for what in ("new", "repeated"):
        before, began = setup.cpu(), time.perf_counter()
        asyncio.run(send(setup.ports, iter(work), len(work)))
        seconds = time.perf_counter() - began
        both, servers = (
            now - then for now, then in zip(setup.cpu(), before, strict=True)
        )
        print(
            f"{setup.name}: {count:,} {what} stats in {len(work)} requests at once: "
            f"all answered 200; {both - servers:.1f} s of CPU of the collector, "
            f"{servers:.1f} s of Redis; {seconds:.1f} s; memory of the collector "
            f"{memory(setup.collectors[0]):.0f} MiB, of Redis "
            f"{sum(map(memory, setup.servers)):.0f} MiB",
            flush=True,
        )
    setup.stop()


def show(
    costs: Figures,
    servers: Figures,
    rates: Figures,
    options: argparse.Namespace,
) -> None:
    print(
        f"\n{options.rounds} rounds of {options.points:,} points and more over "
        f"{options.stats:,} stats, with ids, {options.connections} connections to "
        f"{'all collectors together' if options.shared else 'each collector'}\n"
        "store    points a request  collectors  µs of CPU a point  of Redis"
        "  points a CPU second  points/s here"
    )
    for (name, size, collectors), found in sorted(costs.items()):
        cost = statistics.median(found)
        rate = statistics.median(rates[name, size, collectors])
        print(
            f"{name:8} {size:16,} {collectors:11} {cost:18.1f} "
            f"{statistics.median(servers[name, size, collectors]):9.1f} "
            f"{1e6 / cost:20,.0f} "
            f"{rate:14,.0f}"
        )

    def ratio(
        what: str, goal: str, one: tuple, other: tuple, of: Figures = costs
    ) -> None:
        if one in of and other in of:
            pairs = zip(of[one], of[other], strict=True)
            found = statistics.median(a / b for a, b in pairs)
            print(f"{what}: {found:.2f}x (goal: {goal})")

    print()
    for size in options.sizes:
        for collectors in options.collectors:
            ratio(
                f"{size} points, {collectors} collectors: CPU of a cluster, of Redis",
                "at most 1.5x",
                ("Cluster", size, collectors),
                ("Redis", size, collectors),
            )
        for name in ("Redis", "Cluster"):
            ratio(
                f"{size} points, {name}: CPU of two collectors, of one",
                "at most 1.15x",
                (name, size, 2),
                (name, size, 1),
            )
        before, now = ("before", size, 1), ("Redis", size, 1)
        ratio(
            f"{size} points: points that one Redis can take (its CPU), of before",
            "at least 3x",
            before,
            now,
            servers,
        )
        ratio(f"{size} points: points a CPU second in all, of before", "-", before, now)


if __name__ == "__main__":
    main()
