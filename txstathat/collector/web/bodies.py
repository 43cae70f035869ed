"""
The memory for the bodies of requests: a budget for all, and a share for each address.

A body counts against the share of its address until the collector has seen a valid key
for it. So one client without a key cannot use up the memory that others need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from txstathat.collector.metrics import CollectorMetrics

__all__ = ["MAX_BODIES", "SHARES", "Body", "BodyBudget"]

#: How many bytes all bodies can have together.
MAX_BODIES = 64 * 1_048_576
#: The share of one address is this part of the budget: an eighth.
SHARES = 8


class Body:
    """
    A body in the budget.

    :param address: the address of the client, or its network.
    :param cut: called once if the body has to go.

    :ivar size: how many bytes of it have arrived.
    :ivar complete: whether all of it has arrived.
    """

    def __init__(self, address: str, cut: Callable[[], None]) -> None:
        self.address = address
        self.cut = cut
        self.size = 0
        self.complete = False


class BodyBudget:
    """
    Counts the bytes of all bodies in memory, and cuts the largest ones without a key
    when there are too many.

    :param total: how many bytes all bodies can have.
    :param metrics: counts the bodies that are cut.

    :ivar used: how many bytes they have now.
    """

    def __init__(
        self, total: int = MAX_BODIES, metrics: CollectorMetrics | None = None
    ) -> None:
        self._total = total
        self._share = total // SHARES
        self.used = 0
        self._metrics = metrics or CollectorMetrics()
        self._trusted: set[Body] = set()
        # The bodies without a key, and how many bytes they have, by address.
        self._untrusted: dict[str, set[Body]] = {}
        self._untrusted_bytes: dict[str, int] = {}

    def grow(self, body: Body, size: int) -> None:
        """
        Add bytes to a body. This may cut it, or other bodies.

        :param body: the body.
        :param size: how many bytes have arrived.
        """
        self.used += size
        body.size += size
        if body not in self._trusted:
            address = body.address
            self._untrusted.setdefault(address, set()).add(body)
            more = self._untrusted_bytes.get(address, 0) + size
            self._untrusted_bytes[address] = more
            while self._untrusted_bytes.get(address, 0) > self._share:
                self._cut(_largest(self._untrusted[address]))
        while self.used > self._total:
            if not self._untrusted_bytes:
                # Only bodies with keys are left: this one has to wait.
                self._cut(body)
                return
            address = max(self._untrusted_bytes, key=self._untrusted_bytes.__getitem__)
            self._cut(_largest(self._untrusted[address]))

    def trust(self, body: Body) -> None:
        """
        Note that a body has a valid key: it no longer counts against the share of its
        address.
        """
        self._forget_untrusted(body)
        self._trusted.add(body)

    def release(self, body: Body) -> None:
        """
        Remove a body that is no longer in memory.
        """
        self._forget_untrusted(body)
        self._trusted.discard(body)
        self.used -= body.size
        body.size = 0

    def _cut(self, body: Body) -> None:
        self._metrics.bodies_cut += 1
        self.release(body)
        body.cut()

    def _forget_untrusted(self, body: Body) -> None:
        bodies = self._untrusted.get(body.address, set())
        if body not in bodies:
            return
        bodies.remove(body)
        self._untrusted_bytes[body.address] -= body.size
        if not bodies:
            del self._untrusted[body.address], self._untrusted_bytes[body.address]


def _largest(bodies: Iterable[Body]) -> Body:
    # A complete body is about to be checked: an unfinished one goes first.
    return max(bodies, key=lambda body: (not body.complete, body.size))
