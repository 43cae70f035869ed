"""
Refuses wrong keys, and slows down addresses that try many of them.

Requests with a right key are never slowed down: they may come through the same proxy.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from txstathat.collector.addresses import network_of
from txstathat.collector.errors import WrongKey

__all__ = [
    "HELD_PER_SECOND",
    "HOLD_SECONDS",
    "MAX_ADDRESSES",
    "MAX_HELD",
    "MAX_WRONG",
    "KeyThrottle",
]

#: How many wrong keys an address can try in a minute before its answers are delayed.
MAX_WRONG = 20
#: The shortest delay of an answer, in seconds. The longest is twice that.
HOLD_SECONDS = 1.0
#: How many delayed answers are let go in a second at most. With more of them the delays
#: are longer: clients may repeat their requests as soon as they are answered, and each
#: request takes time from the others.
HELD_PER_SECOND = 500
#: How many answers can be delayed at a time. A further one is sent at once and its
#: connection is closed: a new connection costs a client more than a delay, and a closed
#: one takes up no room.
MAX_HELD = 2048
#: How many addresses are remembered. The oldest are forgotten first.
MAX_ADDRESSES = 10_000

#: How StatHat called a wrong key. Programs may look for these words.
INVALID_KEYS = "invalid keys"

_MINUTE = 60.0


class KeyThrottle:
    """
    Counts wrong keys by address, and delays the refusals to those that send many.

    :param clock: schedules the delays.
    :param max_wrong: how many wrong keys an address can try in a minute.
    :param spread: returns a number from 0 to 1: how much longer than the shortest a
        delay is. Different delays keep the clients from coming back all at
        once.
    :ivar wrong: the number of wrong keys so far.
    :ivar max_held: how many answers can be delayed at a time.
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
        # By address: when its minute began, and how many wrong keys it tried in it.
        self._tried: dict[str, tuple[float, int]] = {}
        self._held = 0
        self.wrong = 0
        self.max_held = MAX_HELD

    @property
    def addresses(self) -> int:
        """
        How many addresses are remembered.
        """
        return len(self._tried)

    def refuse(self, address: str, kind: str) -> WrongKey:
        """
        Count a wrong key.

        :param address: the client's address.
        :param kind: the words for the kind of key that was expected, such as
            ``'EZ key'``.
        :returns: the refusal to answer with. If its address has tried too many, it says
            how to delay the answer.
        """
        unknown = f"{INVALID_KEYS}: this {kind} is unknown to this server"
        self.wrong += 1
        since, tried = self._count(network_of(address))
        if tried <= self._max_wrong:
            return WrongKey(403, unknown)
        all_held = self._held >= self.max_held
        delay = 0.0
        if not all_held:
            shortest = max(HOLD_SECONDS, (self._held + 1) / HELD_PER_SECOND)
            delay = shortest * (1 + self._spread())
        left = max(1, int(since + _MINUTE - self._clock.seconds() - delay))
        refusal = WrongKey(
            429,
            f"{unknown}, and too many wrong ones have come from your address: "
            "wait for a minute",
            retry_after=left,
            closes=all_held,
        )
        if not all_held:
            refusal.hold = partial(self._hold, delay)
        return refusal

    def _hold(self, delay: float, release: Callable[[], object]) -> Callable[[], None]:
        self._held += 1
        call = self._clock.callLater(delay, self._release, release)
        return partial(self._cancel, call)

    def _release(self, release: Callable[[], object]) -> None:
        self._held -= 1
        release()

    def _cancel(self, call: IDelayedCall) -> None:
        if call.active():
            call.cancel()
            self._held -= 1

    def _count(self, address: str) -> tuple[float, int]:
        """
        Count a wrong key.

        :returns: when the minute of its address began, and how many there were in it.
        """
        now = self._clock.seconds()
        since, tried = self._tried.get(address, (now, 0))
        if now - since >= _MINUTE:
            since, tried = now, 0
        self._tried[address] = (since, tried + 1)
        if len(self._tried) > MAX_ADDRESSES:
            del self._tried[next(iter(self._tried))]
        return since, tried + 1
