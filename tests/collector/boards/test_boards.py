"""
Boards and comparisons: their records, and what a board reads.
"""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures.archives import ArchiveCase
from tests.fixtures.stores import NOW
from txstathat import Count, Value
from txstathat.collector.boards.indexing import indexed
from txstathat.collector.boards.model import (
    KINDS,
    MAX_COMPARED,
    MAX_SERIES,
    MAX_TILES,
    SCALES,
    SIZES,
    TIMEFRAMES,
    Board,
    Comparison,
    Tile,
    new_id,
    parse_board,
    parse_comparison,
    to_json,
)
from txstathat.collector.boards.reading import read_board
from txstathat.collector.boards.records import BOARDS as KIND
from txstathat.collector.boards.records import BoardRecords, Documents
from txstathat.collector.errors import Refusal
from txstathat.collector.records import BadRecord, parse_record

NAMES = st.text(
    st.characters(categories=["L", "N", "P", "S", "Cf"]), min_size=1, max_size=20
)
TILES = st.builds(
    Tile,
    st.uuids().map(str),
    st.sampled_from([kind for kind in KINDS if kind != "comparison"]),
    st.tuples(NAMES),
    st.sampled_from(list(TIMEFRAMES)),
    st.sampled_from(list(SIZES)),
    st.one_of(st.just(""), NAMES),
    st.sampled_from(list(SCALES)),
) | st.builds(
    lambda id, names, scale: Tile(id, "comparison", tuple(names), scale=scale),
    st.uuids().map(str),
    st.lists(NAMES, min_size=1, max_size=MAX_COMPARED, unique=True),
    st.sampled_from(list(SCALES)),
)
BOARDS = st.builds(
    Board, NAMES, st.lists(TILES, max_size=9, unique_by=lambda t: t.id).map(tuple)
)


def tile(id: str, *stats: str, **more: Any) -> Tile:
    """A tile."""
    kind = "comparison" if len(stats) > 1 else "sparkline"
    return Tile(id, kind, stats or ("a",), **more)


class ModelTests(SynchronousTestCase):
    """Boards and comparisons, without a store."""

    @settings(max_examples=50)
    @given(BOARDS)
    def test_written_and_read(self, board: Board) -> None:
        """What is written is read back."""
        self.assertEqual(parse_board(new_id(), to_json(board)), board)

    @given(BOARDS, st.data())
    @settings(max_examples=50)
    def test_order(self, board: Board, data: Any) -> None:
        """
        Whatever the order, the board has the same tiles: those that are named come
        first, in that order; the others keep theirs.
        """
        ids = [each.id for each in board.tiles]
        named = data.draw(st.lists(st.sampled_from([*ids, "unknown"]), unique=True))
        ordered = [each.id for each in board.in_order(named).tiles]
        known = [id for id in named if id in ids]
        self.assertEqual(ordered, known + [id for id in ids if id not in known])
        for id in ids:
            by = data.draw(st.integers(-9, 9))
            moved = [each.id for each in board.moved(id, by).tiles]
            at = max(0, min(len(ids) - 1, ids.index(id) + by))
            self.assertEqual(moved.index(id), at)
            self.assertEqual([x for x in moved if x != id], [x for x in ids if x != id])

    def test_what_is_no_record(self) -> None:
        """A record that is not as this version writes it is refused."""
        good = json.loads(to_json(Board("b", (tile("1"),))))
        for change in (
            {"title": ""},
            {"title": "x" * 101},
            {"title": "a\nb"},
            {"tiles": {}},
            {"tiles": [good["tiles"][0], good["tiles"][0]]},
            {"more": 1},
            *(
                {"tiles": [{**good["tiles"][0], name: value}]}
                for name, value in (
                    ("kind", "movie"),
                    ("kind", []),
                    ("stats", []),
                    ("stats", ["a", "b"]),
                    ("stats", "a"),
                    ("stats", [1]),
                    ("timeframe", "1d1m"),
                    ("size", "huge"),
                    ("scale", "log"),
                    ("id", ""),
                    ("title", 5),
                    ("more", 1),
                )
            ),
        ):
            with self.assertRaises(BadRecord, msg=str(change)):
                parse_record(parse_board, new_id(), json.dumps({**good, **change}))
        with self.assertRaises(BadRecord):
            parse_record(parse_board, "no id", json.dumps(good))
        good = json.loads(to_json(Comparison("c", ("a", "b"), "1w3h")))
        parse_comparison(new_id(), json.dumps(good))
        for change in (
            {"timeframe": "x"},
            {"timeframe": None},
            {"stats": ["a", "a"]},
            {"stats": list("abcdefg")},
            {"scale": 1},
            {"scale": "log"},
        ):
            with self.assertRaises(BadRecord, msg=str(change)):
                text = json.dumps({**good, **change})
                parse_record(parse_comparison, new_id(), text)

    def test_limits(self) -> None:
        """A board has so many tiles and lines at most; changing one still works."""
        board = Board("b")
        for n in range(MAX_TILES):
            board = board.with_tile(tile(f"{n}"))
        self.assertRaises(Refusal, board.with_tile, tile("one more"))
        board.with_tile(tile("0", "b"))
        board = Board("b")
        for n in range(MAX_SERIES // 6):
            board = board.with_tile(tile(f"{n}", *"abcdef"))
        self.assertRaises(Refusal, board.with_tile, tile("one more"))
        for change in (
            lambda: board.tile("x"),
            lambda: board.without_tile("x"),
            lambda: board.moved("x", 1),
        ):
            with self.assertRaises(Refusal) as raised:
                change()
            self.assertEqual(raised.exception.status, 404)

    @given(
        st.lists(
            st.none()
            | st.integers(-(2**63), 2**63)
            | st.floats(allow_nan=False, allow_infinity=False)
        )
    )
    def test_indexed(self, values: list[Any]) -> None:
        """The first value that is not 0 is 100; the others keep their ratio to it."""
        found = indexed(values)
        first = next((at for at, value in enumerate(values) if value), len(values))
        self.assertEqual(found[:first], [None] * first)
        for value, index in zip(values[first:], found[first:], strict=True):
            if index is not None:
                ratio = value / values[first]
                self.assertTrue(math.isclose(index / 100, ratio), (index, ratio))
        self.assertEqual(found[first : first + 1], [100.0][: len(values) - first])


class RecordTests(ArchiveCase):
    """Boards and comparisons in a store."""

    def setUp(self) -> None:
        super().setUp()
        self.records = BoardRecords(self.store)
        self.boards = self.records.boards

    def status(self, waited: Any) -> int:
        """The status with which a coroutine is refused."""
        failing: Deferred[Any] = Deferred.fromCoroutine(waited)
        status: int = self.failureResultOf(failing, Refusal).value.status
        return status

    def test_life(self) -> None:
        """A board is created, listed by title, changed and deleted."""
        id = self.now(self.boards.create(Board("Shop")))
        other = self.now(self.boards.create(Board("api")))
        self.assertEqual(list(self.now(self.boards.all())), [other, id])
        self.now(self.boards.change(id, lambda board: board.with_tile(tile("1"))))
        self.assertEqual(
            self.now(BoardRecords(self.store).boards.get(id)),
            Board("Shop", (tile("1"),)),
        )
        self.now(self.boards.delete(id))
        for waited in (
            self.boards.get(id),
            self.boards.delete(id),
            self.boards.change(id, lambda board: board),
        ):
            self.assertEqual(self.status(waited), 404)
        self.assertEqual(list(self.now(self.boards.all())), [other])

    def test_two_at_once(self) -> None:
        """A change that another one has overtaken is made again on the new board."""
        id = self.now(self.boards.create(Board("b")))
        others = BoardRecords(self.store).boards
        first = []

        def change(board: Board) -> Board:
            if not first:
                first.append(
                    self.now(others.change(id, lambda b: b.with_tile(tile("1"))))
                )
            return board.with_tile(tile("2"))

        changed = self.now(self.boards.change(id, change))
        self.assertEqual([each.id for each in changed.tiles], ["1", "2"])

    def test_too_many(self) -> None:
        """There is a limit; deleting one makes room."""
        boards = Documents(self.store, KIND, parse_board, 2)
        ids = [self.now(boards.create(Board("b"))) for _ in range(2)]
        self.assertEqual(self.status(boards.create(Board("b"))), 429)
        self.now(boards.delete(ids[0]))
        self.now(boards.create(Board("b")))

    def test_unreadable(self) -> None:
        """A board that cannot be read is left out and not changed; it can be deleted."""
        id = new_id()
        self.successResultOf(self.store.put_record("board", id, "{}"))
        self.assertEqual(self.now(self.boards.all()), {})
        self.assertEqual(self.status(self.boards.change(id, lambda board: board)), 404)
        self.now(self.boards.delete(id))


class ReadingTests(ArchiveCase):
    """What a board reads."""

    def setUp(self) -> None:
        super().setUp()
        self.reads: list[int] = []
        read = self.store.read

        def counted(keys: Any) -> Any:
            self.reads.append(len(keys))
            return read(keys)

        self.store.read = counted

    def test_the_same_as_alone(self) -> None:
        """Each tile has the series that the archive returns for its stat."""
        self.keep(
            *(Count("a", n, NOW - n * 5000) for n in range(1, 40)),
            *(Value("b", n, NOW - n * 700) for n in range(1, 40)),
        )
        tiles = [
            tile(f"{name}{t}", name, timeframe=t) for t in TIMEFRAMES for name in "ab"
        ]
        data = self.now(read_board(self.archive, Board("x", tuple(tiles))))
        for each in tiles:
            (name,) = each.stats
            stats = self.now(self.archive.stats([name]))
            (series,) = self.now(self.archive.data(stats, each.timeframe))
            found = data.series[name, each.timeframe]
            self.assertEqual(found.points, series.points, each)
            self.assertEqual(found.whole, series.whole)

    def test_few_reads(self) -> None:
        """
        However many tiles a board has, the stats are one read and their data is
        another; the same stat in two tiles is read once.
        """
        names = [f"s{n}" for n in range(20)]
        self.keep(*(Count(name) for name in names))
        for count in (1, 20):
            tiles = [tile(f"{n}", name) for n, name in enumerate(names[:count])]
            tiles += [tile(f"again {n}", name) for n, name in enumerate(names[:count])]
            self.reads.clear()
            self.now(read_board(self.archive, Board("x", tuple(tiles))))
            self.assertEqual(self.reads, [count, 24 * count])

    def test_the_time_before(self) -> None:
        """
        For a number the time before is read too, together with the rest, as the archive
        returns it; not where its detail is not stored any more.
        """
        self.keep(*(Count("a", n, NOW - n * 3600) for n in range(1, 60)))
        number = Tile("1", "number", ("a",))
        self.reads.clear()
        data = self.now(read_board(self.archive, Board("x", (number, tile("2", "a")))))
        self.assertEqual(self.reads, [1, 48])
        stats = self.now(self.archive.stats(["a"]))
        begin = data.series["a", "1d1h"].buckets[0].time
        (before,) = self.now(self.archive.data(stats, "1d1h", start=begin - 86_400))
        self.assertEqual(data.before["a", "1d1h"].points, before.points)
        self.archive.retention["hour"] = 30 * 3600.0
        data = self.now(read_board(self.archive, Board("x", (number,))))
        self.assertEqual(data.before, {})
        self.assertGreater(data.series["a", "1d1h"].whole, 0)

    def test_in_parts(self) -> None:
        """A board with very much data is read in parts, between which others read."""
        names = [f"s{n}" for n in range(40)]
        self.keep(*(Count(name) for name in names))
        tiles = [tile(f"{n}", name, timeframe="1y1w") for n, name in enumerate(names)]
        reading = Deferred.fromCoroutine(
            read_board(self.archive, Board("x", tuple(tiles)))
        )
        self.assertNoResult(reading)
        self.clock.pump([0] * 5)
        data = self.successResultOf(reading)
        self.assertEqual(len(data.series), 40)
        self.assertLessEqual(max(self.reads), 10_000)
        self.assertEqual(len(self.reads), 3)

    def test_what_is_not_there(self) -> None:
        """Unknown and deleted stats are left out; the others are there."""
        self.keep(Count("a"), Count("b"))
        (b,) = self.now(self.archive.stats(["b"]))
        self.now(self.archive.delete(b.id))
        tiles = (tile("1", "a"), tile("2", "b"), tile("3", "c"))
        data = self.now(read_board(self.archive, Board("x", tiles)))
        self.assertEqual(list(data.series), [("a", "1d1h")])

    def test_detail_that_is_not_stored(self) -> None:
        """A tile whose detail is not stored says so; the others are shown."""
        self.archive.retention["hour"] = 3600.0
        self.keep(Count("a"))
        tiles = (tile("1", "a"), tile("2", "a", timeframe="1M1d"))
        data = self.now(read_board(self.archive, Board("x", tiles)))
        refusal = data.series["a", "1d1h"]
        self.assertIsInstance(refusal, Refusal)
        self.assertIn("stored for 1 hours", str(refusal))
        self.assertEqual(data.series["a", "1M1d"].whole, 1)

    def test_marks(self) -> None:
        """The notes of a stat and the general ones are those of its chart."""
        self.keep(Count("a"), Count("b"))
        a, b = self.now(self.archive.stats())
        for stat, text in ((a, "on a"), (None, "deployed"), (b, "on b")):
            self.now(self.archive.comment(stat, text))
            self.clock.advance(10)
        board = Board("x", (tile("1", "a"), tile("2", "b")))
        data = self.now(read_board(self.archive, board))
        texts = [mark.text for mark in data.marks_of(["a"], NOW)]
        self.assertEqual(texts, ["on a", "deployed"])
        texts = [mark.text for mark in data.marks_of(["a", "b"], NOW + 5)]
        self.assertEqual(texts, ["deployed", "on b"])
        data = self.now(read_board(self.archive, board, notes=False))
        self.assertEqual(data.marks_of(["a"], NOW), [])
