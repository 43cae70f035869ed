"""
Comments: notes about a stat, and how long they stay.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed

from tests.fixtures.archives import ArchiveCase
from tests.fixtures.stores import NOW
from txstathat import Count, InvalidPoint
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.records.comments import (
    Comment,
    Comments,
    read_comments,
)
from txstathat.collector.archive.records.trash import TRASH_SECONDS
from txstathat.collector.archive.stats import Stat
from txstathat.collector.errors import Refusal
from txstathat.collector.records import BadRecord, parse_record


class CommentTests(ArchiveCase):
    """
    In a store in memory.
    """

    def setUp(self) -> None:
        super().setUp()
        self.keep(Count("a"), Count("b"))
        self.a, self.b = self.now(self.archive.stats())

    def comment(self, stat: Stat, *texts: str) -> None:
        """Comment on a stat."""
        for text in texts:
            self.now(self.archive.comment(stat, text))

    def texts(self, *stats: Stat) -> list[list[str]]:
        """What the comments on some stats say, as any collector reads them."""
        found = self.now(Archive(self.store).comments(stats))
        return [[comment.text for comment in found[stat.name]] for stat in stats]

    @settings(max_examples=50)
    @given(
        st.lists(
            st.tuples(st.integers(0, 10_000), st.text(min_size=1, max_size=500)),
            max_size=10,
        )
    )
    def test_any_text(self, made: list[tuple[int, str]]) -> None:
        """What is stored is read back with its time; other text is refused."""
        self.setUp()
        kept = []
        for seconds, text in made:
            self.clock.advance(seconds)
            commenting: Deferred[Any] = Deferred.fromCoroutine(
                self.archive.comment(self.a, text)
            )
            commenting.addErrback(lambda failure: failure.trap(InvalidPoint))
            comment = Comment(int(self.clock.seconds()), text)
            answer = self.successResultOf(commenting)
            if answer is InvalidPoint:
                self.assertTrue(text.isspace() or not text.isprintable())
            else:
                self.assertEqual(answer, comment)
                kept.append(comment)
        found = self.now(self.archive.comments([self.a, self.b]))
        self.assertEqual(found, {"a": kept, "b": []})

    def test_since(self) -> None:
        """Only those that were made at a time or later can be read."""
        for text in ("x", "y", "z"):
            self.comment(self.a, text)
            self.clock.advance(60)
        found = self.now(self.archive.comments([self.a], since=int(NOW) + 60))
        self.assertEqual([comment.text for comment in found["a"]], ["y", "z"])

    def test_on_no_stat(self) -> None:
        """
        A comment on no stat is a mark of every stat's chart, among those of the stat,
        in order of time; one of another stat is not.
        """
        for stat, text in (
            (self.a, "x"),
            (None, "deployed"),
            (self.b, "b"),
            (self.a, "y"),
        ):
            self.now(self.archive.comment(stat, text))
            self.clock.advance(60)
        marks = self.now(self.archive.notes.marks([self.a], NOW, NOW + 240))
        self.assertEqual([mark.text for mark in marks], ["x", "deployed", "y"])
        marks = self.now(self.archive.notes.marks([], NOW + 60, NOW + 240))
        self.assertEqual(marks, [Comment(int(NOW) + 60, "deployed")])
        self.assertEqual(self.now(self.archive.notes.marks([], NOW, NOW + 60)), [])

    def test_delete(self) -> None:
        """One comment is deleted, once; the others stay, also those with its text."""
        self.comment(self.a, "x")
        self.clock.advance(1)
        self.comment(self.a, "x", "y")
        first = self.now(self.archive.comments([self.a]))["a"][0]
        self.now(self.archive.notes.delete(self.a, first.id))
        found = self.now(self.archive.comments([self.a]))["a"]
        self.assertEqual([c.text for c in found], ["x", "y"])
        self.assertNotEqual(found[0], first)
        for stat, id in ((self.a, first.id), (self.b, found[0].id), (None, "no")):
            failing = Deferred.fromCoroutine(self.archive.notes.delete(stat, id))
            refusal = self.failureResultOf(failing, Refusal).value
            self.assertEqual(refusal.status, 404)
        self.now(self.archive.comment(None, "z"))
        (mark,) = self.now(self.archive.notes.marks([], NOW, NOW + 9))
        self.now(self.archive.notes.delete(None, mark.id))
        self.assertEqual(self.now(self.archive.notes.all()), {self.a.id: found})

    def test_the_newest(self) -> None:
        """A stat has its newest comments; one more replaces the oldest."""
        self.archive.notes = Comments(self.store, most_of_a_stat=3)
        self.comment(self.a, *"vwxyz")
        self.comment(self.b, "other")
        self.assertEqual(self.texts(self.a, self.b), [list("xyz"), ["other"]])

    def test_too_many(self) -> None:
        """There is a limit for all stats together, which a full stat does not meet."""
        self.archive.notes = Comments(self.store, most=3, most_of_a_stat=2)
        self.comment(self.a, "x", "y")
        self.comment(self.b, "z")
        refusal = self.fails(self.archive.comment(self.b, "more"), Refusal)
        self.assertEqual(refusal.status, 429)
        self.assertIn("the store has 3 comments", refusal.msg)
        self.comment(self.a, "new")
        self.assertEqual(self.texts(self.a, self.b), [["y", "new"], ["z"]])

    def test_several_at_once(self) -> None:
        """Of two collectors that add one at the same time none loses it."""
        records = self.store.records
        other = Archive(self.store)

        def meanwhile(kind: str) -> Any:
            del self.store.records
            found = self.successResultOf(records(kind))
            self.now(other.comment(self.a, "other's"))
            return succeed(found)

        self.store.records = meanwhile
        self.comment(self.a, "mine")
        self.assertEqual(self.texts(self.a), [["other's", "mine"]])

    def test_a_deleted_stat(self) -> None:
        """Its comments go and come with it, and are gone for good when it is."""
        self.comment(self.a, "x")
        self.comment(self.b, "y")
        self.now(self.archive.delete(self.a.id))
        self.clock.advance(TRASH_SECONDS - 1)
        self.now(self.archive.empty_trash())
        self.now(self.archive.restore("a"))
        self.assertEqual(self.texts(self.a, self.b), [["x"], ["y"]])
        self.now(self.archive.delete(self.a.id))
        self.clock.advance(TRASH_SECONDS + 1)
        self.assertEqual(self.now(self.archive.empty_trash()), 1)
        self.keep(Count("a"))
        self.assertEqual(self.texts(self.a, self.b), [[], ["y"]])

    def test_emptying_the_trash_is_cut_off(self) -> None:
        """A collector that died after dropping a stat leaves no comments behind."""
        self.comment(self.a, "x")
        self.now(self.archive.delete(self.a.id))
        self.clock.advance(TRASH_SECONDS + 1)
        self.assertTrue(self.successResultOf(self.store.drop("a")))
        self.assertEqual(self.now(self.archive.empty_trash()), 0)
        self.keep(Count("a"))
        self.assertEqual(self.texts(self.a), [[]])

    def test_a_point_saves_it(self) -> None:
        """A stat that a new point took out of the trash has its comments."""
        self.comment(self.a, "x")
        self.now(self.archive.delete(self.a.id))
        self.keep(Count("a"))
        self.clock.advance(TRASH_SECONDS + 1)
        self.assertEqual(self.now(self.archive.empty_trash()), 0)
        self.assertEqual(self.texts(self.a), [["x"]])

    def test_what_is_no_record(self) -> None:
        """An import takes no record that the collector could not read."""
        for text in ('[["a", "x"]]', '[[1, ""]]', "[[1]]", "{", "7", '[[1, "x\\n"]]'):
            self.assertRaises(BadRecord, parse_record, read_comments, "id", text)
        self.assertEqual(read_comments("id", '[[1, "x"]]'), [Comment(1, "x")])
