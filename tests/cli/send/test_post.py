"""
``txstathat post`` and ``txstathat time``.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from decimal import Decimal
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures import ROOT
from tests.fixtures.python_programs import PythonPopen
from tests.fixtures.shells import ShellCase
from txstathat import Count, Value
from txstathat.cli.send.point_formats import MAX_LINE, BadLine, read_lines, read_points
from txstathat.collector.archive.stats import Total


class LinesTests(SynchronousTestCase):
    """
    Points as lines of text.
    """

    def read(self, text: str, form: str | None = None) -> list[Any]:
        """The points of a text, with their lines."""
        return list(read_points(read_lines(io.StringIO(text, newline="")), form))

    def test_json(self) -> None:
        """One object a line; amounts are exact, times have both forms."""
        self.assertEqual(
            self.read(
                '{"stat": "a", "count": 2}\n\n'
                '{"stat": "b", "value": 0.10, "t": 1363118126}\r\n'
                '{"stat": "c~d,e", "count": 1, "t": "2013-03-12T19:55:26Z"}'
            ),
            [
                (1, Count("a", 2)),
                (3, Value("b", Decimal("0.10"), 1363118126)),
                (4, Count("c~d,e", 1, 1363118126)),
            ],
        )

    def test_csv(self) -> None:
        """A header names the columns; a cell may be empty."""
        self.assertEqual(
            self.read('t,stat,count,value\n,"a, ""b""",2,\n\n1363118126,b,,0.10\r\n'),
            [(2, Count('a, "b"', 2)), (4, Value("b", Decimal("0.10"), 1363118126))],
        )

    def test_nothing(self) -> None:
        """No lines, no points."""
        for text in ("", "\n\n", "stat,count\n"):
            self.assertEqual(self.read(text), [])
        self.assertEqual(self.read("", "jsonl"), [])

    def test_bad_lines(self) -> None:
        """The error names the line and the problem; the points before it are read."""
        good = '{"stat": "a", "count": 1}\n'
        head = "stat,count,t\na,1,\n"
        for number, words, text in (
            (2, "is not JSON", good + "x"),
            (2, "is not a JSON object", good + "[1]"),
            (2, "stat: must not be empty", good + '{"count": 1}'),
            (2, "stat: '  ' is only white", good + '{"stat": "  ", "count": 1}'),
            (2, "needs either a count or a value", good + '{"stat": "a"}'),
            (2, "has no 'n'", good + '{"stat": "a", "count": 1, "n": 1}'),
            (2, "count: ", good + '{"stat": "a", "count": "1"}'),
            (2, "count: ", good + '{"stat": "a", "count": 1e999}'),
            (2, "is not JSON", good + '{"stat": "a", "count": NaN'),
            (2, "t: ", good + '{"stat": "a", "count": 1, "t": true}'),
            (2, "t: ", good + '{"stat": "a", "count": 1, "t": []}'),
            (
                2,
                "has no time zone",
                good + '{"stat":"a","count":1,"t":"2026-01-01"}',
            ),
            (2, "over 65,536 characters", good + " " * (MAX_LINE + 1)),
            (3, "'x' is not a decimal number", head + "a,x,"),
            (3, "is not a time: give Unix seconds or ISO 8601", head + "a,1,x"),
            (3, "has 2 cells, and the header 3", head + "a,1"),
            (3, "is not CSV", head + '"a'),
            (3, "needs either a count or a value", head + "a,,"),
        ):
            read = []
            with self.assertRaises(BadLine, msg=text) as caught:
                for each in read_points(read_lines(io.StringIO(text)), None):
                    read.append(each)
            self.assertEqual(caught.exception.number, number, text)
            self.assertIn(words, str(caught.exception))
            self.assertEqual(len(read), 1)

    def test_bad_headers(self) -> None:
        """An incomplete or ambiguous header is an error."""
        for header in ("a,1", "stat", "count", "stat,stat,count", "stat,count,x"):
            with self.assertRaises(BadLine) as caught:
                self.read(header)
            self.assertIn("line 1: the columns must be", str(caught.exception))

    def test_not_utf8(self) -> None:
        """Bytes that are not text are an error."""
        stream = io.TextIOWrapper(io.BytesIO(b"stat,count\n\xff,1\n"), "utf-8")
        with self.assertRaises(BadLine) as caught:
            list(read_points(read_lines(stream), None))
        self.assertIn("is not UTF-8", str(caught.exception))


class PostTests(ShellCase):
    """
    ``post``, with a collector.
    """

    def test_points_arrive(self) -> Any:
        """More than a request's worth, in both forms."""

        async def check() -> None:
            await self.start()
            lines = "".join(f'{{"stat": "a", "count": {n}}}\n' for n in range(2_500))
            status, out, err = await self.shell("post", stdin=lines)
            self.assertEqual((status, err), (0, ""))
            self.assertEqual(out, "2,500 points were accepted.\n")
            text = "\ufeffstat,value\né,0.5\né,1.5\n"
            status, out, err = await self.shell(
                "post", "--format", "csv", stdin=text, LC_ALL="C"
            )
            self.assertEqual((status, err), (0, ""))
            self.assertEqual(
                await self.parts.archive.totals(),
                {"a": Total("count", 2_500, 3_123_750), "é": Total("value", 2, 2.0)},
            )

        return ensureDeferred(check())

    def test_failures(self) -> Any:
        """Prints the number of accepted points, and the lines that failed."""

        async def check() -> None:
            await self.start()
            text = "stat,count\na,1\na,x\na,1\n"
            status, out, err = await self.shell("post", stdin=text)
            self.assertEqual((status, out), (1, ""))
            self.assertIn("line 3: 'x' is not a decimal number", err)
            self.assertIn("1 point was accepted.", err)
            # The collector refuses another kind; the first thousand are in.
            text = "stat,count,value\n" + "b,1,\n" * 1_000 + "b,,1\n"
            status, out, err = await self.shell("post", stdin=text)
            self.assertEqual((status, out), (1, ""))
            self.assertIn("line 1002: answer: ", err)
            self.assertIn("1,000 points were accepted.", err)
            totals = await self.parts.archive.totals()
            self.assertEqual((totals["a"].sum, totals["b"].sum), (1, 1_000))

        return ensureDeferred(check())


class TimeTests(ShellCase):
    """
    ``time``, with a collector.
    """

    def test_duration_and_failures(self) -> Any:
        """The command's status, output and input are its own; both points arrive."""

        async def check() -> None:
            await self.start()
            echo = "import sys; print(sys.stdin.read()); sys.exit(int(sys.argv[2]))"
            for status in (0, 3):
                code, out, err = await self.shell(
                    *("time", "--name", "job", sys.executable, "-c", echo),
                    *("--url", str(status)),
                    stdin="hello",
                )
                self.assertEqual((code, out, err), (status, "hello\n", ""))
            totals = await self.parts.archive.totals()
            self.assertEqual(totals["job - errors"], Total("count", 2, 1))
            self.assertEqual(totals["job"].points, 2)
            # Two starts of Python take more than 10 ms, and less than a minute.
            self.assertGreater(totals["job"].sum, 10)
            self.assertLess(totals["job"].sum, 60_000)

        return ensureDeferred(check())

    def test_what_cannot_be_sent(self) -> Any:
        """A server that is down changes only standard error."""

        async def check() -> None:
            await self.start()
            code, _, err = await self.shell(
                *("time", "--name", "job", "sh", "-c", "exit 5"),
                TXSTATHAT_URL="http://127.0.0.1:1",
            )
            self.assertEqual(code, 5)
            self.assertIn("txstathat: connection", err)
            for name in ("", "a~b", "x" * 250):
                code, out, err = await self.shell("time", "--name", name, "echo", "ran")
                self.assertEqual((code, out), (2, ""))
                self.assertIn("--name", err)

        return ensureDeferred(check())

    def test_commands_that_do_not_run(self) -> Any:
        """The status is a shell's, and a failure is counted."""

        async def check() -> None:
            await self.start()
            for expected, command in ((127, "no-such-command"), (126, "/etc")):
                code, _, err = await self.shell("time", "--name", "job", command)
                self.assertEqual(code, expected)
                self.assertIn(command, err)
            totals = await self.parts.archive.totals()
            self.assertEqual(totals["job - errors"].sum, 2)

        return ensureDeferred(check())


class TimeSignalTests(SynchronousTestCase):
    """
    ``time`` with signals.
    """

    def test_signals(self) -> None:
        """SIGTERM reaches the command, and the exit status shows it."""
        process = PythonPopen(
            [
                *(sys.executable, "-m", "txstathat", "time", "--name", "job"),
                *("--ezkey", "k", "--url", "http://127.0.0.1:1"),
                *("sh", "-c", "echo ready; exec sleep 60"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.assertEqual(process.stdout.readline(), b"ready\n")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=300)
        self.assertEqual(process.returncode, 128 + signal.SIGTERM)

    def test_signal_at_the_start(self) -> None:
        """A SIGTERM that arrives as soon as the command runs reaches it too."""
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "txstathat", "time", "--name", "job"),
                *("--ezkey", "k", "--url", "http://127.0.0.1:1"),
                *("sh", "-c", "kill -TERM $PPID; exec sleep 600"),
            ],
            stderr=subprocess.PIPE,
            cwd=ROOT,
        )
        self.addCleanup(process.kill)
        process.communicate(timeout=300)
        self.assertEqual(process.returncode, 128 + signal.SIGTERM)
