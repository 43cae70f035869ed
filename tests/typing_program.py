"""
A program in the documented style: every type checker must accept it.

It is checked and never run: by mypy with and without its plugin for zope.interface, and
by pyright.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

from twisted.application.service import MultiService
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.web.client import Agent
from twisted.web.resource import Resource

from txstathat import (
    ClientHealth,
    Count,
    DeliveryHealth,
    FlushResult,
    IStatHat,
    NullStatHat,
    Outcome,
    Stat,
    StatHatExport,
    StatHatService,
    Value,
    Verdict,
    ez_count,
    stathat_from_env,
    txStatHat,
    txStatHatClassic,
)
from txstathat.instruments import (
    LogCounter,
    MeasuredResource,
    ReactorMeter,
    poll,
    timed,
)
from txstathat.testing import FakeStatHat, MemoryStatHat


class Signups:
    """Counts for whatever provides the interface."""

    def __init__(self, stats: IStatHat) -> None:
        self._stats = stats

    def signed_up(self) -> Deferred[bool]:
        return self._stats.count("signups", 1, t=datetime.now(UTC))


async def clients(sh: txStatHat) -> None:
    taken: bool = await sh.count("a")
    deferred: Deferred[bool] = sh.value("b", Decimal("0.1"), t=5, ignore_errors=False)
    await sh.count("c", Fraction(1, 2), t=Fraction(5))
    await sh.post([Count("a"), Value("b", 0.5)])
    outcome: Outcome = await sh.send([Count("a")], "id")
    error: Exception | None = outcome.error
    again: bool = outcome.verdict is Verdict.RETRY
    health: ClientHealth = sh.health
    stat: Stat = sh.stat("a")
    await stat.tick()
    await ez_count("key", "a", 2, url="http://localhost:8080", timeout=3)
    classic = txStatHatClassic("key", agent=Agent(reactor), reactor=reactor)
    await classic.close()
    print(taken, deferred, error, again, health.accepted)


def everywhere(service: StatHatService) -> list[Signups]:
    fake = FakeStatHat()
    fake.fail(ConnectionRefusedError())
    client = txStatHat("key", agent=fake.agent, reactor=Clock())
    providers: list[IStatHat] = [
        client,
        service,
        MemoryStatHat(),
        NullStatHat(),
        stathat_from_env(),
    ]
    return [Signups(stats) for stats in providers]


async def delivery(parent: MultiService) -> None:
    service = StatHatService(
        txStatHat("key"), on_ambiguous="resend", interval=1.0, spool="/var/spool/a"
    )
    service.setServiceParent(parent)
    result: FlushResult = await service.flush()
    health: DeliveryHealth = service.health
    print(result, health.pending)


@timed(NullStatHat(), "job")
async def job(number: int) -> int:
    return number


async def instruments(service: StatHatService, root: Resource) -> None:
    polling = poll(service, "queue length", lambda: 3, 10)
    resource = MeasuredResource(root, stats=service)
    meter = ReactorMeter(service)
    counter = LogCounter(service)
    number: int = await job(3)
    print(polling, resource, meter, counter, number)


async def reading() -> None:
    export = StatHatExport("token", url="https://example.org")
    for stat in await export.stats():
        for dataset in await export.data([stat.id], "1w3h", start=datetime.now(UTC)):
            total: float = sum(point.value for point in dataset.points)
            print(stat.name, total)
    await export.close()
