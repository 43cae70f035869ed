"""
``txstathat rename``, ``describe`` and ``trash``, against a collector.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import ensureDeferred

from tests.fixtures.shells import HOSTILE, ShellCase
from txstathat import Count, Value
from txstathat.collector.archive.stats import stat_id


class TendingTests(ShellCase):
    """
    As a shell sees them.
    """

    def test_rename_and_describe(self) -> Any:
        """A stat is renamed by name, and described by id; what is wrong is said."""

        async def check() -> None:
            await self.start()
            await self.post(Count("old", 3), Value("other", 2))
            out = await self.succeed("rename", "old", HOSTILE)
            self.assertIn(f"old is renamed to '{HOSTILE}'. Points under the old", out)
            total = (await self.parts.archive.totals())[HOSTILE]
            self.assertEqual(total.sum, 3)
            id = stat_id(HOSTILE)
            out = await self.succeed("describe", id, "--unit", "ms")
            self.assertEqual(out, f"{HOSTILE} is changed.\n")
            await self.succeed("describe", id, "--description", "How long.")
            details = (await self.parts.archive.details.all())[id]
            self.assertEqual((details.unit, details.description), ("ms", "How long."))
            for arguments, words in (
                (("rename", "other", HOSTILE), "already"),
                (("rename", "nothing", "x"), "no stat with the name or id"),
                (("describe", "other", "--unit", "x" * 21), "unit"),
            ):
                status, _, err = await self.shell(*arguments)
                self.assertNotEqual(status, 0)
                self.assertIn(words, " ".join(err.split()))
            status, _, err = await self.shell("describe", "other")
            self.assertEqual(status, 2)
            self.assertIn("--unit, --description or both", err)

        return ensureDeferred(check())

    def test_trash(self) -> Any:
        """A deleted stat is listed, restored, and deleted for good."""

        async def check() -> None:
            await self.start()
            self.assertEqual(
                await self.succeed("trash", "list"), "The trash is empty.\n"
            )
            await self.post(Count(HOSTILE, 3), Count("b"))
            status, _, err = await self.shell("delete", "--yes", HOSTILE)
            self.assertEqual(status, 0)
            self.assertIn("txstathat trash restore 'load [red]", err)
            self.assertIn(HOSTILE, await self.succeed("trash", "list"))
            (found,) = json.loads(await self.succeed("trash", "list", "--json"))
            self.assertEqual(found["name"], HOSTILE)
            self.assertEqual(found["until"] - found["deleted_at"], 48 * 3600)
            await self.succeed("trash", "restore", HOSTILE)
            self.assertIsNotNone(await self.parts.archive.stat(HOSTILE))
            for arguments in (
                ("restore", "b"),
                ("delete", "--yes", "b"),
                ("delete", "b"),
            ):
                status, _, err = await self.shell("trash", *arguments)
                self.assertEqual(status, 1)
                self.assertIn("no stat in the trash", err)
                self.assertNotIn("?", err)
            await self.shell("delete", "--yes", HOSTILE)
            out = await self.succeed("trash", "delete", "--yes", found["id"])
            self.assertEqual(out, f"{HOSTILE} is deleted for good.\n")
            left = await self.parts.archive.store.definitions()
            self.assertEqual(list(left), ["b"])

        return ensureDeferred(check())

    def test_a_token_that_can_only_read(self) -> Any:
        """A read-only token lists stats and the trash, and changes nothing."""

        async def check() -> None:
            await self.start()
            await self.post(Count("a", 3), Count("b"))
            await self.shell("delete", "--yes", "b")
            token = await self.parts.keys.add("read", "wall")
            for arguments in (("list",), ("summary", "a"), ("trash", "list")):
                await self.succeed(*arguments, TXSTATHAT_TOKEN=token)
            for arguments in (
                ("delete", "--yes", "a"),
                ("rename", "a", "c"),
                ("describe", "a", "--unit", "s"),
                ("trash", "restore", "b"),
                ("trash", "delete", "--yes", "b"),
                ("alerts", "create", "a", "--kind", "data", "--time-window", "1h"),
            ):
                status, _, err = await self.shell(*arguments, TXSTATHAT_TOKEN=token)
                self.assertEqual(status, 1, err)
                self.assertIn("can only read", err)
            self.assertEqual(
                [stat.name for stat in await self.parts.archive.stats()], ["a"]
            )

        return ensureDeferred(check())
