"""
``txstathat import``, of points.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, ensureDeferred, fail
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseFailed
from twisted.web.iweb import IAgent
from twisted.web.resource import Resource
from zope.interface import implementer

from tests.fixtures.imports import ImportCase
from tests.fixtures.trouble import TroubleServer
from txstathat import Count, txStatHat
from txstathat.cli.send.import_progress import (
    HashingReader,
    ImportProgress,
    Position,
    ProgressUnreadable,
)
from txstathat.cli.send.import_sender import (
    ATTEMPTS,
    DEDUPLICATION_SECONDS,
    MAX_SHOWN,
    ImportSender,
    RequestFailed,
    check_points,
)
from txstathat.cli.send.import_sources import LinesSource
from txstathat.cli.send.point_formats import POST_BYTES, POST_SIZE, split_points
from txstathat.collector.limits import MAX_BODY
from txstathat.delivery.spool.locks import FileLock
from txstathat.http.servers import API_URL
from txstathat.points.wire import json_points


class ImportTests(ImportCase):
    """
    ``import``, with a collector.
    """

    def test_points_arrive(self) -> Any:
        """Each point is sent at its time, once; a second run sends only new lines."""

        async def check() -> None:
            await self.start()
            self.write(self.lines(0, 2_500))
            self.assertEqual(
                await self.run_import(), (0, "2,500 points were accepted.\n", "")
            )
            sums = (2_500, sum(range(2_500)))
            self.assertEqual(await self.total(), sums)
            (stat,) = await self.parts.archive.stats()
            (series,) = await self.parts.archive.data([stat], "1h1m")
            minutes = dict(series.points)
            for minute, value in minutes.items():
                self.assertEqual(
                    value,
                    sum(n for n in range(2_500) if (self.now - n) // 60 * 60 == minute),
                )
            output = "Nothing new: all 2,500 points were sent earlier.\n"
            self.assertEqual(await self.run_import(), (0, output, ""))
            self.assertEqual(await self.total(), sums)
            with self.file.open("a") as file:
                file.write(self.lines(5, 8))
            output = "3 points were accepted; 2,500 earlier.\n"
            self.assertEqual(await self.run_import(), (0, output, ""))
            self.assertEqual(await self.total(), (2_503, sums[1] + 18))
            # The file beside it is gone, but the collector knows the requests.
            self.progress.unlink()
            self.write(self.lines(0, 2_500))
            output = "2,500 points were accepted.\n"
            self.assertEqual(await self.run_import(), (0, output, ""))
            self.assertEqual(await self.total(), (2_503, sums[1] + 18))

        return ensureDeferred(check())

    def test_killed(self) -> Any:
        """
        Killed three times, and with answers that are lost and a server that is busy in
        between: each point is there once.
        """

        async def check() -> None:
            await self.start()
            self.write(self.lines(0, 9_500), self.lines(0, 3_000, "b"))
            requests = 0
            kill_at = [2, 6, 11]
            process: subprocess.Popen[bytes] | None = None

            def kill() -> None:
                nonlocal requests
                requests += 1
                if kill_at and requests == kill_at[0]:
                    # The server takes its points, but the answer is lost.
                    assert process is not None
                    process.kill()
                    del kill_at[0]

            url = self.troubled_url(kill, 0.2)
            statuses = []
            while not statuses or statuses[-1]:
                process = self.spawn(url)
                out, err = await deferToThread(process.communicate)
                statuses.append(process.returncode)
                self.assertEqual(err, b"")
            self.assertEqual(statuses, [-signal.SIGKILL] * 3 + [0])
            self.assertIn(b" earlier.", out)
            self.assertEqual(await self.total("a"), (9_500, sum(range(9_500))))
            self.assertEqual(await self.total("b"), (3_000, sum(range(3_000))))
            self.assertGreater(requests, 13)
            self.assertEqual(
                sorted(os.listdir(self.folder)), ["past.csv", "past.csv.imported"]
            )

        return ensureDeferred(check())

    def test_in_a_terminal(self) -> Any:
        """A bar shows the progress."""

        async def check() -> None:
            await self.start()
            self.write(self.lines(0, 1_500))
            ours, theirs = os.openpty()
            self.addCleanup(os.close, ours)
            process = self.spawn(self.url, stderr=theirs)
            os.close(theirs)
            shown = b""
            while b"100%" not in shown:
                shown += await deferToThread(os.read, ours, 65_536)
            self.assertIn(b"points", shown)
            out, _ = await deferToThread(process.communicate)
            self.assertEqual(process.returncode, 0)
            self.assertEqual(out, b"1,500 points were accepted.\n")

        return ensureDeferred(check())

    def test_interrupted(self) -> Any:
        """Ctrl-C stops it with status 130; the request under way stays in doubt."""

        async def check() -> None:
            await self.start()
            self.write(self.lines(0, 2_000))
            server, asked = TroubleServer(), Deferred[None]()
            self.addCleanup(server.stop)
            server.script = [lambda _, go_on: asked.callback(None)]
            process = self.spawn(server.url)
            await asked
            process.send_signal(signal.SIGINT)
            _, err = await deferToThread(process.communicate)
            self.assertEqual((process.returncode, err), (130, b""))
            progress = ImportProgress.read(self.progress)
            assert progress is not None
            assert progress.sending is not None
            self.assertEqual((progress.done.line, progress.sending.line), (0, 1_001))

        return ensureDeferred(check())

    def test_bad_lines(self) -> Any:
        """All bad lines are named, and nothing is sent."""

        async def check() -> None:
            await self.start()
            self.write(
                self.lines(0, 1_500), "a,x,1\n", self.lines(0, 3), "a,1,\n,1,1\na,1\n"
            )
            status, out, err = await self.run_import()
            self.assertEqual((status, out), (1, ""))
            for words in (
                "line 1502: 'x' is not a decimal number",
                "line 1506: needs t, the time of the point",
                "line 1507: stat: must not be empty",
                "line 1508: has 2 cells, and the header 3",
                "Nothing was sent.",
            ):
                self.assertIn(words, err)
            self.assertEqual(await self.parts.archive.totals(), {})

        return ensureDeferred(check())

    def test_refused(self) -> Any:
        """
        What the collector refuses is named by its lines; mended, the import goes on.
        """

        async def check() -> None:
            await self.start()
            await self.post(Count("b", 7))
            self.file.write_text(
                "stat,count,value,t\n"
                + "".join(f"a,{n},,{self.now - n}\n" for n in range(1_000))
                + f"b,,1,{self.now}\n"
            )
            status, out, err = await self.run_import()
            self.assertEqual((status, out), (1, ""))
            self.assertIn("not accepted: line 1002\n", err)
            self.assertIn("'b' is a counter", err)
            self.assertIn("1,000 points were accepted.", err)
            self.file.write_text(self.file.read_text().replace("b,,1,", "b,1,,"))
            output = "1 point was accepted; 1,000 earlier.\n"
            self.assertEqual(await self.run_import(), (0, output, ""))
            self.assertEqual(await self.total("a"), (1_000, sum(range(1_000))))
            self.assertEqual(await self.total("b"), (2, 8))

        return ensureDeferred(check())

    def test_cannot_continue(self) -> Any:
        """Explains a changed file, another server, no file, and a bad progress file."""

        async def check() -> None:
            await self.start()
            self.write(self.lines(0, 10))
            await self.run_import()
            url = self.troubled_url(lambda: None, 0.0)
            status, _, err = await self.run_import(TXSTATHAT_URL=url)
            self.assertEqual(status, 1)
            self.assertIn(f"earlier runs sent to {self.url}", err)
            self.write(self.lines(1, 11))
            status, _, err = await self.run_import()
            self.assertEqual(status, 1)
            self.assertIn("points that were already sent have changed", err)
            self.write(self.lines(0, 5))
            status, _, err = await self.run_import()
            self.assertEqual(status, 1)
            self.assertIn("points that were already sent have changed", err)
            self.progress.write_text("[]")
            status, _, err = await self.run_import()
            self.assertEqual(status, 1)
            self.assertIn("is not a progress file", err)
            for name, words in (
                ("-", "no such file. To read standard input, use txstathat post."),
                ("nowhere", "no such file"),
                (str(self.folder.absolute()), "must have a stats.csv"),
            ):
                status, out, err = await self.shell("import", name)
                self.assertEqual((status, out), (2, ""))
                self.assertIn(words, err)
            self.assertEqual(await self.total(), (10, 45))

        return ensureDeferred(check())

    def test_doubt(self) -> Any:
        """
        Where the server would not know a request again, the user decides about it.
        """

        async def check() -> None:
            await self.start()
            self.write()
            await self.run_import()
            begun = ImportProgress.read(self.progress)
            assert begun is not None
            self.write(self.lines(0, 10))
            reader = HashingReader(self.file.read_text().splitlines(keepends=True))
            self.assertEqual(len(list(islice(reader, 5))), 5)
            old = self.now - DEDUPLICATION_SECONDS - 100
            for doubtful, since, sender, output in (
                ("send", old, begun.sender, "10 points were accepted.\n"),
                ("skip", old, begun.sender, "6 points were accepted; 4 earlier.\n"),
                ("send", self.now, "another", "10 points were accepted.\n"),
                ("", self.now, begun.sender, "10 points were accepted.\n"),
            ):
                progress = ImportProgress(
                    self.url, sender, Position(), reader.position, since
                )
                progress.write(self.progress)
                if doubtful:
                    status, out, err = await self.run_import()
                    self.assertEqual((status, out), (1, ""))
                    self.assertIn("lines 1 to 5 may or may not have arrived", err)
                    found = await self.run_import("--doubtful", doubtful)
                else:
                    found = await self.run_import()
                self.assertEqual(found, (0, output, ""))
                # All of them are the same two requests.
                self.assertEqual(await self.total(), (10, 45))

        return ensureDeferred(check())

    def test_two_at_once(self) -> Any:
        """While one import of a file runs, another one does nothing."""

        async def check() -> None:
            await self.start()
            self.write(self.lines(0, 10))
            lock = FileLock.acquire(f"{self.progress}.lock")
            assert lock is not None
            status, out, err = await self.run_import()
            self.assertEqual((status, out), (1, ""))
            self.assertIn("another import of this file is running", err)
            self.assertEqual(await self.total(), (0, 0))
            lock.release(remove=True)
            self.assertEqual((await self.run_import())[0], 0)
            self.assertEqual(await self.total(), (10, 45))

        return ensureDeferred(check())


class SenderTests(SynchronousTestCase):
    """
    What is repeated, and what is noted, by what the server says.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_400_000_000)
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.file = self.folder / "past.csv"
        self.file.write_text("stat,count,t\na,1,5\n")
        self.progress = ImportProgress("", "")

    def send(self, url: str, *answers: Any) -> tuple[Any, int]:
        """
        Send the file, with each answer in its turn: what came of it, and after how many
        requests.
        """
        script = Scripted(*answers)
        client = txStatHat("k", url=url, reactor=self.clock, agent=script)
        self.progress = ImportProgress(url, "")
        path = self.folder / "progress"
        sender = ImportSender(LinesSource(self.file), self.progress, path)
        sent = Deferred.fromCoroutine(
            sender.send(client, self.clock, lambda number: None)
        )
        self.clock.pump([1.0] * 100)
        self.assertEqual(ImportProgress.read(path), self.progress)
        self.assertEqual(len(set(script.ids)), 1)
        result: Any = self.successResultOf(sent.addErrback(lambda failed: failed.value))
        return result, len(script.ids)

    def send_by(self, answer: Callable[[int], int]) -> Any:
        """
        Send the file: what came of it.

        :param answer: gets how many points a request has, and returns the HTTP status.
        """
        resource = Resource()
        resource.isLeaf = True

        def render(request: Any) -> bytes:
            body = request.content.read()
            status = answer(max(1, body.count(b'"stat"')))
            request.setResponseCode(status)
            return b'{"status": %d, "msg": "x"}' % status

        resource.render = render  # type: ignore[method-assign]
        client = txStatHat(
            "k",
            url="http://localhost",
            reactor=self.clock,
            agent=RequestTraversalAgent(resource),
        )
        self.progress = ImportProgress("http://localhost", "")
        path = self.folder / "progress"
        sender = ImportSender(LinesSource(self.file), self.progress, path)
        sent = Deferred.fromCoroutine(
            sender.send(client, self.clock, lambda number: None)
        )
        self.clock.pump([1.0] * 100)
        return self.successResultOf(sent.addErrback(lambda failed: failed.value))

    def test_verdicts(self) -> None:
        """
        A server that deduplicates gets the request again while that may help; StatHat
        only when the points have certainly not arrived. Otherwise they stay in doubt.
        """
        lost = ResponseFailed([])
        away = ConnectionRefusedError()
        here, busy, done = "http://localhost", 503, 200
        for url, answers, requests, accepted, noted in (
            (here, [done], 1, True, False),
            (here, [lost, busy, done], 3, True, False),
            (here, [lost] * 9, ATTEMPTS, False, True),
            (here, [busy] * 9, ATTEMPTS, False, True),
            (here, [away] * 9, ATTEMPTS, False, False),
            (here, [away, 400], 2, False, False),
            (here, [lost, 400], 2, False, False),
            (here, [lost, 403], 2, False, True),
            (here, [403], 1, False, False),
            (here, [204], 1, True, False),
            (here, [404], 1, False, False),
            (here, [busy, 404], 2, False, True),
            (here, [202, done], 1, False, True),
            (API_URL, [204], 1, True, False),
            (API_URL, [302], 1, False, False),
            (API_URL, [202, done], 1, False, True),
            (API_URL, [lost, done], 1, False, True),
            (API_URL, [busy, done], 2, True, False),
            (API_URL, [away] * 9, ATTEMPTS, False, False),
        ):
            result, made = self.send(url, *answers)
            self.assertEqual(made, requests, answers)
            self.assertEqual(result is None, accepted, answers)
            if not accepted:
                self.assertIsInstance(result, RequestFailed)
            self.assertEqual(self.progress.sending is not None, noted, answers)
            self.assertEqual(self.progress.done.line, 2 if accepted else 0)
            # No deduplication by StatHat.com, nor after an unknown answer: the next run
            # asks the user.
            asks = url == API_URL or answers[0] == 202
            self.assertEqual(self.progress.since == 0.0, asks, answers)

    def test_server_without_memory(self) -> None:
        """
        A server that answers 204 is no collector: what it may have taken is not sent
        again by itself, nor by the next run.
        """
        self.file.write_text("stat,count,t\n" + "a,1,5\n" * (POST_SIZE + 1))
        script = Scripted(204, ResponseFailed([]), 200)
        progress, path = (
            ImportProgress("http://localhost", ""),
            self.folder / "progress",
        )
        client = txStatHat(
            "k", url="http://localhost", reactor=self.clock, agent=script
        )
        sender = ImportSender(LinesSource(self.file), progress, path)
        sent = Deferred.fromCoroutine(sender.send(client, self.clock, lambda _: None))
        self.clock.pump([1.0] * 100)
        self.assertIsInstance(self.failureResultOf(sent).value, RequestFailed)
        self.assertEqual(len(script.ids), 2)
        noted = ImportProgress.read(path)
        assert noted is not None
        assert noted.sending is not None
        self.assertEqual((noted.done.line, noted.sending.line), (1_001, 1_002))
        self.assertLess(noted.since, self.clock.seconds() - DEDUPLICATION_SECONDS)

    def test_refused_after_doubt(self) -> None:
        """
        A request that may have arrived in an earlier run stays noted if it is refused
        now, and is not split. Only a refusal of the points by a server that knows ids
        means that it does not have them.
        """
        here = "http://localhost"
        for answer, noted in ((403, True), (413, True), (404, True), (400, False)):
            progress, path = ImportProgress(here, ""), self.folder / "progress"
            self.file.write_text("stat,count,t\na,1,5\na,1,6\n")
            script = Scripted(*[ResponseFailed([])] * ATTEMPTS, answer, answer)
            for _ in range(2):
                client = txStatHat("k", url=here, reactor=self.clock, agent=script)
                sender = ImportSender(LinesSource(self.file), progress, path)
                sent = Deferred.fromCoroutine(
                    sender.send(client, self.clock, lambda number: None)
                )
                self.clock.pump([1.0] * 100)
                self.assertIsInstance(self.failureResultOf(sent).value, RequestFailed)
                found = ImportProgress.read(path)
                assert found is not None
                progress = found
            self.assertEqual(len(script.ids), ATTEMPTS + 1, answer)
            self.assertEqual(len(set(script.ids)), 1)
            self.assertEqual(progress.sending is not None, noted, answer)
            self.assertEqual(progress.done.line, 0)

    def test_a_server_that_asks_for_an_hour(self) -> None:
        """It is asked again after a minute, as the command is being watched."""
        times: list[float] = []
        resource = Resource()
        resource.isLeaf = True

        def render(request: Any) -> bytes:
            times.append(self.clock.seconds())
            request.setResponseCode(503 if len(times) < 3 else 200)
            request.setHeader("Retry-After", "3600" if len(times) == 1 else "2")
            return b'{"status": %d, "msg": "x"}' % request.code

        resource.render = render  # type: ignore[method-assign]
        client = txStatHat(
            "k",
            url="http://localhost",
            reactor=self.clock,
            agent=RequestTraversalAgent(resource),
        )
        progress = ImportProgress("http://localhost", "")
        sender = ImportSender(
            LinesSource(self.file), progress, self.folder / "progress"
        )
        sent = Deferred.fromCoroutine(sender.send(client, self.clock, lambda _: None))
        self.clock.pump([1.0] * 100)
        self.successResultOf(sent)
        self.assertEqual([at - times[0] for at in times], [0, 60, 62])

    def test_too_large(self) -> None:
        """A request that is too large is sent in halves; a single point is an error."""
        self.file.write_text("stat,count,t\n" + "a,1,5\n" * 5)
        sizes: list[int] = []

        def answer(points: int) -> int:
            sizes.append(points)
            return 413 if points > 2 else 200

        self.assertIsNone(self.send_by(answer))
        self.assertEqual(sizes, [5, 2, 3, 1, 2])
        self.assertEqual((self.progress.done.line, self.progress.sending), (6, None))
        result = self.send_by(lambda points: 413)
        self.assertIsInstance(result, RequestFailed)
        self.assertEqual((result.first, result.last), (2, 2))
        self.assertEqual((self.progress.done.line, self.progress.sending), (0, None))

    def test_many_bad_lines(self) -> None:
        """Only the first problems are shown, and the number of further ones."""
        self.file.write_text("stat,count,t\n" + "a,x,5\n" * 50)
        checked = check_points(LinesSource(self.file), self.progress)
        self.assertEqual([bad.number for bad in checked.problems], list(range(2, 22)))
        self.assertEqual(
            (len(checked.problems), checked.more_problems), (MAX_SHOWN, 30)
        )

    def test_not_readable_further(self) -> None:
        """Nothing is read after bytes that are not text."""
        self.file.write_bytes(b"stat,count,t\na,x,5\na,1,5\n\xff\na,y,5\n")
        checked = check_points(LinesSource(self.file), self.progress)
        self.assertIn("is not UTF-8", str(checked.problems[-1]))

    def test_requests_are_not_too_large(self) -> None:
        """Points with long names, or of many stats, go in smaller requests."""
        long = [(n, Count("é" * 255, n, n)) for n in range(1_000)]
        several = [(n, Count("a~" + ",".join("bcdefghij"), n, n)) for n in range(500)]
        for points in (long, several):
            parts = list(split_points(points))
            self.assertEqual([each for part in parts for each in part], points)
            self.assertGreater(len(parts), 2)
            for part in parts:
                size = len(json_points([point for _, point in part]))
                self.assertLess(size, POST_BYTES * 1.1)
                self.assertLess(POST_BYTES * 1.1, MAX_BODY)
        self.assertLessEqual(len(next(split_points(several))) * 9, POST_SIZE)

    def test_journals(self) -> None:
        """A progress file is read back; another file is an error."""
        path = self.folder / "progress"
        self.assertIsNone(ImportProgress.read(path))
        for progress in (
            ImportProgress("u", "s", Position(7, "x"), Position(9, "y"), 12.5),
            ImportProgress("u", "s"),
        ):
            progress.write(path)
            self.assertEqual(ImportProgress.read(path), progress)
        for text in ("", "[]", "{}", '{"url": 1}', "\x00"):
            path.write_text(text)
            self.assertRaises(ProgressUnreadable, ImportProgress.read, path)


@implementer(IAgent)
class Scripted:
    """
    An agent that gives one answer after the other: an HTTP status, or an error.
    """

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.ids: list[str] = []

    def request(
        self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None
    ) -> Any:
        """Give the next answer."""
        self.ids += headers.getRawHeaders("idempotency-key")
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            return fail(answer)
        resource = Resource()
        resource.isLeaf = True

        def render(request: Any) -> bytes:
            request.setResponseCode(answer)
            return b'{"status": %d, "msg": "no"}' % answer

        resource.render = render  # type: ignore[method-assign]
        return RequestTraversalAgent(resource).request(
            method, uri, headers, bodyProducer
        )
