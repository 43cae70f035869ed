"""
A program with visitors, which counts them on the server that the environment names.

TXSTATHAT_EZKEY and TXSTATHAT_URL name the key and the server; without a key nothing is
counted, and the program runs all the same.
"""

import random
import sys

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater, react
from twisted.logger import (
    FilteringLogObserver,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)

from txstathat import NullStatHat, stathat_from_env


async def main(reactor):
    sh = stathat_from_env(timeout=2)
    for _ in range(20):
        sh.count("visitors")
        sh.value("seconds on page", random.expovariate(1 / 20))
        if random.random() < 0.25:
            await sh.count("signups")
        await deferLater(reactor, 0.05)
    await sh.close()
    if not isinstance(sh, NullStatHat):
        print(sh.health)


# Leave out debug messages.
log = FilteringLogObserver(textFileLogObserver(sys.stderr), [LogLevelFilterPredicate()])
globalLogBeginner.beginLoggingTo([log], redirectStandardIO=False)
react(lambda reactor: ensureDeferred(main(reactor)))
