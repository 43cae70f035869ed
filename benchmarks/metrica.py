"""
Compare how much a Metrica's kicks cost with a straightforward way to do the same.

The baseline does what staste does, with redis-py on the same Redis: for each kick one
pipeline, with an ``HINCRBY`` for each date scale and each combination of choices, an
``EXPIRE`` for each scale that expires, and a ``SADD`` for each choice. Its
reads are one pipeline of ``HGET``; as a Twisted program must, it makes them in a
thread.

Run it from the project's folder::

    python -m benchmarks.metrica                       # a few minutes
    python -m benchmarks.metrica --axes 5 --growth 0   # a part of it
    python -m benchmarks.metrica --growth 10000000     # ten million kicks
    python -m benchmarks.metrica --freeze              # after gc.freeze()

It starts a Redis server of its own (Debian: ``apt-get install redis-server``), which
writes nothing to disk, for the baseline and the Metrica alike. SQLite syncs each
commit. Costs are seconds of CPU of this process and of Redis, so that other work on the
machine counts for little. A kick is in the journal then; "with its fold" is until it is
in the cells too. Each ratio is the median of the ratios of the rounds.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

from twisted.internet import reactor, task
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.internet.threads import deferToThread

try:
    import redis
except ImportError:
    sys.exit("needs redis-py: pip install redis")

from tests.fixtures.stores import RedisServer
from txstathat.metrica import Metrica, StoredChoiceAxis
from txstathat.metrica.calendar import RETENTION, SCALES
from txstathat.stores import IStore, open_store
from txstathat.stores.redis.backend import RedisBackend
from txstathat.stores.schemes import sqlite_path
from txstathat.stores.sqlite.backend import SqliteBackend

READ_ROUNDS = 3
CHOICES = [str(n) for n in range(10)]


class Baseline:
    """Counts as staste does."""

    def __init__(self, port: int, axes: int) -> None:
        self.redis = redis.Redis(port=port)
        self.words = [f"axis{n}" for n in range(axes)]
        self.key = f"baseline:{axes}"

    def kick(self, value: int = 1, **axes: str) -> None:
        """Count one event."""
        now = datetime.now(UTC)
        fields = [
            ":".join(parts)
            for parts in itertools.product(
                *(("__all__", f"{word}={axes[word]}") for word in self.words)
            )
        ]
        pipe = self.redis.pipeline(transaction=False)
        for scale in ("all", *SCALES):
            key = self.scale_key(now, scale)
            for field in fields:
                pipe.hincrby(key, field, value)
            ttl = RETENTION.get(scale)
            if ttl is not None:
                pipe.expire(key, int(ttl))
        for word in self.words:
            pipe.sadd(f"{self.key}:choices:{word}", axes[word])
        pipe.execute()

    def scale_key(self, when: datetime, scale: str) -> str:
        """Where a stretch of time is."""
        parts = ["all"] if scale == "all" else []
        for name in SCALES[: SCALES.index(scale) + 1] if not parts else ():
            parts += [name, str(getattr(when, name))]
        return f"{self.key}:{':'.join(parts)}"

    def field(self, **axes: str) -> str:
        """Where a selection is."""
        return ":".join(
            f"{word}={axes[word]}" if word in axes else "__all__" for word in self.words
        )

    def total(self, **axes: str) -> int:
        """The sum of a selection."""
        return int(self.redis.hget(f"{self.key}:all", self.field(**axes)) or 0)

    def timeline(
        self, since: datetime, until: datetime, **axes: str
    ) -> list[tuple[datetime, int]]:
        """The sums of a selection by minute."""
        field = self.field(**axes)
        pipe = self.redis.pipeline(transaction=False)
        points = []
        at = since.replace(second=0, microsecond=0)
        while at <= until:
            points.append(at)
            pipe.hget(self.scale_key(at, "minute"), field)
            at += timedelta(minutes=1)
        found = pipe.execute()
        return [(at, int(one or 0)) for at, one in zip(points, found, strict=True)]


@cache
def random_events(axes: int) -> list[dict[str, str]]:
    """Random events, as many as there are different ones with five axes."""
    random.seed(axes)
    return [
        {f"axis{n}": random.choice(CHOICES) for n in range(axes)}
        for _ in range(100_000)
    ]


def events(axes: int) -> Iterator[dict[str, str]]:
    """Random events, for ever."""
    return itertools.cycle(random_events(axes))


@dataclass
class Cost:
    """
    What some kicks took, for each of them: seconds of CPU, and of the wall clock.
    """

    cpu: float
    wall: float


class Meter:
    """
    Measures the CPU of this process and of a server.

    :param server: the process id of the server.
    """

    def __init__(self, server: int) -> None:
        self._server = Path(f"/proc/{server}/stat")
        self._began = self._now()

    def _now(self) -> tuple[float, float]:
        user, system = self._server.read_text().rpartition(")")[2].split()[11:13]
        of_server = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
        return time.process_time() + of_server, time.perf_counter()

    def cost(self, kicks: int) -> Cost:
        """Return what kicks have cost since this was made."""
        cpu, wall = self._now()
        return Cost((cpu - self._began[0]) / kicks, (wall - self._began[1]) / kicks)


@inlineCallbacks
def unawaited(metrica: Metrica, kicks: int) -> Any:
    """Kick without waiting for any kick; wait until the last is in the store."""
    source = events(len(metrica.axes))
    for _ in range(0, kicks, 1000):
        for event in itertools.islice(source, 1000):
            metrica.kick(**event)
        yield task.deferLater(reactor, 0)
        while metrica.waiting > 50_000:
            yield task.deferLater(reactor, 0.001)
    yield metrica.store.batcher.settled()
    assert metrica.lost == metrica.refused == 0


@inlineCallbacks
def in_flight(metrica: Metrica, kicks: int, tasks: int = 1000) -> Any:
    """Let a thousand tasks kick, each of which waits for each of its kicks."""
    source = events(len(metrica.axes))

    @inlineCallbacks
    def run() -> Any:
        for _ in range(kicks // tasks):
            yield metrica.kick(**next(source))

    yield gatherResults([run() for _ in range(tasks)])


def baseline_cost(baseline: Baseline, server: int, kicks: int) -> Cost:
    """Return what a kick of the baseline costs, which blocks."""
    source = events(len(baseline.words))
    meter = Meter(server)
    for event in itertools.islice(source, kicks):
        baseline.kick(**event)
    return meter.cost(kicks)


@inlineCallbacks
def milliseconds(ask: Callable[[], Deferred[Any]], times: int = 100) -> Any:
    """How long a question takes: the median."""
    took = []
    for _ in range(times):
        begin = time.perf_counter()
        yield ask()
        took.append((time.perf_counter() - begin) * 1000)
    return statistics.median(took)


# How many times as many kicks, at least, by number of axes and way to kick.
KICK_GOALS = {(3, "unawaited"): 120, (3, "1,000 in flight"): 30, (5, "unawaited"): 20}
# How many times as long, at most, by store and question.
READ_GOALS = {("SQLite", "total"): 0.75, ("SQLite", "60-point timeline"): 0.62}
# How many times as much a kick may cost after a million kicks.
GROWTH_GOAL = 1.2


@inlineCallbacks
def compare(axes: int, server: RedisServer, folder: Path, rounds: int) -> Any:
    """The rows of a number of axes, for each store."""
    baseline = Baseline(server.port, axes)
    stores = {
        "SQLite": f"sqlite:{folder}/{axes}.sqlite",
        "Redis": f"redis://127.0.0.1:{server.port}/1",
    }
    random_events(axes)
    for name, url in stores.items():
        found: dict[str, list[tuple[Cost, Cost]]] = {}
        for _ in range(rounds):
            base = baseline_cost(baseline, server.pid, 250 if axes == 5 else 1000)
            costs = yield kick_costs(axes, url, server.pid)
            for way, cost in costs.items():
                found.setdefault(way, []).append((base, cost))
        for way, pairs in found.items():
            show_kicks(axes, name, way, pairs)
        store = yield open_store(url)
        yield compare_reads(name, new_metrica(axes, store), baseline)
        yield store.close()


def new_metrica(axes: int, store: IStore) -> Metrica:
    """A Metrica with so many axes."""
    words = [(f"axis{n}", StoredChoiceAxis()) for n in range(axes)]
    return Metrica(f"bench{axes}", words, store)


@inlineCallbacks
def kick_costs(axes: int, url: str, server: int) -> Any:
    """Return what a kick costs, by way to kick."""
    costs = {}
    for way, kick, kicks in (
        ("unawaited", unawaited, 100_000),
        ("1,000 in flight", in_flight, 20_000),
    ):
        store = yield open_store(url)
        metrica = new_metrica(axes, store)
        meter = Meter(server)
        yield kick(metrica, kicks)
        costs[way] = meter.cost(kicks)
        yield store.close()
        fold_rest(url)
        costs[f"{way}, with its fold"] = meter.cost(kicks)
    return costs


def fold_rest(url: str) -> None:
    """Fold what closing a store had no time for."""
    path = sqlite_path(url)
    backend = SqliteBackend(path, time.time) if path else RedisBackend(url)
    backend.open()
    while backend.fold():
        pass
    backend.close()


def show_kicks(axes: int, name: str, way: str, pairs: list[tuple[Cost, Cost]]) -> None:
    """Print a row."""
    microseconds = statistics.median(cost.cpu for _, cost in pairs) * 1e6
    ratio = statistics.median(base.cpu / cost.cpu for base, cost in pairs)
    wall = statistics.median(base.wall / cost.wall for base, cost in pairs)
    print(
        f"{axes} axes, {name:6}, {way:27}: {microseconds:8.1f} µs of CPU a kick, "
        f"{ratio:6.1f}x as many as the baseline (by the clock {wall:6.1f}x)"
        f"{goal('at least', KICK_GOALS.get((axes, way)))}",
        flush=True,
    )


def goal(word: str, number: float | None) -> str:
    """How a goal is shown."""
    return "" if number is None else f" (goal: {word} {number}x)"


@inlineCallbacks
def compare_reads(name: str, metrica: Metrica, baseline: Baseline) -> Any:
    """How long questions take, beside the baseline's."""
    some = {"axis0": "1"} if metrica.axes else {}
    until = datetime.now(UTC)
    span = (until - timedelta(minutes=59), until)
    ours = metrica.filter(**some)
    pairs: list[tuple[str, Any, Any]] = [
        ("total", ours.total, lambda: baseline.total(**some)),
        (
            "60-point timeline",
            lambda: ours.timeserie(*span, "minute"),
            lambda: baseline.timeline(*span, **some),
        ),
    ]
    for what, ask, ask_baseline in pairs:
        compared = []
        for _ in range(READ_ROUNDS):
            mine = yield milliseconds(ask)
            base = yield milliseconds(partial(deferToThread, ask_baseline))
            begin = time.perf_counter()
            for _ in range(100):
                ask_baseline()
            blocking = (time.perf_counter() - begin) * 10
            compared.append((mine / base, mine / blocking))
        ratio, blocked = map(statistics.median, zip(*compared, strict=True))
        print(
            f"{len(metrica.axes)} axes, {name:6}, {what}: {ratio:.2f}x the baseline's "
            f"time in a thread, {blocked:.2f}x of it blocking the reactor"
            f"{goal('at most', READ_GOALS.get((name, what)))}",
            flush=True,
        )


@inlineCallbacks
def growth(server: RedisServer, folder: Path, most: int) -> Any:
    """Whether a kick costs more after many of them."""
    for name, url in {
        "SQLite": f"sqlite:{folder}/growth.sqlite",
        "Redis": f"redis://127.0.0.1:{server.port}/2",
    }.items():
        store = yield open_store(url)
        metrica = new_metrica(3, store)
        first = None
        done = 0
        upto = 10_000
        while upto <= most:
            yield unawaited(metrica, upto - done)
            costs = []
            for _ in range(5):
                meter = Meter(server.pid)
                yield unawaited(metrica, 20_000)
                costs.append(meter.cost(20_000).cpu)
            done = upto + 5 * 20_000
            cost = statistics.median(costs)
            first = first or cost
            print(
                f"3 axes, {name:6} after {upto:10,} kicks: {cost / first:.2f}x the CPU "
                f"of a kick after 10,000{goal('at most', GROWTH_GOAL)}",
                flush=True,
            )
            upto *= 100 if upto == 10_000 else 10
        assert (yield metrica.total()) == done
        yield store.close()


@inlineCallbacks
def spread_size(folder: Path) -> Any:
    """How large a file with a million kicks is, evenly over the minutes of a day."""
    path = folder / "size.sqlite"
    store = yield open_store(f"sqlite:{path}")
    metrica = new_metrica(3, store)
    source = events(3)
    day = datetime(2026, 1, 1, tzinfo=UTC)
    for minute in range(1440):
        at = day + timedelta(minutes=minute)
        for event in itertools.islice(source, 1_000_000 // 1440):
            metrica.kick(date=at, **event)
        yield store.batcher.settled()
    yield store.close()
    size = path.stat().st_size / 1e6
    print(f"SQLite file: {size:.1f} MB for a million kicks over a day, 3 axes")


@inlineCallbacks
def main(_: Any, options: argparse.Namespace) -> Any:
    """Everything."""
    if options.freeze:
        gc.collect()
        gc.freeze()
    server = RedisServer()
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for axes in options.axes:
                yield compare(axes, server, folder, options.rounds)
            yield growth(server, folder, options.growth)
            if options.size:
                yield spread_size(folder)
    finally:
        server.remove()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Metrica beside a baseline.")
    parser.add_argument("--axes", type=int, nargs="*", default=[0, 2, 3, 5])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--growth", type=int, default=1_000_000, help="kicks; 0 leaves this out"
    )
    parser.add_argument(
        "--size", action="store_true", help="the size of a file, for which it is filled"
    )
    parser.add_argument(
        "--freeze",
        action="store_true",
        help="call gc.freeze() first, as a program may when it has started",
    )
    task.react(main, [parser.parse_args()])
