"""
``txstathat note``, against a collector.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import ensureDeferred

from tests.fixtures.shells import HOSTILE, ShellCase
from txstathat import Count
from txstathat.collector.archive.records.comments import GENERAL
from txstathat.collector.archive.stats import stat_id


class NoteTests(ShellCase):
    """Notes from the command line."""

    def test_notes(self) -> Any:
        """
        A note is on all stats, or on the one that is named by its name or id. What
        cannot be noted is said, and nothing is stored.
        """

        async def check() -> None:
            await self.start()
            await self.post(Count(HOSTILE))
            out = await self.succeed("note", "version 2 deployed")
            self.assertEqual(out, "Noted on all charts: version 2 deployed\n")
            for name in (HOSTILE, stat_id(HOSTILE)):
                out = await self.succeed("note", "[red]robots[/]", "--stat", name)
                self.assertEqual(out, f"Noted on {HOSTILE}: [red]robots[/]\n")
            for arguments, status, words in (
                (
                    ("x", "--stat", "nothing"),
                    1,
                    "no stat with the name or id 'nothing'",
                ),
                (("",), 1, "text: must not be empty"),
                (("x" * 501,), 1, "at most 500 are allowed"),
                ((), 2, "Missing argument 'TEXT'"),
            ):
                code, _, err = await self.shell("note", *arguments)
                self.assertEqual(code, status, err)
                self.assertIn(words, err)
            found = await self.parts.archive.notes.all()
            texts = {id: [one.text for one in some] for id, some in found.items()}
            self.assertEqual(
                texts,
                {
                    GENERAL: ["version 2 deployed"],
                    stat_id(HOSTILE): ["[red]robots[/]", "[red]robots[/]"],
                },
            )

        return ensureDeferred(check())
