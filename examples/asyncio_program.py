"""
A program of asyncio's that counts. Run it with ``python asyncio_program.py``.
"""

import asyncio

from twisted.internet import asyncioreactor


async def main():
    loop = asyncio.get_running_loop()
    asyncioreactor.install(loop)  # before the first import of a reactor
    from twisted.internet import reactor

    from txstathat import stathat_from_env

    reactor.startRunning(installSignalHandlers=False)
    stats = stathat_from_env()
    counted = await stats.count("visits").asFuture(loop)
    print("counted:", counted)
    await stats.close().asFuture(loop)
    reactor.fireSystemEvent("shutdown")


if __name__ == "__main__":
    asyncio.run(main())
