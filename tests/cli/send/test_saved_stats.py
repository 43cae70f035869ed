"""
``txstathat import`` of what StatHat's users saved before it closed.
"""

from __future__ import annotations

import json
import random
import signal
from decimal import Decimal
from pathlib import Path
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures.imports import ImportCase
from txstathat import Count, Value
from txstathat.cli.send.import_sources import open_source
from txstathat.cli.send.point_formats import BadLine
from txstathat.cli.send.saved_stats import (
    is_data_file,
    is_folder,
    read_data,
    read_folder,
)
from txstathat.collector.archive.stats import Total

T = 1_772_355_600


def save(folder: Path, files: dict[str, str], stats: str | None = None) -> Path:
    """Write a folder of saved stats."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    if stats is None:
        stats = "id,name,type,public\na1,page views,counter,true\nb2,load,value,false\n"
    (folder / "stats.csv").write_text(stats)
    for name, text in files.items():
        (folder / "data" / name).write_text(text)
    return folder


VIEWS = f"""\
# stat_name: page views
# stat_type: counter
timestamp,datetime,value
{T},2026-03-01T09:00:00Z,12
{T + 3600},2026-03-01T10:00:00Z,0
{T + 7200},2026-03-01T11:00:00Z,
"""
LOAD = f"""\
# stat_name: load, of "all" # hosts
# stat_type: value

timestamp,datetime,value
{T},2026-03-01 09:00:00,0.70
"""


class ReadTests(SynchronousTestCase):
    """
    Saved files as points.
    """

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())

    def read(self, files: dict[str, str], stats: str | None = None) -> list[Any]:
        """The points in a folder."""
        return list(read_folder(save(self.folder, files, stats)))

    def test_folder(self) -> None:
        """Each row is one point of its stat; a step without a value is none."""
        self.assertEqual(
            self.read({"b.csv": LOAD, "a.csv": VIEWS}),
            [
                ("data/a.csv line 4", Count("page views", 12, T)),
                ("data/a.csv line 5", Count("page views", 0, T + 3600)),
                (
                    "data/b.csv line 5",
                    Value('load, of "all" # hosts', Decimal("0.70"), T),
                ),
            ],
        )

    def test_without_comments(self) -> None:
        """A file without name or type gets them from stats.csv, by its id."""
        self.assertEqual(
            self.read({"a1.csv": f"timestamp,datetime,value\n{T},x,5\n"}),
            [("data/a1.csv line 2", Count("page views", 5, T))],
        )

    def test_byte_order_mark_and_line_ends(self) -> None:
        """Files that went through a spreadsheet are read."""
        text = "\ufeff" + VIEWS.replace("\n", "\r\n")
        self.assertEqual(self.read({"a.csv": text})[0][1], Count("page views", 12, T))

    def test_what_is_wrong(self) -> None:
        """The error names file, line and value; other lines are read."""
        head = "# stat_name: a\n# stat_type: value\n"
        for words, where, text in (
            ("is neither counter nor value", "line 3", f"#stat_name:a\n\n{T},x,1\n"),
            ("type 'gauge'", "line 2", f"# stat_type: gauge\n{T},x,1\n"),
            ("'x' is not a decimal number", "line 3", f"{head}{T},x,x\n"),
            ("is not a time", "line 3", f"{head}soon,x,1\n"),
            ("needs timestamp,datetime,value", "line 3", f"{head}{T},x\n"),
            ("must not be empty", "line 2", f"# stat_type: value\n{T},x,1\n"),
            ("has a ~", "line 3", f"# stat_type: value\n# stat_name: a~b\n{T},x,1\n"),
        ):
            (found,) = self.read({"c.csv": text})
            self.assertEqual(found[0], f"data/c.csv {where}")
            assert isinstance(found[1], BadLine)
            self.assertIn(words, found[1].problem)
        good = self.read({"c.csv": f"{head}{T},x,x\n{T},x,1\n"})
        self.assertEqual(good[1][1], Value("a", 1, T))

    def test_stats_that_cannot_be_read(self) -> None:
        """Without its columns stats.csv is not understood, and nothing is read."""
        ((where, bad),) = self.read({"a.csv": VIEWS}, "name,kind\n")
        self.assertEqual(where, "stats.csv")
        assert isinstance(bad, BadLine)
        self.assertIn("id, name and type", bad.problem)

    def test_data_file(self) -> None:
        """The JSON of the export API: each point of each stat."""
        path = Path(self.mktemp())
        stats = [
            {
                "name": "load",
                "timeframe": "1 week @ 3 hours",
                "points": [{"time": T, "value": 0.1}, {"time": T + 1, "value": None}],
            },
            {"name": "a", "timeframe": "", "points": [{"time": T, "value": 3}]},
        ]
        path.write_text("\n " + json.dumps(stats))
        self.assertTrue(is_data_file(path))
        self.assertEqual(
            list(read_data(path, "value")),
            [
                ("'load' point 1", Value("load", Decimal("0.1"), T)),
                ("'a' point 1", Value("a", 3, T)),
            ],
        )
        self.assertEqual([*read_data(path, "counter")][1][1], Count("a", 3, T))

    def test_data_files_that_are_wrong(self) -> None:
        """Other JSON is refused with an explanation."""
        path = Path(self.mktemp())
        for words, text in (
            ("not JSON", "[1"),
            ("needs a name and points", "[7]"),
            ("needs a name and points", '[{"name": "a"}]'),
            ("needs a time and a value", '[{"name": "a", "points": [{"time": 1}]}]'),
            (
                "is not a decimal number",
                '[{"name": "a", "points": [{"time": 1, "value": "x"}]}]',
            ),
        ):
            path.write_text(text)
            ((_, bad),) = read_data(path, "value")
            assert isinstance(bad, BadLine)
            self.assertIn(words, bad.problem)

    def test_kinds_of_files(self) -> None:
        """Lines of points are neither form, and are read as lines."""
        path = Path(self.mktemp())
        for text in ("stat,count,t\na,1,5\n", '{"stat": "a", "count": 1, "t": 5}\n'):
            path.write_text(text)
            self.assertFalse(is_data_file(path) or is_folder(path))
            ((number, point, _),) = open_source(path, None, "value").read()
            self.assertEqual(
                (number, point), (2 - text.startswith("{"), Count("a", 1, 5))
            )

    def test_places(self) -> None:
        """A message about a part of the points names its first and last place."""
        source = open_source(
            save(self.folder, {"a.csv": VIEWS, "b.csv": LOAD}), None, "value"
        )
        self.assertEqual(source.where(2, 2), "data/a.csv line 5")
        self.assertEqual(source.where(1, 3), "data/a.csv line 4 to data/b.csv line 5")


class SavedCase(ImportCase):
    """
    A collector, and what was saved.
    """

    async def start(self) -> None:
        """Start it."""
        await super().start()
        self.file = self.folder.absolute() / "saved"
        self.progress = self.folder.absolute() / "saved.imported"

    def rows(self, name: str, kind: str, first: int, last: int) -> str:
        """A data file with the numbers of its rows as values."""
        head = f"# stat_name: {name}\n# stat_type: {kind}\ntimestamp,datetime,value\n"
        rows = (f"{self.now - 60 * n},x,{n}\n" for n in range(first, last))
        return head + "".join(rows)


class SavedTests(SavedCase):
    """
    ``import`` of a folder and of a data file.
    """

    def test_folder(self) -> Any:
        """
        All points arrive, with the right kind, and what they stand for is said; a
        second run sends nothing.
        """

        async def check() -> None:
            await self.start()
            files = {
                "a1.csv": self.rows("page views", "counter", 0, 1_500),
                "b2.csv": self.rows("load", "value", 0, 10),
            }
            save(self.file, files)
            status, out, err = await self.run_import()
            self.assertEqual((status, err), (0, ""))
            self.assertIn("1,510 points were accepted.\n", out)
            self.assertIn("Each saved average over a step of time", out)
            expected = {
                "page views": Total("count", 1_500, sum(range(1_500))),
                "load": Total("value", 10, 45),
            }
            self.assertEqual(await self.parts.archive.totals(), expected)
            status, out, _ = await self.run_import()
            self.assertIn("Nothing new: all 1,510 points were sent earlier.", out)
            # With a slash at the end it is the same folder.
            status, out, _ = await self.shell("import", f"{self.file}/")
            self.assertIn("Nothing new: all 1,510 points were sent earlier.", out)
            self.assertEqual(await self.parts.archive.totals(), expected)

        return ensureDeferred(check())

    def test_data_file(self) -> Any:
        """JSON from the export API: values, or counters with --type counter."""

        async def check() -> None:
            await self.start()
            points = [{"time": self.now - 60 * n, "value": n} for n in range(20)]
            for name, options in (("v", ()), ("c", ("--type", "counter"))):
                self.file = self.folder.absolute() / f"{name}.json"
                stats = [{"name": name, "timeframe": "x", "points": points}]
                self.file.write_text(json.dumps(stats, indent=1))
                for _ in range(2):
                    status, _, err = await self.run_import(*options)
                    self.assertEqual((status, err), (0, ""))
            self.assertEqual(
                await self.parts.archive.totals(),
                {"v": Total("value", 20, 190), "c": Total("count", 20, 190)},
            )

        return ensureDeferred(check())

    def test_killed(self) -> Any:
        """
        Killed three times while answers are lost and the server is busy: run again
        until it ends, and every point is there once.
        """

        async def check() -> None:
            await self.start()
            files = {
                f"{n}.csv": self.rows(f"s{n}", "counter", 0, 1_300) for n in range(4)
            }
            save(self.file, files)
            kill_at, requests = [2, 4, 6], 0
            process: Any = None

            def seen() -> None:
                nonlocal requests
                requests += 1
                if kill_at and requests == kill_at[0]:
                    process.kill()
                    del kill_at[0]

            url = self.troubled_url(seen, 0.2)
            statuses: list[int] = []
            while not statuses or statuses[-1]:
                process = self.spawn(url)
                _, err = await deferToThread(process.communicate)
                statuses.append(process.returncode)
                self.assertEqual(err, b"")
            self.assertEqual(statuses, [-signal.SIGKILL] * 3 + [0])
            self.assertEqual(
                await self.parts.archive.totals(),
                {f"s{n}": Total("count", 1_300, sum(range(1_300))) for n in range(4)},
            )

        return ensureDeferred(check())

    def test_bad_rows(self) -> Any:
        """They are named by file and line, and nothing is sent; nor after a change."""

        async def check() -> None:
            await self.start()
            good = self.rows("a", "value", 0, 5)
            save(self.file, {"a.csv": good, "b.csv": good + f"{self.now},x,lots\n"})
            status, out, err = await self.run_import()
            self.assertEqual((status, out), (1, ""))
            self.assertIn("data/b.csv line 9: 'lots' is not a decimal number", err)
            self.assertIn("Nothing was sent.", err)
            self.assertEqual(await self.parts.archive.totals(), {})
            save(self.file, {"b.csv": good})
            self.assertEqual((await self.run_import())[0], 0)
            draw = random.Random(7)
            save(self.file, {"a.csv": good.replace(",x,0", f",x,{draw.random()}")})
            status, out, err = await self.run_import()
            self.assertEqual((status, out), (1, ""))
            self.assertIn("points that were already sent have changed", err)
            self.assertEqual(
                await self.parts.archive.totals(), {"a": Total("value", 10, 20)}
            )

        return ensureDeferred(check())
