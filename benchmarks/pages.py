"""
Measure how long a collector takes to answer with its pages.

``list``: a page of the list of stats, in each order, with searches and groups, with
100,000 stats on SQLite; the goal is 50 ms. Also how long the collector takes to make
the summary rows from which the list is sorted.

``board``: boards of 20 tiles, with a year of data of each stat on SQLite; the goal is
400 ms.

The collector is a process of its own, on loopback. A page is requested again and again,
one request at a time, over one connection. The times are from the request to the last
byte, the median and the 95th percentile; and the CPU time of the collector, user and
system.

Needs: pip install 'txStatHat[all]'
"""

from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

TICKS = os.sysconf("SC_CLK_TCK")
WORDS = ("load", "memory", "disk", "requests", "errors", "latency", "orders")


class Collector:
    """
    A collector in a process of its own, and a browser that is signed in.
    """

    def __init__(self, store: str) -> None:
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "txstathat", "serve", "--store", store),
                *("--listen", "tcp:0:interface=127.0.0.1"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        link = ""
        for line in self._process.stdout:
            if "/sign-in/" in line:
                link = line.partition("http://")[2].strip()
                break
        host, _, path = link.partition("/")
        self._connection = HTTPConnection(host, timeout=120)
        self._headers = {"Origin": f"http://{host}", "Host": host}
        self._connection.request("POST", f"/{path}", headers=self._headers)
        response = self._connection.getresponse()
        response.read()
        self._headers["Cookie"] = response.headers["Set-Cookie"].partition(";")[0]

    def get(self, path: str) -> tuple[float, str]:
        """
        Request a page.

        :returns: the seconds until its last byte, and its text.
        """
        began = time.perf_counter()
        self._connection.request("GET", path, headers=self._headers)
        response = self._connection.getresponse()
        body = response.read()
        took = time.perf_counter() - began
        if response.status != 200:
            raise RuntimeError(f"{path}: HTTP status {response.status}")
        return took, body.decode("utf-8")

    def measure(self, title: str, path: str, times: int, goal: float) -> None:
        """
        Request a page several times, and print how long it took.
        """
        self.get(path)
        cpu = self.cpu()
        took = sorted(self.get(path)[0] for _ in range(times))
        cpu = (self.cpu() - cpu) / times
        middle, late = statistics.median(took), took[int(len(took) * 0.95)]
        print(
            f"  {title:40} {middle * 1000:6.1f} ms {late * 1000:6.1f} ms"
            f" {cpu * 1000:6.1f} ms of CPU{'' if middle <= goal else '  too slow'}",
            flush=True,
        )

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / TICKS

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.terminate()
        self._process.wait(30)


@contextmanager
def filled_store(kind: str, *arguments: int):
    """
    A SQLite store in a temporary folder, filled in a process of its own by one of
    :data:`FILLS`.
    """
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:{Path(folder, 'stats.sqlite')}"
        subprocess.run(
            [sys.executable, __file__, "--fill", kind, url, *map(str, arguments)],
            check=True,
        )
        yield url


def fill(kind: str, url: str, *arguments: str) -> None:
    """Fill a store."""
    from twisted.internet import defer, task

    from txstathat.collector.archive.archive import Archive
    from txstathat.stores import open_store

    async def main(reactor):
        opened = await open_store(url, reactor=reactor)
        await FILLS[kind](Archive(opened), *map(int, arguments))
        await opened.close()

    task.react(lambda reactor: defer.ensureDeferred(main(reactor)))


# -- the list


async def fill_list(archive, stats: int) -> None:
    """
    Store stats with names in groups, each with a few points of the last two days, and
    make their rows.
    """
    from txstathat.collector.ingest.parse import PostedBatch

    chance, now = random.Random(1), int(time.time())
    names = []
    for n in range(stats):
        word = WORDS[n % len(WORDS)]
        names.append(
            f"web{n % 997}.{word}.{n}" if n % 2 else f"host{n % 499} {n} {word}"
        )
    for start in range(0, stats, 1000):
        points = []
        for n in range(start, min(start + 1000, stats)):
            kind = "count" if n % 3 else "value"
            # Most have a new point; some have none for a day.
            for age in (0 if n % 4 else 90_000, 7_000, 150_000):
                t = now - age - chance.randrange(90)
                points.append((kind, names[n], chance.randrange(1, 1000), t))
        # A key can create 10,000 stats a day.
        await archive.add(
            PostedBatch("ez", f"k{start // 10_000}", points, True, None, b"")
        )
    await archive.settled()
    began = time.perf_counter()
    for start in range(0, stats, 100):
        await archive.listing.make(names[start : start + 100])
    took = time.perf_counter() - began
    print(f"  {'to make a summary row':40} {took / stats * 1e6:7.0f} µs")


def measure_list(times: int, stats: int) -> None:
    """
    Measure the list of stats.
    """
    print(f"\nA page of the list, {stats:,} stats on SQLite")
    with filled_store("list", stats) as url:
        collector = Collector(url)
        # The collector compares all rows when it starts.
        time.sleep(stats / 20_000)
        pages = []
        for order in ("name", "total", "newest", "activity"):
            for direction in ("asc", "desc"):
                path = f"/?sort={order}&dir={direction}"
                pages.append((f"by {order}, {direction}", path))
                for _ in range(20):
                    path = following(collector, path)
                pages.append((f"by {order}, {direction}, the 21st page", path))
        pages += [
            ("counters by total", "/?sort=total&kind=counters"),
            ("groups", "/?view=groups"),
            ("an opened group", f"/?view=groups&group={quote('web12.')}"),
            ("a search with few matches, by total", "/?sort=total&q=99999"),
            ("a search with many matches, by total", "/?sort=total&q=load"),
            ("a search with two words, by name", "/?q=load+web12"),
            ("a search without matches", "/?q=nothing"),
        ]
        for title, path in pages:
            collector.measure(title, path, times, 0.050)
        collector.close()


def following(collector: Collector, path: str) -> str:
    """The path of the next page."""
    link = collector.get(path)[1].partition('" rel="next"')[0].rpartition('href="')[2]
    return link.replace("&amp;", "&")


# -- boards


async def fill_board(archive, tiles: int) -> None:
    """
    Store stats with points every day of a year, every hour of a month and every minute
    of a day, and boards of them.
    """
    from txstathat.collector.boards.model import TIMEFRAMES, Board, Tile
    from txstathat.collector.boards.records import BoardRecords
    from txstathat.collector.ingest.parse import PostedBatch

    chance, now = random.Random(2), int(time.time())
    ages = [
        *(86_400 * n for n in range(366)),
        *(3_600 * n for n in range(24 * 34)),
        *(60 * n for n in range(60 * 26)),
    ]
    names = [f"{WORDS[n % len(WORDS)]} {n}" for n in range(tiles)]
    for n, name in enumerate(names):
        kind = "value" if n % 3 else "count"
        points = [(kind, name, chance.randrange(1, 1000), now - age) for age in ages]
        await archive.add(PostedBatch("ez", "k", points, True, None, b""))
    await archive.settled()
    boards = BoardRecords(archive.store).boards
    kinds = ("chart", "sparkline", "number")
    for t, title in TIMEFRAMES.items():
        shown = [Tile(name, "chart", (name,), t) for name in names]
        await boards.create(Board(f"charts, {title}".lower(), tuple(shown)))
    mixed = [
        Tile(name, kinds[n % 3], (name,), list(TIMEFRAMES)[n % len(TIMEFRAMES)])
        for n, name in enumerate(names)
    ]
    await boards.create(Board("all kinds and ranges", tuple(mixed)))
    compared = [
        Tile(name, "comparison", tuple(names[n : n + 3] or names[:3]), "1y1w")
        for n, name in enumerate(names)
    ]
    await boards.create(Board("comparisons of three over a year", tuple(compared)))


def measure_board(times: int, tiles: int = 20) -> None:
    """
    Measure boards.
    """
    print(f"\nBoards of {tiles} tiles, with a year of data on SQLite")
    with filled_store("board", tiles) as url:
        collector = Collector(url)
        page = collector.get("/boards")[1]
        for path, title in re.findall(r'href="(/boards/\w{16})"><bdi>([^<]*)', page):
            collector.measure(title, path, times, 0.400)
        collector.close()


FILLS = {"list": fill_list, "board": fill_board}
PARTS = {
    "list": lambda options: measure_list(options.times, options.stats),
    "board": lambda options: measure_board(options.times),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="*", help=f"some of: {', '.join(PARTS)}")
    parser.add_argument("--times", type=int, default=40, help="requests for each page")
    parser.add_argument("--stats", type=int, default=100_000, help="in the list")
    parser.add_argument("--fill", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fill:
        fill(*options.fill)
        return
    for part in options.part or PARTS:
        PARTS[part](options)


if __name__ == "__main__":
    main()
