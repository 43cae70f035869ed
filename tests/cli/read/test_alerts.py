"""
``txstathat alerts``, against a collector.
"""

from __future__ import annotations

import csv
import json
import re
from typing import Any

from twisted.internet.defer import ensureDeferred

from tests.fixtures.shells import HOSTILE, ShellCase
from txstathat import Count, Value


class AlertsTests(ShellCase):
    """
    ``list``, ``show``, ``create`` and ``delete``.
    """

    def test_round(self) -> Any:
        """Alerts of each kind are created by name, shown in words, and deleted."""

        async def check() -> None:
            await self.start()
            await self.post(Count("errors", 3), Value(HOSTILE, 2))
            self.assertEqual(
                json.loads(await self.succeed("alerts", "list", "--json")), []
            )
            made = []
            for text in (
                "errors --kind value --time-window 1h --operator lt --threshold -0.5",
                "HOSTILE --kind delta --time-window 1d --operator dt --percentage 50 "
                "--time-delta 1w",
                "HOSTILE --kind data --time-window 5m",
            ):
                stat, *arguments = text.split()
                stat = HOSTILE if stat == "HOSTILE" else stat
                status, out, err = await self.shell(
                    "alerts", "create", stat, *arguments, "--json"
                )
                self.assertEqual(status, 0, err)
                self.assertIn("Warning: nobody will be notified: no channel is", err)
                made.append(json.loads(out))
            value, delta, data = made
            self.assertEqual(
                [value[name] for name in ("stat_name", "operator", "threshold")],
                ["errors", "less than", -0.5],
            )
            self.assertEqual(delta["stat_name"], HOSTILE)
            self.assertEqual((delta["percentage"], delta["time_delta"]), (50, "1w"))
            self.assertIsNone(data["operator"])
            table = await self.succeed("alerts", "list", COLUMNS="160")
            for words in (
                "it is less than -0.5 over 1 hour",
                "it changes by more than 50% over 1 day, compared with 1 week before",
                "there is no data for 5 minutes",
                HOSTILE,
                value["id"],
            ):
                self.assertIn(words, table)
            self.assertEqual(len(re.findall("│ clear +│", table)), 3)
            out = await self.succeed("alerts", "list", "--csv")
            rows = list(csv.DictReader(out.splitlines()))
            self.assertEqual({row["id"] for row in rows}, {one["id"] for one in made})
            shown = await self.succeed("alerts", "show", value["id"])
            self.assertRegex(shown, r"threshold +│ -0\.5 ")
            self.assertNotIn("percentage", shown)
            (row,) = csv.DictReader(
                (
                    await self.succeed("alerts", "show", delta["id"], "--csv")
                ).splitlines()
            )
            self.assertEqual((row["kind"], row["firing"]), ("delta", "False"))
            status, _, err = await self.shell(
                "alerts", "delete", value["id"], stdin="n\n"
            )
            self.assertEqual(status, 1)
            self.assertIn(f"Delete the alert {value['id']} on errors?", err)
            out = await self.succeed("alerts", "delete", value["id"], "--yes")
            self.assertEqual(out, f"The alert {value['id']} is deleted.\n")
            left = json.loads(await self.succeed("alerts", "list", "--json"))
            self.assertEqual({one["kind"] for one in left}, {"delta", "data"})

        return ensureDeferred(check())

    def test_failures(self) -> Any:
        """The server's message is printed with status 1; wrong usage is status 2."""

        async def check() -> None:
            await self.start()
            await self.post(Count("errors"))
            window = ("--time-window", "1h")
            for expected, words, *arguments in (
                (1, "no stat with the name", "create", "x", "--kind", "data", *window),
                (
                    2,
                    "--kind value needs --operator, --threshold too",
                    "create",
                    "errors",
                    "--kind",
                    "value",
                    *window,
                ),
                (1, "no alert with the id 'x'", "show", "x"),
                (1, "no alert with the id 'x'", "delete", "x", "--yes"),
                (1, "no alert with the id 'x'", "delete", "x"),
                (2, "--time-window", "create", "errors", "--kind", "data"),
                (2, "is not one of", "create", "errors", "--kind", "z", *window),
            ):
                status, out, err = await self.shell("alerts", *arguments)
                self.assertEqual((status, out), (expected, ""), err)
                self.assertIn(words, err)

        return ensureDeferred(check())
