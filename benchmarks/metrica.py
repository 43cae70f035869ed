"""
Compare how fast a Metrica counts with a straightforward way to do the same.

The baseline does what staste does, with redis-py on the same Redis: for each kick one
pipeline, with an ``HINCRBY`` for each date scale and each combination of choices, an
``EXPIRE`` for each scale that expires, and a ``SADD`` for each choice. Its
reads are one pipeline of ``HGET``; as a Twisted program must, it makes them in a
thread.

Run it from the project's folder::

    python -m benchmarks.metrica            # about two minutes
    python -m benchmarks.metrica --full     # ten million kicks too

It starts a Redis server of its own (Debian: ``apt-get install redis-server``), which
writes nothing to disk, for the baseline and the Metrica alike. SQLite syncs each
commit.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
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
from txstathat.stores import open_store

ROUNDS = 3
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


def events(axes: int) -> Iterator[dict[str, str]]:
    """Random events, for ever."""
    random.seed(axes)
    some = [
        {f"axis{n}": random.choice(CHOICES) for n in range(axes)} for _ in range(20_000)
    ]
    return itertools.cycle(some)


@inlineCallbacks
def unawaited(metrica: Metrica, kicks: int) -> Any:
    """Kicks per second, when nobody waits for one; until the last is in the store."""
    source = events(len(metrica.axes))
    begin = time.perf_counter()
    for _ in range(0, kicks, 1000):
        for event in itertools.islice(source, 1000):
            metrica.kick(**event)
        yield task.deferLater(reactor, 0)
        while metrica.waiting > 50_000:
            yield task.deferLater(reactor, 0.001)
    yield metrica.store.batcher.settled()
    seconds = time.perf_counter() - begin
    assert metrica.lost == metrica.refused == 0
    return kicks / seconds


@inlineCallbacks
def in_flight(metrica: Metrica, kicks: int, tasks: int = 1000) -> Any:
    """Kicks per second by a thousand tasks that wait for each of their kicks."""
    source = events(len(metrica.axes))

    @inlineCallbacks
    def run() -> Any:
        for _ in range(kicks // tasks):
            yield metrica.kick(**next(source))

    begin = time.perf_counter()
    yield gatherResults([run() for _ in range(tasks)])
    return kicks / (time.perf_counter() - begin)


def baseline_kicks(baseline: Baseline, kicks: int) -> float:
    """Kicks per second of the baseline, which blocks."""
    source = events(len(baseline.words))
    begin = time.perf_counter()
    for event in itertools.islice(source, kicks):
        baseline.kick(**event)
    return kicks / (time.perf_counter() - begin)


@inlineCallbacks
def milliseconds(ask: Callable[[], Deferred[Any]], times: int = 100) -> Any:
    """How long a question takes: the median."""
    took = []
    for _ in range(times):
        begin = time.perf_counter()
        yield ask()
        took.append((time.perf_counter() - begin) * 1000)
    return statistics.median(took)


@inlineCallbacks
def compare(axes: int, port: int, folder: Path) -> Any:
    """One line of the table for each store."""
    baseline = Baseline(port, axes)
    words = [(f"axis{n}", StoredChoiceAxis()) for n in range(axes)]
    stores = {
        "Redis": f"redis://127.0.0.1:{port}/1",
        "SQLite": f"sqlite:{folder}/{axes}.sqlite",
    }
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in stores}
    ratios: dict[str, list[tuple[float, float]]] = {name: [] for name in stores}
    metricas = {}
    for name, url in stores.items():
        store = yield open_store(url)
        metricas[name] = Metrica(f"bench{axes}", words, store)
    for _ in range(ROUNDS):
        for name, metrica in metricas.items():
            few = axes == 5
            base = baseline_kicks(baseline, 250 if few else 1000)
            free = yield unawaited(metrica, 20_000 if few else 200_000)
            waited = yield in_flight(metrica, 5_000 if few else 20_000)
            rates[name].append((free, waited))
            ratios[name].append((free / base, waited / base))
    for name, metrica in metricas.items():
        free, waited = map(statistics.median, zip(*rates[name], strict=True))
        more, waited_more = map(statistics.median, zip(*ratios[name], strict=True))
        print(
            f"{axes} axes, {name:6}: {free:8,.0f} kicks/s "
            f"({more:5.1f}x the baseline's), "
            f"1,000 in flight {waited:8,.0f} ({waited_more:5.1f}x)"
        )
        yield compare_reads(metrica, baseline)
        yield metrica.store.close()


@inlineCallbacks
def compare_reads(metrica: Metrica, baseline: Baseline) -> Any:
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
        for _ in range(ROUNDS):
            mine = yield milliseconds(ask)
            base = yield milliseconds(partial(deferToThread, ask_baseline))
            begin = time.perf_counter()
            for _ in range(100):
                ask_baseline()
            blocking = (time.perf_counter() - begin) * 10
            compared.append((mine / base, mine / blocking))
        ratio, blocked = map(statistics.median, zip(*compared, strict=True))
        print(
            f"    {what}: {ratio:.2f}x the baseline's time in a thread, "
            f"{blocked:.2f}x of it blocking the reactor"
        )


@inlineCallbacks
def growth(port: int, folder: Path, most: int) -> Any:
    """Whether a kick costs more after many of them, and how large a file becomes."""
    words = [(f"axis{n}", StoredChoiceAxis()) for n in range(3)]
    for name, url in {
        "Redis": f"redis://127.0.0.1:{port}/2",
        "SQLite": f"sqlite:{folder}/growth.sqlite",
    }.items():
        store = yield open_store(url)
        metrica = Metrica("growth", words, store)
        first = None
        done = 0
        upto = 10_000
        while upto <= most:
            yield unawaited(metrica, upto - done)
            rates = []
            for _ in range(5):
                rates.append((yield unawaited(metrica, 20_000)))
            done = upto + 5 * 20_000
            rate = statistics.median(rates)
            first = first or rate
            print(
                f"{name:6} after {upto:10,} kicks: {first / rate:.2f}x the cost of one"
            )
            upto *= 100 if upto == 10_000 else 10
        assert (yield metrica.total()) == done
        yield store.close()
    spread = yield spread_size(folder)
    print(f"SQLite file: {spread:.1f} MB for a million kicks over a day, 3 axes")


@inlineCallbacks
def spread_size(folder: Path) -> Any:
    """The size of a file with a million kicks, evenly over the minutes of a day."""
    path = folder / "size.sqlite"
    store = yield open_store(f"sqlite:{path}")
    words = [(f"axis{n}", StoredChoiceAxis()) for n in range(3)]
    metrica = Metrica("size", words, store)
    source = events(3)
    day = datetime(2026, 1, 1, tzinfo=UTC)
    for minute in range(1440):
        at = day + timedelta(minutes=minute)
        for event in itertools.islice(source, 1_000_000 // 1440):
            metrica.kick(date=at, **event)
        yield store.batcher.settled()
    yield store.close()
    return path.stat().st_size / 1e6


@inlineCallbacks
def main(_: Any, full: bool) -> Any:
    """Everything."""
    server = RedisServer()
    try:
        with tempfile.TemporaryDirectory() as folder:
            for axes in (0, 2, 3, 5):
                yield compare(axes, server.port, Path(folder))
            yield growth(server.port, Path(folder), 10_000_000 if full else 1_000_000)
    finally:
        server.remove()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Metrica beside a baseline.")
    parser.add_argument("--full", action="store_true", help="ten million kicks too")
    task.react(main, [parser.parse_args().full])
