"""
The unit, the description and the pin of a stat.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from tests.fixtures.archives import ArchiveCase
from txstathat import Count, InvalidPoint
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.records import details
from txstathat.collector.archive.records.details import Details, parse_details
from txstathat.collector.archive.records.trash import TRASH_SECONDS
from txstathat.collector.errors import Refusal
from txstathat.collector.records import BadRecord, parse_record


class DetailsTests(ArchiveCase):
    """
    In a store in memory.
    """

    def setUp(self) -> None:
        super().setUp()
        self.keep(Count("a"), Count("b"))
        self.a, self.b = self.now(self.archive.stats())

    def change(self, stat: Any, **changes: Any) -> Details:
        """Change some details of a stat."""
        changed: Details = self.now(self.archive.details.change(stat, **changes))
        return changed

    def test_changes(self) -> None:
        """Each detail is changed alone, and every collector reads it."""
        self.change(self.a, unit="ms", description="How long a page takes.")
        self.assertEqual(
            self.change(self.a, pinned=True),
            Details("ms", "How long a page takes.", True),
        )
        other = Archive(self.store).details
        self.assertEqual(self.now(other.all()), {self.a.id: self.change(self.a)})
        self.assertEqual(self.now(other.read(self.b)), Details())

    def test_nothing_left(self) -> None:
        """A stat without details has no record."""
        self.change(self.a, unit="ms", pinned=True)
        self.change(self.a, unit="", pinned=False)
        self.assertEqual(self.successResultOf(self.store.records(details.RECORDS)), {})

    @settings(max_examples=50)
    @given(st.text(max_size=30), st.text(max_size=600))
    def test_any_text(self, unit: str, description: str) -> None:
        """What is stored is read back; other text is refused and changes nothing."""
        self.setUp()
        changing: Deferred[Any] = Deferred.fromCoroutine(
            self.archive.details.change(self.a, unit=unit, description=description)
        )
        changing.addErrback(lambda failure: failure.trap(InvalidPoint))
        made = self.successResultOf(changing)
        if made is InvalidPoint:
            made = Details()
        else:
            self.assertEqual(made, Details(unit, description))
        self.assertEqual(self.now(self.archive.details.read(self.a)), made)

    def test_too_many(self) -> None:
        """There is a limit, which changes of known details do not meet."""
        for number in range(details.MAX_DETAILS):
            self.successResultOf(
                self.store.put_record(details.RECORDS, str(number), "{}")
            )
        refusal = self.fails(self.archive.details.change(self.a, unit="s"), Refusal)
        self.assertEqual(refusal.status, 429)
        self.successResultOf(self.store.put_record(details.RECORDS, "0", None))
        self.change(self.a, unit="s")
        self.assertEqual(self.change(self.a, unit="ms").unit, "ms")

    def test_a_newer_version(self) -> None:
        """Details that a newer version wrote are not read, and not overwritten."""
        text = '{"unit": "ms", "colour": "red"}'
        self.successResultOf(self.store.put_record(details.RECORDS, self.a.id, text))
        self.assertEqual(self.now(self.archive.details.read(self.a)), Details())
        refusal = self.fails(self.archive.details.change(self.a, unit="s"), Refusal)
        self.assertEqual(refusal.status, 409)
        self.assertEqual(
            self.successResultOf(self.store.record("details", self.a.id)), text
        )

    def test_wrong_records(self) -> None:
        """A record of another shape is refused."""
        for text in ("[]", '{"unit": 1}', '{"pinned": 1}', '{"unit": "\\n"}', "{"):
            with self.assertRaises(BadRecord):
                parse_record(parse_details, self.a.id, text)

    def test_a_deleted_stat(self) -> None:
        """Details go and come with their stat, and are gone for good when it is."""
        self.change(self.a, unit="ms")
        self.now(self.archive.delete(self.a.id))
        self.now(self.archive.restore("a"))
        self.assertEqual(self.now(self.archive.details.read(self.a)).unit, "ms")
        self.now(self.archive.delete(self.a.id))
        self.clock.advance(TRASH_SECONDS + 1)
        self.now(self.archive.empty_trash())
        self.assertEqual(self.now(self.archive.details.all()), {})
