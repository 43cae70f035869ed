"""
Measure the cost of a collector, beside other servers that receive numbers.

1. Form posts of the EZ and of the Classic API, one point each, durable on SQLite,
   beside a bare twisted.web resource that answers the same bytes and does nothing else:
   Twisted reads the form before it calls the resource, as for any resource.
2. Points in JSON batches of 1,000, durable on SQLite and on Redis, beside carbon's line
   and pickle receivers, which put them into carbon's cache and answer nothing. Few
   senders, each of which waits for its answer, and many. 100,000 stats on SQLite only.
3. The time to answer ``1w3h``, ``1M1h`` and ``1y1d``, with up to 1,000 stats and a year
   of data; and the disk and the memory that they take.

Each server is a process of its own, on loopback. Its CPU time is measured, user and
system, in rounds that take turns; medians are shown.

Needs: pip install 'txStatHat[all]' carbon, and a redis-server. The lines of a missing
one are left out.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import json
import os
import pickle
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from urllib.request import urlopen

TICKS = os.sysconf("SC_CLK_TCK")
# With more, commits to Redis exceed its time limit on a busy machine.
REDIS_STATS = 10_000
OK = b'{"status": 200, "msg": "ok"}'
EZ_FORM = b"ezkey=%s&stat=signups&count=1"
CLASSIC_FORM = b"ukey=%s&key=%s&count=1"


# -- servers


def serve_bare() -> None:
    from twisted.internet import reactor
    from twisted.web.resource import Resource
    from twisted.web.server import Site

    class Yes(Resource):
        isLeaf = True

        def render_POST(self, request):
            request.setHeader("Content-Type", "application/json")
            return OK

    class Quiet(Site):
        def log(self, request):
            pass

    port = reactor.listenTCP(0, Quiet(Yes()), interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    reactor.run()


def serve_carbon(kind: str) -> None:
    from carbon.conf import settings

    settings.update({"MAX_CACHE_SIZE": float("inf"), "USE_FLOW_CONTROL": False})
    settings.update(
        {"LOG_LISTENER_CONN_SUCCESS": False, "CACHE_WRITE_STRATEGY": "naive"}
    )
    from carbon import events, instrumentation, protocols, state
    from carbon.cache import MetricCache
    from twisted.internet import reactor

    state.instrumentation = instrumentation
    received = 0
    expected = int(sys.stdin.readline())

    def count(metric, datapoint):
        nonlocal received, expected
        received += 1
        if received == expected:
            print("done", flush=True)
            # carbon's writing to disk is not part of this.
            MetricCache().clear()
            MetricCache().size = 0
            received = 0

    events.metricReceived.addHandler(MetricCache().store)
    events.metricReceived.addHandler(count)
    factory = protocols.CarbonReceiverFactory()
    factory.protocol = {
        "line": protocols.MetricLineReceiver,
        "pickle": protocols.MetricPickleReceiver,
    }[kind]
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    reactor.run()


class Process:
    """
    A server in a process of its own.
    """

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        # If the benchmark fails.
        atexit.register(self.process.kill)
        self.port = 0

    def line(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("a server did not start")
        return line.strip()

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / TICKS

    def memory(self) -> float:
        """MiB in memory."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


class Bare(Process):
    name = "bare twisted.web resource"

    def __init__(self) -> None:
        super().__init__(__file__, "--role", "bare")
        self.port = int(self.line())


class Ours(Process):
    def __init__(self, store: str, name: str) -> None:
        super().__init__(
            *("-m", "txstathat", "serve", "--store", store),
            *("--listen", "tcp:0:interface=127.0.0.1"),
        )
        self.name = name
        keys = {}
        while True:
            what, _, key = self.line().partition(": ")
            if what.startswith("Listening"):
                self.port = int(what.rpartition(":")[2])
                break
            keys[what] = key
        self.key, self.token = keys["EZ key"], keys["access token"]
        self.user_key = keys["user key"]


class Carbon(Process):
    def __init__(self, kind: str, points: int) -> None:
        super().__init__(__file__, "--role", f"carbon-{kind}")
        self.name = f"carbon, {kind} receiver"
        self.kind = kind
        self.process.stdin.write(f"{points}\n")
        self.process.stdin.flush()
        self.port = int(self.line())


# -- load


class Sender(asyncio.Protocol):
    """
    Sends the next request when the previous one is answered.
    """

    def __init__(self, requests, answered, done) -> None:
        self.requests = requests
        self.answered = answered
        self.done = done
        self.read = b""

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.next()

    def next(self) -> None:
        request = next(self.requests, None)
        if request is None:
            self.transport.close()
        else:
            self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.read += data
        head, found, body = self.read.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0])
        if len(body) < length:
            return
        if not head.startswith(b"HTTP/1.1 200"):
            refusal = RuntimeError(f"refused: {head[:30]!r} {body[:200]!r}")
            if not self.done.done():
                self.done.set_exception(refusal)
            return
        self.read = b""
        self.answered()
        self.next()


async def send(port: int, requests: list[bytes], connections: int) -> None:
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = len(requests)
    shared = iter(requests)

    def answered() -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set_result(None)

    for _ in range(connections):
        await loop.create_connection(
            lambda: Sender(shared, answered, done), "127.0.0.1", port
        )
    await asyncio.wait_for(done, 300)


def post(body: bytes, content_type: str, path: str = "/ez") -> bytes:
    return (
        b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\n"
        b"Content-Length: %d\r\n\r\n%b"
        % (path.encode(), content_type.encode(), len(body), body)
    )


def post_form(body: bytes, path: str) -> bytes:
    return post(body, "application/x-www-form-urlencoded", path)


def timed(server, work) -> tuple[float, float]:
    """
    The seconds that work takes: on the wall clock, and of the server's CPU.
    """
    cpu, wall = server.cpu(), time.perf_counter()
    work()
    return time.perf_counter() - wall, server.cpu() - cpu


def add_stat_key(store: str) -> None:
    """
    Add a stat key for the stat to which the forms post, and print it.
    """
    from twisted.internet.defer import ensureDeferred
    from twisted.internet.task import react

    from txstathat.collector.auth import Keys
    from txstathat.stores import open_store

    async def main(reactor):
        opened = await open_store(store, reactor=reactor)
        print(await Keys(opened).add("stat", "of a stat", "signups"))
        await opened.close()

    react(lambda reactor: ensureDeferred(main(reactor)))


def forms(rounds: int, count: int, connections: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:{folder}/stats"
        bare, ours = Bare(), Ours(store, "txStatHat, on SQLite")
        stat_key = subprocess.check_output(
            [sys.executable, __file__, "--role", "stat-key", store]
        ).strip()
        ez = post_form(EZ_FORM % ours.key.encode(), "/ez")
        classic = post_form(CLASSIC_FORM % (ours.user_key.encode(), stat_key), "/c")
        for api, request in (("EZ", ez), ("Classic", classic)):
            print(f"\n{api} form posts, {connections} connections, ", end="")
            print(f"{rounds} rounds of {count:,}; per core, and per second")
            compare_forms((bare, ours), [request] * count, rounds, connections)
        bare.stop()
        ours.stop()


def compare_forms(servers, requests: list[bytes], rounds: int, connections: int):
    # For each server the time for each post, of CPU and on the wall clock.
    times = {server: ([], []) for server in servers}
    for _ in range(rounds + 1):
        for server in servers:
            wall, cpu = timed(
                server,
                lambda port=server.port: asyncio.run(send(port, requests, connections)),
            )
            times[server][0].append(cpu / len(requests))
            times[server][1].append(wall / len(requests))
    ratios = []
    for server in servers:
        # The first round warms up.
        cpu, wall = (statistics.median(each[1:]) for each in times[server])
        print(f"  {server.name:28} {1 / cpu:8,.0f}/s of CPU {1 / wall:8,.0f}/s")
    bare, ours = (times[server] for server in servers)
    for one, other in zip(bare, ours, strict=True):
        pairs = zip(one[1:], other[1:], strict=True)
        ratios.append(statistics.median(a / b for a, b in pairs))
    print(f"  {ratios[0]:.2f}x of the bare resource (goal: 0.9x), ", end="")
    print(f"{ratios[1]:.2f}x on the wall clock")


def batches(rounds: int, count: int, stats: int, connections: int) -> None:
    points = count * 1000
    names = [f"stat.number.{n}" for n in range(stats)]
    with tempfile.TemporaryDirectory() as folder:
        stores = [(f"sqlite:{folder}/stats", "txStatHat, on SQLite")]
        redis = start_redis(folder) if stats <= REDIS_STATS else None
        if redis is not None:
            stores.append((f"redis://127.0.0.1:{redis[1]}/0", "txStatHat, on Redis"))
        for store, _ in stores:
            run_role("create", store, "0", str(stats))
        servers = [Ours(*one) for one in stores]
        try:
            import carbon  # noqa: F401

            servers += [Carbon("line", points), Carbon("pickle", points)]
        except ImportError:
            print("carbon is missing: pip install carbon")
        costs = {server.name: [] for server in servers}
        rates = {server.name: [] for server in servers}
        for _ in range(rounds + 1):
            for server in servers:
                if isinstance(server, Carbon):
                    work = carbon_work(server, names, count)
                else:
                    bodies = batches_over(names, server.key)
                    requests = [*islice(cycle(bodies), count)]

                    def work(server=server, requests=requests):
                        asyncio.run(send(server.port, requests, connections))

                wall, cpu = timed(server, work)
                costs[server.name].append(cpu / points * 1e6)
                rates[server.name].append(points / wall)
        for server in servers:
            server.stop()
        if redis is not None:
            redis[0].terminate()
            redis[0].wait()
    print(
        f"\nPoints in batches of 1,000 over {stats:,} stats by {connections} senders, "
        f"{rounds} rounds of {points:,}; per core"
    )
    for server in servers:
        cost = statistics.median(costs[server.name][1:])
        rate = statistics.median(rates[server.name][1:])
        line = f"  {server.name:28} {1e6 / cost:10,.0f}/s of CPU {rate:10,.0f}/s"
        if not isinstance(server, Carbon):
            for peer in servers:
                if isinstance(peer, Carbon):
                    pairs = zip(
                        costs[peer.name][1:], costs[server.name][1:], strict=True
                    )
                    ratio = statistics.median(a / b for a, b in pairs)
                    line += f"  {ratio:.2f}x {peer.kind}"
        print(line)


def batches_over(names: list[str], key: str) -> list[bytes]:
    """
    Requests of 1,000 points, as many as are needed for all stats.
    """
    now = int(time.time())
    requests = []
    for first in range(0, len(names), 1000):
        data = [
            {
                "stat": names[(first + n) % len(names)],
                "value": n * 0.5,
                "t": now - n % 10,
            }
            for n in range(1000)
        ]
        body = json.dumps({"ezkey": key, "data": data}).encode()
        requests.append(post(body, "application/json"))
    return requests


def carbon_work(server: Carbon, names: list[str], count: int):
    import socket

    now = int(time.time())
    parts = []
    for number in range(count):
        # A new time for each point: a known time costs carbon less.
        points = [
            (names[(number * 1000 + n) % len(names)], n * 0.5, now + number * 1000 + n)
            for n in range(1000)
        ]
        if server.kind == "line":
            parts.append(
                "".join(f"{name} {value} {t}\n" for name, value, t in points).encode()
            )
        else:
            packed = pickle.dumps([(n, (t, v)) for n, v, t in points], protocol=2)
            parts.append(struct.pack("!L", len(packed)) + packed)

    def work() -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            for part in parts:
                connection.sendall(part)
            assert server.line() == "done"

    return work


def start_redis(folder: str):
    program = shutil.which("redis-server")
    if program is None:
        print("redis-server is missing: apt-get install redis-server")
        return None
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            *(program, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder),
            *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
        ],
        stdout=subprocess.DEVNULL,
    )
    atexit.register(process.kill)
    time.sleep(1)
    return process, port


# -- stats that exist, and a year of data


def run_role(*role: str) -> None:
    subprocess.run([sys.executable, __file__, "--role", *role], check=True)


def create(store: str, first: int, last: int) -> None:
    """
    Create the stats of :func:`batches`: a key can create only so many a day.
    """
    now = int(time.time())

    def posted():
        for start in range(first, last, 1000):
            numbers = range(start, min(start + 1000, last))
            yield [("value", f"stat.number.{n}", 0.5, now) for n in numbers]

    add_points(store, posted())


def fill(store: str, first: int, last: int) -> None:
    """
    Give stats a year of days, 35 days of hours, and 26 hours of minutes.
    """
    now = int(time.time())
    times = [
        *range(now - 365 * 86_400, now - 35 * 86_400, 86_400),
        *range(now - 35 * 86_400, now - 26 * 3600, 3600),
        *range(now - 26 * 3600, now, 60),
    ]

    add_points(
        store,
        (
            [("count", f"stat {n}", n % 7 + 1, t) for t in times]
            for n in range(first, last)
        ),
    )


def add_points(store: str, posted) -> None:
    """
    Add points to a store, each list with a key of its own.
    """
    from twisted.internet.defer import ensureDeferred
    from twisted.internet.task import react

    from txstathat.collector.archive.archive import Archive
    from txstathat.collector.ingest.parse import PostedBatch
    from txstathat.stores import open_store

    async def main(reactor):
        opened = await open_store(store, reactor=reactor)
        archive = Archive(opened)
        for number, points in enumerate(posted):
            await archive.add(PostedBatch("ez", f"{number}", points, True, None, b""))
        await opened.close()

    react(lambda reactor: ensureDeferred(main(reactor)))


def queries(sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:{folder}/stats"
        before = 0
        print("\nAnswers of the export API, milliseconds (median of 20)")
        print(
            "  stats    MiB  disk/1,000  memory   one stat: 1w3h   1M1h   1y1d", end=""
        )
        print("     5 stats: 1w3h   1M1h   1y1d    statlist")
        for size in sizes:
            run_role("fill", store, str(before), str(size))
            before = size
            disk = sum(path.stat().st_size for path in Path(folder).iterdir()) / 2**20
            if size == sizes[0]:
                server = Ours(store, "txStatHat")
                token = server.token
                server.stop()
            server = Ours.__new__(Ours)
            Process.__init__(
                server,
                *("-m", "txstathat", "serve", "--store", store),
                *("--listen", "tcp:0:interface=127.0.0.1"),
            )
            base = f"http://127.0.0.1:{server.line().rpartition(':')[2]}/x/{token}"

            def median(path: str, base=base) -> float:
                took = []
                for _ in range(20):
                    began = time.perf_counter()
                    with urlopen(base + path) as answer:
                        answer.read()
                    took.append(time.perf_counter() - began)
                return statistics.median(took) * 1000

            with urlopen(f"{base}/statlist") as answer:
                ids = [stat["id"] for stat in json.load(answer)]
            frames = ("1w3h", "1M1h", "1y1d")
            one = [median(f"/data/{ids[0]}?t={frame}") for frame in frames]
            some = "/".join(ids[:5])
            many = [median(f"/data/{some}?t={frame}") for frame in frames]
            listed = median("/statlist")
            print(
                f"  {size:5,} {disk:6,.0f} {disk / size * 1000:8,.0f} MiB"
                f" {server.memory():4,.0f} MiB        "
                + "".join(f"{ms:7.1f}" for ms in one)
                + "           "
                + "".join(f"{ms:7.0f}" for ms in many)
                + f" {listed:11.1f}"
            )
            server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--role", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--posts", type=int, default=10_000)
    parser.add_argument("--batches", type=int, default=256)
    parser.add_argument("--stats", type=int, nargs="*", default=[10, 1000, 100_000])
    parser.add_argument("--sizes", type=int, nargs="*", default=[10, 100, 1000])
    parser.add_argument("--only", choices=["forms", "batches", "queries"])
    options = parser.parse_args()
    if options.role == "bare":
        return serve_bare()
    if options.role in ("carbon-line", "carbon-pickle"):
        return serve_carbon(options.role.partition("-")[2])
    if options.role in ("create", "fill"):
        store, first, last = options.rest
        work = create if options.role == "create" else fill
        return work(store, int(first), int(last))
    if options.role == "stat-key":
        return add_stat_key(*options.rest)
    if options.only in (None, "forms"):
        forms(options.rounds, options.posts, 64)
    if options.only in (None, "batches"):
        for stats in options.stats:
            for connections in (4, 32):
                batches(options.rounds, options.batches, stats, connections)
    if options.only in (None, "queries"):
        queries(options.sizes)
    return None


if __name__ == "__main__":
    main()
