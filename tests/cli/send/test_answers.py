"""
Every answer that a server may give, to ``txstathat import``: it says what became of the
points, goes on where it was, and the server has each point once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from tests.fixtures.answering_rows import APIS, Api, Rows
from tests.fixtures.answering_server import (
    AGAIN,
    KEY,
    LARGE,
    OK,
    PAGE,
    REFUSED,
    TAKEN,
    UNKNOWN,
    Answer,
    answers,
)
from tests.fixtures.virtual_time import URL, VirtualCase
from txstathat import txStatHat
from txstathat.cli.send.import_progress import ImportProgress
from txstathat.cli.send.import_sender import ImportSender, RequestFailed
from txstathat.cli.send.import_sources import LinesSource

#: An hour and a half: whatever can be settled is settled by then.
LONG = 5_400.0


class ImportTests(VirtualCase):
    """
    ``txstathat import``: a file of points, and the note of how far it has come.
    """

    def setUp(self) -> None:
        super().setUp()
        self.rows = Rows(self)

    apis = tuple(api for api in APIS if api.client is txStatHat)
    lines = {
        "EZ single": "stat,count,t\nsignups,7,1700000000\n",
        "EZ batch": "stat,count,value,t\n"
        "signups,7,,1700000000\npaid,0.1,,1700000001\nload,,0.25,1700000002\n",
    }

    def send(self) -> Exception | None:
        """Run the import once; why it stopped."""
        journal = ImportProgress.read(self.progress) or ImportProgress(URL, "")
        client = self.client(txStatHat)
        sender = ImportSender(LinesSource(self.file), journal, self.progress)
        sent = Deferred.fromCoroutine(
            sender.send(client, self.clock, self.reports.append)
        )
        self.run_clock(LONG)
        stopped: Exception | None = self.successResultOf(
            sent.addErrback(lambda failed: failed.value)
        )
        self.assertFalse(self.server.faults, self.server.faults[:1])
        return stopped

    def each(
        self,
        meanings: tuple[str, ...],
        check: Callable[[Api, Answer], None],
        **options: Any,
    ) -> None:
        """Import a file, for each of the answers."""
        rows = answers(*meanings)
        for api in self.apis:
            for answer in rows:
                with self.rows.row(api, answer):
                    self.begin(**options)
                    self.server.always(answer)
                    self.reports: list[int] = []
                    folder = Path(self.new_folder())
                    folder.mkdir()
                    self.file = folder / "past"
                    self.progress = folder / "past.imported"
                    self.file.write_text(self.lines[api.name])
                    check(api, answer)
        self.rows.check(2 * len(rows))

    def check_once(self, api: Api) -> None:
        """All is there once, and the import says so."""
        self.assertEqual(self.server.totals, api.totals)
        self.assertEqual(len(self.server.ledger), len(api.points))
        self.assertEqual(sum(self.reports), len(api.points))

    def test_taken(self) -> None:
        """What is taken is sent once, also when the import runs again."""

        def check(api: Api, answer: Answer) -> None:
            self.assertIsNone(self.send())
            self.assertIsNone(self.send())
            self.assertEqual(len(self.server.arrivals), 1)
            self.check_once(api)

        self.each((TAKEN,), check)

    def test_not_taken(self) -> None:
        """
        What is not taken stops the import and is not called accepted; it is sent when
        the import runs again, and then it counts once.
        """

        def check(api: Api, answer: Answer) -> None:
            self.assertIsInstance(self.send(), RequestFailed)
            self.assertEqual(self.reports, [])
            self.assertEqual(self.server.totals, {})
            self.server.always(OK)
            self.assertIsNone(self.send())
            self.check_once(api)

        self.each((REFUSED, KEY, LARGE, AGAIN, PAGE), check)

    def test_again(self) -> None:
        """What the server cannot take at first is tried again in the same run."""

        def check(api: Api, answer: Answer) -> None:
            self.server.answer = lambda arrival: (
                answer if len(self.server.arrivals) == 1 else OK
            )
            self.assertIsNone(self.send())
            self.assertEqual(len(self.server.arrivals), 2)
            self.check_once(api)

        self.each((AGAIN,), check)

    def test_refused_at_once(self) -> None:
        """A refusal, or a page, is not asked for again in the same run."""

        def check(api: Api, answer: Answer) -> None:
            self.assertIsInstance(self.send(), RequestFailed)
            self.assertEqual(len(self.server.arrivals), 1)

        self.each((REFUSED, KEY), check)

    def test_unknown(self) -> None:
        """
        After an answer that nobody understands, the import does not call the points
        accepted, and does not send them again: that server may know no ids.
        """

        def check(api: Api, answer: Answer) -> None:
            self.server.always(replace(answer, takes=True))
            self.assertIsInstance(self.send(), RequestFailed)
            self.assertEqual(self.reports, [])
            self.assertEqual(len(self.server.arrivals), 1)
            self.assertEqual(self.server.totals, api.totals)
            journal = ImportProgress.read(self.progress)
            self.assertIsNotNone(journal and journal.sending)

        self.each((UNKNOWN,), check)
