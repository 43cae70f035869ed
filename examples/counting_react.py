"""
A program that does its work and ends: ``python counting_react.py``.
"""

from counting_app import make_stats
from twisted.internet.task import deferLater, react


async def main(reactor):
    stats = make_stats()
    stats.startService()
    # However the program ends, also by a signal, it sends its stats first.
    reactor.addSystemEventTrigger("before", "shutdown", stats.stopService)
    for page in range(10):
        stats.count("pages read")
        stats.value("page length", 100 + page)
        await deferLater(reactor, 0.01)
    await stats.flush()
    print(stats.health)


if __name__ == "__main__":
    react(main)
