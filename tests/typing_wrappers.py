"""
What a type checker must accept, and what it must refuse, of wrappers and blocking clients.

Checked by mypy, with and without its plugin for zope, and by pyright; never run.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from txstathat import (
    Count,
    NullStatHat,
    StatHatExport,
    StatHatService,
    blocking,
    service_from_env,
    stathat_from_env,
    tee,
    txStatHat,
    txStatHatClassic,
)
from txstathat.client.null import NullFlushResult
from txstathat.testing import MemoryStatHat


async def everywhere(key: str) -> None:
    StatHatService(stathat_from_env())
    StatHatService(NullStatHat())
    StatHatService(txStatHatClassic(key))
    service: StatHatService = service_from_env(spool="/tmp", interval=1.0)
    null = NullStatHat()
    flushed: Deferred[NullFlushResult] = null.flush()
    null.startService()
    await null.stopService()
    async with service as stats, txStatHat(key) as client, StatHatExport(key) as export:
        await stats.count("a")
        await client.count("a")
        await export.stats()
    print(flushed, service.health.lost, null.health.lost, null.health.accepted)


async def wrapped(service: StatHatService, client: txStatHat) -> None:
    taken: bool = await service.scoped("web1 ").count("a", 2)
    both: Deferred[bool] = tee(service, client, MemoryStatHat()).scoped("b ").tick("a")
    threads = tee(service, client.scoped("web1 ")).from_threads()
    promised: bool = threads.count("a")
    promised = service.from_threads().scoped("web1 ").value("a", 0.5, t=5)
    print(taken, await both, promised)


def script(key: str) -> None:
    with blocking.txStatHat(key, timeout=5.0) as client:
        taken: bool = client.count("a", 2, ignore_errors=False)
        taken = client.stat("a").value(0.5)
        taken = client.post([Count("a")])
        print(taken, client.send([Count("a")]).verdict, client.health.accepted)
    taken = blocking.ez_count(key, "a", url="https://example.org")
    taken = blocking.stathat_from_env().count("a")
    taken = blocking.txStatHatClassic(key).tick("a")


def bad(service: StatHatService, client: txStatHat, key: str) -> None:
    StatHatService(key)  # type: ignore[arg-type]
    tee(service, key)  # type: ignore[arg-type]
    tee(service)  # type: ignore[call-arg]
    client.scoped(5)  # type: ignore[arg-type]
    service_from_env(nonsense=1)  # type: ignore[call-arg]
    blocking.ez_count(key, "a", timeout="10")  # type: ignore[arg-type]
    blocking.txStatHat(key).count(b"a")  # type: ignore[arg-type]
    deferred: Deferred[bool] = client.from_threads().count("a")  # type: ignore[assignment]
    print(deferred)
