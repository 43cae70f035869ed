"""
Count from threads of a Twisted program.
"""

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import react
from twisted.internet.threads import deferToThread

from txstathat import service_from_env


def work(stats):
    # This runs in a thread.
    stats.count("files read")
    return stats.value("bytes", 4096)


async def main(reactor):
    async with service_from_env() as service:
        print(await deferToThread(work, service.from_threads()))


react(lambda reactor: ensureDeferred(main(reactor)))
