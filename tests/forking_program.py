"""
A program that forks: ``python -m tests.forking_program JSON``.

It counts, forks children that count too, and prints what each call returned. The JSON
object has ``url``, ``when`` (``before`` or ``after`` the start of the service),
``children``, and what the parent and the children do.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from twisted.logger import globalLogBeginner, textFileLogObserver

from txstathat import StatHatService, txStatHat

config: dict[str, Any] = json.loads(sys.argv[1])
if config.get("log", True):
    globalLogBeginner.beginLoggingTo(
        [textFileLogObserver(sys.stderr)], redirectStandardIO=False
    )
stats = StatHatService(
    txStatHat("canary-key", url=config["url"]), interval=0.2, spool=config.get("spool")
)


def say(text: str) -> None:
    """Print a line in one write."""
    os.write(1, text.encode() + b"\n")


def count(stat: str, times: int) -> None:
    """Count, and print what the calls returned."""
    results: set[Any] = set()
    for _ in range(times):
        stats.count(stat).addCallback(results.add)
    say(f"{stat} {sorted(results)}")


def deliver() -> None:
    """Start the service, deliver everything, and stop it."""
    from twisted.internet import reactor as _reactor

    reactor: Any = _reactor

    def stop(_: object) -> None:
        stats.stopService().addCallback(lambda _: reactor.stop())

    stats.startService()
    reactor.callWhenRunning(lambda: stats.flush().addCallback(stop))
    reactor.run()


def fork_before() -> None:
    """Count, fork, and let the children deliver."""
    assert "twisted.internet.reactor" not in sys.modules
    count("before", 10)
    children = []
    for number in range(config["children"]):
        child = os.fork()
        if not child:
            if config.get("daemon"):
                os.setsid()
                if os.fork():
                    os._exit(0)
            count("child", 1)
            if config.get("kill") and not number:
                stats.startService()
                os.kill(os.getpid(), signal.SIGKILL)
            deliver()
            say("ended")
            os._exit(0)
        children.append(child)
    if config.get("daemon"):
        os._exit(0)
    count("parent", 1)
    if config.get("parent_starts"):
        deliver()
    for child in children:
        os.waitpid(child, 0)


def fork_after() -> None:
    """Start, fork, and count on both sides."""
    from twisted.internet import reactor as _reactor

    reactor: Any = _reactor

    def work() -> None:
        count("before", 10)
        children = []
        for number in range(config["children"]):
            child = os.fork()
            if not child:
                if config.get("kill") and not number:
                    os.kill(os.getpid(), signal.SIGKILL)
                count("before", 5)
                count("child", 5)
                stats.flush().addCallback(lambda result: say(f"flushed {result}"))
                stats.stopService().addCallback(lambda _: say("stopped"))
                sys.stderr.flush()
                os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        count("parent", 1)
        stats.flush().addCallback(lambda _: reactor.stop())

    stats.startService()
    reactor.callWhenRunning(work)
    reactor.addSystemEventTrigger("before", "shutdown", stats.stopService)
    reactor.run()


if __name__ == "__main__":
    {"before": fork_before, "after": fork_after}[config["when"]]()
