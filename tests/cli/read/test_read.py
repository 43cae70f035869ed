"""
The commands that read, as a shell sees them, against a collector.
"""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import sys
from contextlib import redirect_stdout
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures import ROOT
from tests.fixtures.python_programs import PythonPopen
from tests.fixtures.shells import HOSTILE, ShellCase
from txstathat import Count, Value
from txstathat.cli.output import SPARK_WIDTH, json_text, sparkline
from txstathat.cli.tables import show_rows


class ReadTests(ShellCase):
    """
    ``list``, ``search``, ``summary``, ``dataset`` and ``delete``.
    """

    def test_list_and_search(self) -> Any:
        """Stats as a table, as JSON and as CSV; names are shown as they are."""

        async def check() -> None:
            await self.start()
            self.assertEqual(json.loads(await self.succeed("list", "--json")), [])
            self.assertEqual(await self.succeed("list"), "There are no stats.\n")
            self.assertEqual(
                await self.succeed("search", "zzz"),
                "No stat's name contains 'zzz'.\n",
            )
            await self.post(Count("page views", 3), Value(HOSTILE, 2))
            load, views = json.loads(await self.succeed("list", "--json"))
            self.assertEqual((load["name"], load["kind"]), (HOSTILE, "value"))
            self.assertEqual((views["name"], views["kind"]), ("page views", "counter"))
            self.assertEqual((views["value"], views["points"]), (3, 1))
            self.assertEqual((load["value"], load["time"] % 60), (2, 0))
            table = await self.succeed("list", COLUMNS="100")
            for text in (HOSTILE, "page views", "counter", views["id"], " now │"):
                self.assertIn(text, table.replace("1 min ago", "now"))
            self.assertTrue(table.endswith("\n2 stats\n"), table)
            out = await self.succeed("search", "PAGE", "--csv")
            heads, row = csv.reader(out.splitlines())
            self.assertEqual(heads, ["id", "name", "kind", "value", "time", "points"])
            time = str(views["time"])
            self.assertEqual(
                row, [views["id"], "page views", "counter", "3", time, "1"]
            )
            out = await self.succeed("search", "é", "--csv")
            self.assertEqual(list(csv.reader(out.splitlines()))[1][1], HOSTILE)

        return ensureDeferred(check())

    def test_dataset(self) -> Any:
        """Steps by name or by id, with the numbers of their points."""

        async def check() -> None:
            await self.start()
            await self.post(Value(HOSTILE, 2), Value(HOSTILE, 5), Count("c", 7))
            data = json.loads(await self.succeed("dataset", HOSTILE, "--json"))
            self.assertEqual((data["name"], data["timeframe"]), (HOSTILE, "1w3h"))
            (step,) = data["steps"]
            self.assertEqual((step["value"], step["points"]), (3.5, 2))
            out = await self.succeed("dataset", data["id"], "-t", "2d1d", "--csv")
            self.assertEqual(out.splitlines()[0], "time,value,points")
            self.assertEqual(out.splitlines()[1].split(",")[1:], ["3.5", "2"])
            table = await self.succeed("dataset", "c", "--timeframe", "3h1h")
            self.assertRegex(table, r"┃ time \(UTC\) +┃ c ┃ points ┃")
            self.assertEqual(table.count("│ 0 "), 4)
            self.assertEqual(table.count("│ 7 "), 1)

        return ensureDeferred(check())

    def test_summary(self) -> Any:
        """The summary's numbers, with a sparkline in the table."""

        async def check() -> None:
            await self.start()
            now = int(self.parts.archive.store.clock.seconds())
            await self.post(*(Count("c", n, now - 3600 * n) for n in (1, 2, 3)))
            data = json.loads(
                await self.succeed("summary", "c", "-t", "6h1h", "--json")
            )
            self.assertEqual(
                [data[name] for name in ("steps", "latest", "min", "max", "total")],
                [3, 1, 1, 3, 6],
            )
            self.assertEqual((data["mean"], data["deviation"]), (2, 1))
            self.assertEqual(len(data["confidence_95"]), 2)
            table = await self.succeed("summary", "c", "-t", "6h1h")
            self.assertIn("confidence 95 low", table)
            self.assertRegex(table, r"│ steps +│ 3 ")
            self.assertEqual(
                table.splitlines()[-2],
                "These are of the sums of 3 steps of 1 hour with points (3 points).",
            )
            self.assertIn("█▆▃▁", table.splitlines()[-1])
            for duration, timeframe in (
                ("2h", "2h1m"),
                ("26h", "26h1h"),
                ("5d", "5d1h"),
                ("90d", "90d1d"),
                ("2y", "2y1M"),
            ):
                data = await self.succeed("summary", "c", "-t", duration, "--json")
                self.assertEqual(json.loads(data)["timeframe"], timeframe)
            await self.post(Value("v", 1), Value("v", 3))
            self.assertIn(
                "of the averages of 1 step of 1 day with points (2 points).",
                await self.succeed("summary", "v", "-t", "2d1d"),
            )
            await self.post(Value("old", 1, now - 3 * 3600))
            self.assertEqual(
                await self.succeed("dataset", "old", "-t", "1h1m"),
                "old has no points in this time.\n",
            )
            rows = list(
                csv.DictReader(
                    (
                        await self.succeed("summary", "c", "-t", "6h1h", "--csv")
                    ).splitlines()
                )
            )
            self.assertEqual((rows[0]["total"], rows[0]["mean"]), ("6", "2.0"))
            self.assertTrue(rows[0]["confidence_99_high"])

        return ensureDeferred(check())

    def test_delete(self) -> Any:
        """It asks first; no answer means no."""

        async def check() -> None:
            await self.start()
            await self.post(Count("c"), Count("d"))
            for answer in ("", "n\n"):
                status, _, err = await self.shell("delete", "c", stdin=answer)
                self.assertEqual(status, 1)
                self.assertIn("Delete c?", err)
                self.assertIn("Nothing was deleted.", err)
                self.assertIn("add --yes", err)
            self.assertEqual(len(json.loads(await self.succeed("list", "--json"))), 2)
            status, out, err = await self.shell("delete", "c", "--yes")
            self.assertEqual((status, out), (0, "c is deleted.\n"))
            self.assertIn("txstathat trash restore c", err)
            (left,) = json.loads(await self.succeed("list", "--json"))
            self.assertEqual(left["name"], "d")
            for answer in ((), ("--yes",)):
                status, out, err = await self.shell("delete", "c", *answer)
                self.assertEqual((status, out), (1, ""))
                self.assertIn("there is no stat with the name or id 'c'", err)
                self.assertNotIn("?", err)
            status, out, err = await self.shell("delete", "d", stdin="y\n")
            self.assertEqual((status, out), (0, "d is deleted.\n"))

        return ensureDeferred(check())

    def test_failures(self) -> Any:
        """Each says what failed and what to do; wrong usage is status 2."""

        async def check() -> None:
            await self.start()
            for expected, words, arguments, environ in (
                (
                    1,
                    "token: the server refused (403): ",
                    ("list",),
                    {"TXSTATHAT_TOKEN": "wrong"},
                ),
                (1, "connection:", ("list",), {"TXSTATHAT_URL": "http://127.0.0.1:1"}),
                (
                    2,
                    "no access token: TXSTATHAT_URL",
                    ("list",),
                    {"TXSTATHAT_TOKEN": ""},
                ),
                (2, "must begin with https://", ("list",), {"TXSTATHAT_URL": "x"}),
                (2, "such as 1w3h", ("summary", "c", "-t", "1x"), {}),
                (2, "101y is longer than", ("summary", "c", "-t", "101y"), {}),
            ):
                status, out, err = await self.shell(*arguments, **environ)
                self.assertEqual((status, out), (expected, ""), err)
                self.assertIn(words, err)

        return ensureDeferred(check())

    def test_settings_file(self) -> Any:
        """Token and URL come from a file that only its owner may read."""

        async def check() -> None:
            await self.start()
            bare = {"TXSTATHAT_TOKEN": "", "TXSTATHAT_URL": ""}
            path = self.folder / "txstathat.toml"
            path.write_text(f'token = "{self.token}"\nurl = "{self.url}"\n')
            path.chmod(0o640)
            status, out, err = await self.shell("list", **bare)
            self.assertEqual((status, out), (2, ""))
            self.assertIn("chmod 600", err)
            path.chmod(0o600)
            self.assertEqual(await self.succeed("list", "--json", **bare), "[]\n")
            # The environment comes first, and flags before it.
            status, _, err = await self.shell("list", TXSTATHAT_TOKEN="x")
            self.assertEqual(status, 1)
            self.assertIn("403", err)
            for words, text in (
                ("not valid TOML", f"token = {self.token}"),
                ("may hold url, ezkey and token", "tokens = 7"),
            ):
                path.write_text(text)
                status, _, err = await self.shell("list", **bare)
                self.assertEqual(status, 2)
                self.assertIn(words, err)

        return ensureDeferred(check())


class TopTests(ShellCase):
    """
    ``top``.
    """

    def test_once(self) -> Any:
        """Counters by their totals, then values; only stats that match the text."""

        async def check() -> None:
            await self.start()
            out = await self.succeed("top", "--once")
            self.assertEqual(out, "There are no stats.\n")
            await self.post(Count("a", 2), Count("b", 7), Value(HOSTILE, 2.5))
            out = await self.succeed("top", "--once")
            places = [out.index(f"│ {name} ") for name in ("b", "a", HOSTILE)]
            self.assertEqual(places, sorted(places))
            self.assertIn("2.5", out)
            self.assertTrue(out.endswith("┘\n"))
            out = await self.succeed("top", "LOAD", "--once")
            self.assertIn(HOSTILE, out)
            self.assertNotIn("│ b ", out)
            out = await self.succeed("top", "--once", "zzz")
            self.assertEqual(out, "No stat's name contains 'zzz'.\n")
            out = await self.succeed("top", "--once", "--rows", "1")
            self.assertNotIn("│ a ", out)
            long = "requests.of.a.service.with.a.very.long.name.in.eu-west-3.p99"
            await self.post(Count(long, 1_000_000))
            out = await self.succeed("top", "long", "--once", COLUMNS="80")
            (line,) = (line for line in out.splitlines() if "1,000,000" in line)
            name = line.split("│")[1].strip()
            self.assertGreaterEqual(len(name), 30)
            first, last = name.split("…")
            self.assertTrue(long.startswith(first) and long.endswith(last), name)

        return ensureDeferred(check())

    def test_narrow(self) -> Any:
        """
        The newest points are shown, however narrow it is; all rows are of the same
        time, with gaps where a value has no points.
        """

        async def check() -> None:
            await self.start()
            now = int(self.parts.archive.store.clock.seconds())
            await self.post(
                Count("counter-name", 1_000_000_000, now - 240),
                Count("counter-name", 2_000_000_000, now),
                Value("value-name", 12.345678, now - 120),
                Value("value-name", 45.678, now),
            )
            for columns, bars in (("80", 8), ("100", 20)):
                out = await self.succeed("top", "--once", COLUMNS=columns)
                self.assertNotIn("…", out)
                rows = [line for line in out.splitlines() if "name" in line]
                lines = [row.split("│")[-2][1:-1] for row in rows]
                self.assertGreaterEqual(len(lines[0]), bars)
                # (The minute may have passed meanwhile.)
                self.assertTrue(lines[0].endswith(("▅▁▁▁█", "▅▁▁▁█▁")), lines)
                self.assertTrue(lines[1].endswith(("▁ █", "▁ █ ")), lines)
            data = json.loads(
                await self.succeed("summary", "value-name", "-t", "1h1m", "--json")
            )
            self.assertIn(f"{data['mean']:,.6g}", rows[1])

        return ensureDeferred(check())

    def test_live(self) -> Any:
        """In a terminal it shows what comes in, until Ctrl-C."""

        async def check() -> None:
            await self.start()
            await self.post(Count("a", 1_234))
            ours, theirs = os.openpty()
            process = PythonPopen(
                [sys.executable, "-m", "txstathat", "top", "--every", "0.2"],
                stdout=theirs,
                stderr=theirs,
                cwd=ROOT,
                env={
                    **os.environ,
                    "TERM": "xterm",
                    "TXSTATHAT_TOKEN": self.token,
                    "TXSTATHAT_URL": self.url,
                },
            )
            os.close(theirs)
            self.addCleanup(os.close, ours)
            self.addCleanup(process.wait)
            self.addCleanup(process.kill)
            seen = b""
            for words in (b"1,234", b"1,239"):
                while words not in seen:
                    seen += await deferToThread(os.read, ours, 65_536)
                if words == b"1,234":
                    await self.post(Count("a", 5))
            process.send_signal(signal.SIGINT)
            self.assertEqual(await deferToThread(process.wait, 30), 130)
            self.assertNotIn(b"Traceback", seen)

        return ensureDeferred(check())


class OutputTests(SynchronousTestCase):
    """
    What eyes see.
    """

    def test_csv(self) -> None:
        """CSV has no formulas and no control characters; numbers stay as they are."""
        with redirect_stdout(io.StringIO()) as out:
            show_rows("csv", ["name", "sum"], [["=cmd()", -1], ["a\x1b[2J\n", None]])
        self.assertEqual(out.getvalue(), "name,sum\n'=cmd(),-1\na\ufffd[2J\ufffd,\n")

    def test_sparkline(self) -> None:
        """From the smallest to the largest; a gap is a gap; many share bars."""
        self.assertEqual(sparkline([]), "")
        self.assertEqual(sparkline([5]), "▁")
        self.assertEqual(sparkline([None, None]), "  ")
        self.assertEqual(sparkline([0, 1, None, 7]), "▁▂ █")
        self.assertEqual(sparkline([-1.7e308, 0, 1.7e308]), "▁▅█")
        many = sparkline(list(range(10_000)))
        self.assertEqual(len(many), SPARK_WIDTH)
        self.assertEqual((many[0], many[-1]), ("▁", "█"))
        self.assertEqual(many, "".join(sorted(many)))

    def test_json(self) -> None:
        """JSON holds everything, and no character that controls a terminal."""
        text = "a\x1b\x9b31m\r\nb\u202e é\U000e0001"
        shown = json_text([text, {text: 1}])
        self.assertTrue(shown.isprintable())
        self.assertIn(" é", shown)
        self.assertEqual(json.loads(shown), [text, {text: 1}])
