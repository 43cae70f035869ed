"""
Renaming in a Redis Cluster, interrupted at each of its steps. (On one server it is one
step.)
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import inlineCallbacks
from twisted.trial.unittest import TestCase

from tests.fixtures.store_contract import batch, key
from tests.fixtures.stores import ClusterHost
from txstathat.errors import StoreInterrupted, StoreUnavailable
from txstathat.stores import WriteOutcome
from txstathat.stores.redis.cluster.rename import Renaming
from txstathat.stores.redis.cluster.writer import ClusterStore
from txstathat.stores.redis.connections import Connections
from txstathat.stores.redis.dump import RedisDump
from txstathat.stores.redis.keys import KeyNames

LABELS = ("2014", "2014-01", "2014-02", "2014-02-03")


class Died(Exception):
    """The process died."""


class Mortal:
    """
    A client of Redis that dies after some commands.

    :param client: the client.
    :param commands: how many commands it lives.
    """

    def __init__(self, client: Any, commands: int) -> None:
        self.client = client
        self.left = commands

    def spend(self, function: Any) -> Any:
        """A function that is one command."""

        def call(*args: Any, **more: Any) -> Any:
            if self.left == 0:
                raise Died
            self.left -= 1
            return function(*args, **more)

        return call

    def __getattr__(self, name: str) -> Any:
        return self.spend(getattr(self.client, name))


class RenameTests(TestCase):
    """On a Redis Cluster."""

    @inlineCallbacks
    def setUp(self) -> Any:
        self.here = ClusterHost(self)
        self.store = yield self.here.open()
        url = self.here.url()
        connections = Connections(url.partition("?")[0])
        connections.open()
        self.addCleanup(connections.close)
        self.client = connections.client
        self.keys = KeyNames(self.here.prefix)

    def rename(self, commands: int, old: str = "m", new: str = "n") -> bool:
        """Rename with a client that dies after some commands; whether it did not."""
        mortal = Mortal(self.client, commands)
        add = mortal.spend(ClusterStore(self.keys, self.client).add_cells)
        mover = Renaming(self.keys, mortal, add, old, new)
        try:
            return mover.rename()
        except Died:
            return False

    def wait_for_lease(self) -> None:
        """As if the lease of a call that died had expired."""
        self.client.delete(self.keys.key("names", "renaming"))

    @inlineCallbacks
    def test_interrupted(self) -> Any:
        """
        Wherever a call dies, once or twice, the next one completes it: nothing is lost
        or doubled. Meanwhile a write fails, and works when it is repeated.
        """
        commands, interrupted, done = 0, 0, False
        while not done:
            name, new = f"m{commands}", f"n{commands}"
            for n, label in enumerate(LABELS):
                yield self.store.add(
                    [
                        batch(
                            f"{name} {label}",
                            {"k": n + 1, "f": 0.1},
                            name=name,
                            label=label,
                            choices={(name, "g"): [label]},
                        )
                    ]
                )
            done = self.rename(commands, name, new)
            late = [batch(f"late {name}", {"k": 100}, name=new)]
            if not done:
                if commands > 4:
                    # Both names are marked, until all is moved.
                    try:
                        yield self.store.add(late)
                    except StoreInterrupted:
                        interrupted += 1
                self.wait_for_lease()
                if not self.rename(commands // 2, name, new):
                    self.wait_for_lease()
                    # (If the call died at its end, there is nothing left to do.)
                    yield self.store.rename(name, new)
            (answer,) = yield self.store.add(late)
            self.assertIn(answer.outcome, (WriteOutcome.ADDED, WriteOutcome.REPEATED))
            cells = yield self.store.read(
                [key(k, name=new, label=label) for label in LABELS for k in "kf"]
            )
            self.assertEqual(
                [(cell.sum, cell.count) for cell in cells],
                [
                    (101, 2),
                    (0.1, 1),
                    (2, 1),
                    (0.1, 1),
                    (3, 1),
                    (0.1, 1),
                    (4, 1),
                    (0.1, 1),
                ],
            )
            self.assertEqual((yield self.store.choices(new, "g")), sorted(LABELS))
            self.assertIn(new, (yield self.store.definitions()))
            self.assertNotIn(name, (yield self.store.definitions()))
            commands += 1
        self.assertGreater(interrupted, 20)
        left = [
            found
            for found in self.client.scan_iter(f"{self.here.prefix}:*")
            # The ids of batches under the old name are remembered, and expire.
            if b'["m' in found and not found.endswith(b":#")
        ]
        self.assertEqual(left, [])

    @inlineCallbacks
    def test_two_processes(self) -> Any:
        """While one process renames, another cannot; an export says to wait."""
        yield self.store.add([batch("a", {"k": 1}), batch("b", {"k": 1}, name="o")])
        self.rename(5)
        error = yield self.assertFailure(self.store.rename("o", "p"), StoreUnavailable)
        self.assertIn("another process renames", str(error))
        dump = RedisDump(self.here.url(), lambda: 0.0)
        dump.open()
        self.addCleanup(dump.close)
        self.assertIn(
            "is being renamed",
            str(self.assertRaises(StoreUnavailable, dump.definitions, None)),
        )
        self.wait_for_lease()
        # No name of a renaming that was interrupted can be used for another one.
        yield self.assertFailure(self.store.rename("m", "p"), StoreUnavailable)
        for new in ("m", "n"):
            self.assertFalse((yield self.store.rename("o", new)))
        self.assertTrue((yield self.store.rename("m", "n")))
        self.assertEqual(sorted(dump.definitions(None)), ["n", "o"])
