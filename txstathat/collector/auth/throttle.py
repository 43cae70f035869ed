"""
Wrong keys are slowed down, by the address that they come from.

Right keys never are: somebody behind the same proxy may have them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from txstathat.collector.errors import Refusal

__all__ = ["HOLD", "MAX_ADDRESSES", "MAX_HELD", "MAX_WRONG", "Crowded", "KeyThrottle"]

#: How many wrong keys an address may try in a minute, before it is slowed down.
MAX_WRONG = 20
#: For how many seconds the answer to one more is held back, at least; at most for twice
#: as long.
HOLD = 1.0
#: How many answers are held back at a time. More are given at once, and the connection
#: is closed: that costs more than to hold one back, but takes up no connection.
MAX_HELD = 2048
#: How many addresses are remembered; the oldest are forgotten first.
MAX_ADDRESSES = 10_000

_MINUTE = 60.0


class Crowded(Refusal):
    """
    A refusal that is not held back, since too many are: the connection goes with it.
    """


class KeyThrottle:
    """
    Counts wrong keys.

    :param clock: tells and schedules time.
    :param max_wrong: how many an address may try in a minute.
    :param spread: a number from 0 to 1 each time, so that those who are held back are
        let go one by one: all at once they would come again all at once, in
        everybody's way.
    :ivar wrong: how many there were.
    """

    def __init__(
        self,
        clock: IReactorTime,
        max_wrong: float = MAX_WRONG,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._max_wrong = max_wrong
        self._spread = spread
        # Since when, and how many.
        self._tried: dict[str, tuple[float, int]] = {}
        self._held = 0
        self.wrong = 0

    async def refuse(self, address: str, what: str) -> Refusal:
        """
        Note a wrong key.

        :param address: where it came from.
        :param what: which kind of key it should have been.
        :returns: what to answer, when it is time to.
        """
        self.wrong += 1
        address = _network(address)
        now = self._clock.seconds()
        since, tried = self._tried.get(address, (now, 0))
        if now - since >= _MINUTE:
            since, tried = now, 0
        self._tried[address] = (since, tried + 1)
        if len(self._tried) > MAX_ADDRESSES:
            del self._tried[next(iter(self._tried))]
        if tried < self._max_wrong:
            return Refusal(403, f"this {what} is not known here")
        crowded = self._held >= MAX_HELD
        if not crowded:
            self._held += 1
            await deferLater(self._clock, HOLD * (1 + self._spread()))
            self._held -= 1
        left = max(1, int(since + _MINUTE - self._clock.seconds()))
        return (Crowded if crowded else Refusal)(
            429,
            f"this {what} is not known here, and too many wrong ones have come from "
            "your address: wait for a minute",
            retry_after=left,
        )


def _network(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        # Of a UNIX socket, or of none.
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    # One machine has a whole /64 of these. (A link-local one may name its interface.)
    return str(ip_network((int(parsed), 64), strict=False))
