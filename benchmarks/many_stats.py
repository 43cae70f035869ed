"""
Measure what a collector does with a million stats, on SQLite and on one Redis.

The stats are posted once each, all of them new, through the collector's HTTP, over
several connections. Then: further requests, pages of the list, searches, the lists of
the APIs, a stat's page and data, a new start, and an export. Meanwhile an honest client
counts again and again: it shows for how long the collector answers nobody.

Each line has the seconds that a step took, the CPU seconds of the collector and of
Redis, the largest memory of the collector during it, and the slowest answer that the
honest client got.

Run it from the project's folder (a million takes about half an hour on each store, and
3 GB of disk)::

    python -m benchmarks.many_stats --stats 1000000

Needs: pip install 'txStatHat[all]', and a redis-server.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

from benchmarks.pages import WORDS
from benchmarks.scale import PATIENT, cpu, send, start_redis

AT_ONCE = 500
# A key can create 10,000 stats a day.
PER_KEY = 10_000


def name_of(number: int) -> str:
    """The name of a stat, in groups such as those of many hosts and services."""
    word = WORDS[number % len(WORDS)]
    if number % 2:
        return f"web{number % 997}.{word}.{number}"
    return f"host{number % 499} {number} {word}"


def post_request(key: str, numbers: range) -> bytes:
    """A request with an id, which counts each of some stats once, or posts a value."""
    data = [
        {"stat": name_of(n), "count" if n % 3 else "value": n % 1000} for n in numbers
    ]
    body = json.dumps({"ezkey": key, "data": data}).encode()
    return (
        b"POST /ez HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
        b"\r\nIdempotency-Key: %b\r\nContent-Length: %d\r\n\r\n%b"
        % (uuid.uuid4().hex.encode(), len(body), body)
    )


class Collector:
    """
    A collector in a process of its own.

    :param url: its store.
    :param stats: the largest number of stats.
    :param servers: the processes of the store.
    """

    def __init__(
        self, url: str, stats: int, servers: list[subprocess.Popen], log: str
    ) -> None:
        self.url, self.servers, self._stats = url, servers, stats
        self._log = log
        self.link = self.token = self.key = ""
        self.start()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with open(self._log, "a") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "txstathat", "serve", "--store", self.url),
                    *("--listen", "tcp:0:interface=127.0.0.1"),
                    *("--max-stats", str(self._stats + 100_000)),
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            what, _, value = line.strip().partition(": ")
            if what == "EZ key":
                self.key = value
            if what == "access token":
                self.token = value
            if what.startswith("Listening"):
                self.port = int(what.rpartition(":")[2])
            if "/sign-in/" in line:
                self.link = line.partition("http://")[2].strip()
                return
        raise RuntimeError("the collector did not start")

    def status(self, name: str) -> float:
        """A line of its status, such as ``VmRSS``, in MiB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"{name}:\s+(\d+) kB", text)
        assert found is not None
        return int(found[1]) / 1024

    def forget_peak(self) -> None:
        """Let its largest memory begin anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def connect(self) -> HTTPConnection:
        """A connection that waits long for its answers."""
        return HTTPConnection("127.0.0.1", self.port, timeout=3600)

    def get(self, path: str, **headers: str) -> bytes:
        """Read a page."""
        connection = self.connect()
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status} {body[:200]!r}")
        return body

    def browse(self) -> dict[str, str]:
        """Sign in; the headers of a browser."""
        host, _, path = self.link.partition("/")
        headers = {"Origin": f"http://{host}", "Host": host}
        connection = self.connect()
        connection.request("POST", f"/{path}", headers=headers)
        response = connection.getresponse()
        response.read()
        connection.close()
        cookie = response.headers["Set-Cookie"].partition(";")[0]
        return {"Host": host, "Cookie": cookie}

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(120)


class HonestClient(threading.Thread):
    """
    Counts one stat every 20 milliseconds, and waits for each answer.

    :ivar waits: the seconds until each answer.
    """

    def __init__(self, collector: Collector) -> None:
        super().__init__(daemon=True)
        self._collector, self._over = collector, threading.Event()
        self.waits: list[float] = []
        self.start()

    def run(self) -> None:
        """Count."""
        connection = self._collector.connect()
        body = f"ezkey={self._collector.key}&stat=honest&count=1"
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        while not self._over.wait(0.02):
            began = time.perf_counter()
            connection.request("POST", "/ez", body, form)
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                print(f"    the honest client got {response.status}")
            self.waits.append(time.perf_counter() - began)
        connection.close()

    def end(self) -> None:
        """Stop."""
        self._over.set()
        self.join()


class Steps:
    """
    Prints what each step costs.

    :param collector: the collector.

    :ivar waits: for how many seconds the honest client waited for each answer so far.
    """

    def __init__(self, collector: Collector) -> None:
        self.collector = collector
        self.waits: list[float] = []
        print(f"  {'':44} seconds  CPU  of Redis  peak MiB  honest client's slowest")

    @contextmanager
    def step(self, title: str, times: int = 1, honest: bool = True) -> Iterator[None]:
        """Measure the body, which does something several times."""
        one = self.collector
        one.forget_peak()
        client = HonestClient(one) if honest else None
        time.sleep(0.2)
        before = [cpu(one.process), sum(map(cpu, one.servers)), time.perf_counter()]
        try:
            yield
        finally:
            if client is not None:
                client.end()
        after = [cpu(one.process), sum(map(cpu, one.servers)), time.perf_counter()]
        work, redis, took = (
            (now - then) / times for now, then in zip(after, before, strict=True)
        )
        slowest = ""
        if client is not None:
            slowest = f"{max(client.waits):7.2f} s"
            self.waits += client.waits
        print(
            f"  {title:44} {took:7.3f} {work:6.3f} {redis:6.3f} "
            f"{one.status('VmHWM'):9.0f} {slowest}",
            flush=True,
        )

    def repeat(self, title: str, work: Callable[[], object], times: int = 10) -> None:
        """Measure something that is done several times; and its median."""
        took = []
        with self.step(title, times, honest=False):
            for _ in range(times):
                began = time.perf_counter()
                work()
                took.append(time.perf_counter() - began)
        print(f"  {'':4}median {statistics.median(took):.4f}, most {max(took):.4f} s")


def add_keys(url: str, count: int) -> list[str]:
    """Create keys, in a process of their own."""
    words = [sys.executable, "-m", "benchmarks.many_stats", "--keys", str(count)]
    done = subprocess.run([*words, url], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.split()


def print_keys(url: str, count: int) -> None:
    """Create keys, and print them."""
    from twisted.internet import defer, task

    from txstathat.collector.auth import Keys
    from txstathat.stores import open_store

    async def work(reactor) -> None:
        opened = await open_store(url, reactor=reactor)
        keys = Keys(opened)
        for number in range(count):
            print(await keys.add("ez", f"sender {number}"))
        await opened.close()

    task.react(lambda reactor: defer.ensureDeferred(work(reactor)))


# -- the steps


def post(steps: Steps, keys: list[str], stats: int, senders: int) -> None:
    """Post all stats, and then a few again."""
    collector = steps.collector
    tenth = -(-stats // 10)
    for first in range(0, stats, tenth):
        last = min(first + tenth, stats)
        requests = (
            post_request(keys[n // PER_KEY], range(n, min(n + AT_ONCE, last)))
            for n in range(first, last, AT_ONCE)
        )
        with steps.step(f"post {first:,} to {last:,}, all new"):
            asyncio.run(send([collector.port], requests, senders))
    waits = sorted(steps.waits)
    p99 = waits[len(waits) * 99 // 100]
    print(
        f"  the honest client's answers: median {statistics.median(waits):.3f} s, "
        f"p99 {p99:.3f} s, most {waits[-1]:.3f} s"
    )
    print(f"  memory of the collector: {collector.status('VmRSS'):.0f} MiB")
    again = itertools.cycle(range(0, stats - AT_ONCE, max(1, stats // 37)))

    def once_more() -> None:
        first = next(again)
        request = post_request(keys[0], range(first, first + AT_ONCE))
        asyncio.run(send([collector.port], iter([request]), 1))

    steps.repeat("a further request of 500 points", once_more, 20)


def list_pages(steps: Steps, stats: int) -> None:
    """Pages of the list, as a browser shows them."""
    collector = steps.collector
    headers = collector.browse()

    def page(path: str) -> str:
        return collector.get(path, **headers).decode()

    def following(path: str) -> str:
        link = page(path).partition('" rel="next"')[0].rpartition('href="')[2]
        return link.replace("&amp;", "&")

    with steps.step("the first page of the list, until it comes"):
        page("/")
    orders = [
        f"/?sort={order}&dir={direction}"
        for order in ("name", "total", "newest", "activity")
        for direction in ("asc", "desc")
    ]
    for path in orders:
        steps.repeat(path, lambda path=path: page(path))
    path = orders[0]
    for _ in range(20):
        path = following(path)
    steps.repeat("by name, the 21st page", lambda: page(path))
    for title, path in {
        "groups": "/?view=groups",
        "an opened group": f"/?view=groups&group={quote('web12.')}",
        "a search with few matches": f"/?sort=total&q={stats - 1}",
        "a search with many matches": "/?sort=total&q=load",
        "a search without matches": "/?q=nothing",
    }.items():
        steps.repeat(title, lambda path=path: page(path), 5)
    with steps.step("a search with many matches, beside others"):
        page("/?sort=total&q=load")
    with steps.step("a search by Graphite"):
        bearer = f"Bearer {collector.token}"
        collector.get("/graphite/metrics/find?query=web12.*", Authorization=bearer)
    name = page(orders[0]).partition('href="/stats/')[2].partition('"')[0]
    steps.repeat("a stat's page", lambda: page(f"/stats/{name}"))


def read_lists(steps: Steps, stats: int) -> None:
    """The lists of the APIs."""
    collector = steps.collector
    path = f"/x/{collector.token}/statlist"
    with steps.step("/statlist, the first 10,000"):
        first = json.loads(collector.get(path))
    with steps.step("/statlist, 10,000 in the middle"):
        collector.get(f"{path}?offset={stats // 2}")
    with steps.step("/statlist, 10,000 with their newest points"):
        collector.get(f"{path}?latest=1")
    with steps.step("/statlist, all pages"):
        listed, offset = len(first), 10_000
        while more := json.loads(collector.get(f"{path}?offset={offset}")):
            listed, offset = listed + len(more), offset + 10_000
    print(f"    {listed:,} stats")
    try:
        with steps.step("/a1/stats"):
            answer = collector.get(
                "/a1/stats", Authorization=f"Bearer {collector.token}"
            )
            print(f"    {len(answer) / 2**20:.0f} MiB")
    except RuntimeError as error:
        print(f"    {error}")
    ids = "/".join(one["id"] for one in first[:5])
    steps.repeat(
        "the data of five stats over a week",
        lambda: collector.get(f"/x/{collector.token}/data/{ids}?t=1w3h"),
    )


def start_again(steps: Steps, keys: list[str]) -> None:
    """Start the collector again."""
    collector = steps.collector
    collector.stop()
    began = time.perf_counter()
    collector.start()
    print(f"  started, and listens, after {time.perf_counter() - began:.1f} s")
    with steps.step("the first request with a new stat"):
        body = json.dumps({"ezkey": keys[-1], "data": [{"stat": "new", "count": 1}]})
        connection = collector.connect()
        connection.request(
            "POST", "/ez", body, headers={"Content-Type": "application/json"}
        )
        print(f"    {connection.getresponse().status}")
        connection.close()
    headers = collector.browse()
    with steps.step("the first page of the list after a start"):
        collector.get("/", **headers)
    with steps.step("until it is idle (all rows compared)"):
        wait_until_idle(collector)
    print(f"  memory of the collector: {collector.status('VmRSS'):.0f} MiB")


def wait_until_idle(collector: Collector) -> None:
    """Wait until the collector has done almost nothing for ten seconds."""
    while True:
        before = cpu(collector.process)
        time.sleep(10)
        if cpu(collector.process) - before < 2:
            return


def export(url: str, folder: str, load: bool) -> None:
    """Export everything, and load it into another store."""
    path = os.path.join(folder, "all.jsonl")
    commands = [["export", path, "--store", url]]
    if load:
        commands.append(["import", path, "--store", f"sqlite:{folder}/copy"])
    for words in commands:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "txstathat", *words], stdout=subprocess.DEVNULL
        )
        _, status, used = os.wait4(process.pid, 0)
        print(
            f"  {words[0]}: {time.perf_counter() - began:.0f} s, "
            f"{used.ru_utime + used.ru_stime:.0f} s of CPU, "
            f"{used.ru_maxrss / 1024:.0f} MiB, status {status}; "
            f"the file has {os.path.getsize(path) / 2**20:,.0f} MiB",
            flush=True,
        )
    os.remove(path)


def run(kind: str, options: argparse.Namespace, folder: str) -> None:
    """All steps on one store."""
    servers = []
    if kind == "redis":
        process, port = start_redis(folder)
        servers.append(process)
        url = f"redis://127.0.0.1:{port}/0{PATIENT}"
    else:
        url = f"sqlite:{folder}/stats"
    print(f"\n{options.stats:,} stats on {kind}", flush=True)
    try:
        collector = Collector(url, options.stats, servers, f"{folder}/log")
        try:
            # The last one is for the stats after the new start.
            keys = add_keys(url, -(-options.stats // PER_KEY) + 1)
            time.sleep(6)  # a collector reads new keys every 5 seconds
            steps = Steps(collector)
            post(steps, keys, options.stats, options.senders)
            with steps.step("until it is idle"):
                wait_until_idle(collector)
            list_pages(steps, options.stats)
            read_lists(steps, options.stats)
            start_again(steps, keys)
        finally:
            collector.stop()
        print(f"  size of the store: {size(folder, servers) / 2**20:,.0f} MiB")
        export(url, folder, options.load)
        print(Path(folder, "log").read_text()[-2000:])
    finally:
        for process in servers:
            process.kill()
            process.wait()


def size(folder: str, servers: list[subprocess.Popen]) -> float:
    """The bytes of the store: its file; or the memory of Redis, and print its files."""
    if not servers:
        return sum(one.stat().st_size for one in Path(folder).glob("stats*"))
    files = sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file())
    print(f"  size of Redis' log: {files / 2**20:,.0f} MiB")
    statm = Path(f"/proc/{servers[0].pid}/statm").read_text().split()[1]
    return float(statm) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stats", type=int, default=1_000_000)
    parser.add_argument("--senders", type=int, default=4)
    parser.add_argument(
        "--stores", nargs="*", default=["sqlite", "redis"], help="sqlite, redis"
    )
    parser.add_argument("--load", action="store_true", help="import the export too")
    parser.add_argument("--keys", type=int, help=argparse.SUPPRESS)
    parser.add_argument("url", nargs="?", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.keys:
        print_keys(options.url, options.keys)
        return
    if "redis" in options.stores and shutil.which("redis-server") is None:
        raise SystemExit("redis-server is missing: apt-get install redis-server")
    for kind in options.stores:
        with tempfile.TemporaryDirectory() as folder:
            run(kind, options, folder)


if __name__ == "__main__":
    main()
