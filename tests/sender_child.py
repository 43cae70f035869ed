"""
A program that counts, to be killed, stopped and confused by the drills.

Its one argument is a JSON object; it prints a line when it has started, and its health,
as a JSON object, when it ends by itself.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.task import LoopingCall
from twisted.logger import globalLogBeginner, textFileLogObserver

from txstathat import StatHatService, txStatHat

reactor: Any = _reactor
config = json.loads(sys.argv[1])
globalLogBeginner.beginLoggingTo(
    [textFileLogObserver(sys.stderr)], redirectStandardIO=False
)
client = txStatHat("canary-key", url=config["url"], timeout=config.get("timeout", 2))
stats = StatHatService(client, **config.get("settings", {}))
offset = [0.0]
total = 0


def say(text: str) -> None:
    """Print a line in one write."""
    os.write(1, text.encode() + b"\n")


def keep_counting() -> None:
    """Count at a steady rate, and note how much in the log, with the time."""
    log = os.open(config["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def tick() -> None:
        global total
        for _ in range(5):
            stats.count(config.get("stat", "n"))
            total += 1
        stats.value("v", 1)
        os.write(log, b"%f %d\n" % (time.monotonic(), total))

    every = config.get("every", 0.005)
    if config["mode"] != "clock":
        LoopingCall(tick).start(every)
        return

    def work() -> None:
        # By a clock that is not set: a LoopingCall would stop for an hour.
        while True:
            time.sleep(every)
            reactor.callFromThread(tick)

    threading.Thread(target=work, daemon=True).start()


def queue() -> None:
    """Record many different points before the start."""
    for i in range(config["queued"]):
        stats.count(f"s{i}")


def step_the_clock() -> None:
    """Set the wall clock, as the reactor sees it, now and then."""
    reactor.seconds = lambda: time.time() + offset[0]
    for after, step in config["steps"]:

        def set_clock(step: float = step) -> None:
            offset[0] = step

        threading.Timer(after, set_clock).start()


def count_in_threads() -> None:
    """Eight threads count at the same time."""

    def work() -> None:
        for _ in range(config["each"]):
            reactor.callFromThread(stats.count, "t")

    def all_done() -> None:
        reactor.callInThread(join)

    def join() -> None:
        for thread in threads:
            thread.join()
        reactor.callFromThread(reactor.callFromThread, reactor.stop)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    reactor.callWhenRunning(all_done)


def fork() -> None:
    """Fork while counting: the child counts and ends, the parent goes on."""
    child = os.fork()
    for _ in range(100):
        stats.count("f")
    if child == 0:
        for i in range(5000):
            stats.count(f"child {i}")
        os._exit(0)
    os.waitpid(child, 0)
    reactor.callLater(1, reactor.stop)


def drain() -> None:
    """End as soon as nothing is pending."""
    stats.flush().addCallback(lambda _: reactor.stop())


def start() -> None:
    """Start, and do what the argument says."""
    mode = config["mode"]
    if mode == "queue":
        queue()
    if mode == "clock":
        step_the_clock()
    stats.startService()
    reactor.addSystemEventTrigger("before", "shutdown", stats.stopService)
    modes = {"count": keep_counting, "clock": keep_counting, "fork": fork}
    modes |= {"threads": count_in_threads, "drain": lambda: None}
    modes.get(mode, lambda: None)()
    if mode == "drain":
        # What others left is adopted in the first moment.
        reactor.callLater(0.2, drain)
    say("started")


reactor.callWhenRunning(start)
reactor.run()
health = stats.health
say(
    json.dumps(
        {
            "recorded": health.recorded,
            "recovered": health.recovered,
            "delivered": health.delivered,
            "pending": health.pending,
            "rejected": health.rejected,
            "dropped": dict(health.dropped),
            "damaged": health.damaged,
            "threads": [t.name for t in threading.enumerate() if not t.daemon],
        }
    )
)
