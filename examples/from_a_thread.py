"""
Count from a thread of a Twisted program.
"""

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import react
from twisted.internet.threads import blockingCallFromThread, deferToThread

from txstathat import stathat_from_env


def work(reactor, sh):
    # This runs in a thread.
    reactor.callFromThread(sh.count, "files read")
    return blockingCallFromThread(reactor, sh.value, "bytes", 4096)


async def main(reactor):
    sh = stathat_from_env()
    print(await deferToThread(work, reactor, sh))
    await sh.close()


react(lambda reactor: ensureDeferred(main(reactor)))
