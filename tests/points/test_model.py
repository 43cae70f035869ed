"""
What a point may be, and that it arrives as it was sent.
"""

from __future__ import annotations

import enum
import json
import numbers
import os
import struct
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any
from unittest import SkipTest
from urllib.parse import parse_qsl

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txstathat import Count, InvalidPoint, Value, txStatHat
from txstathat.collector.ingest.parse import read_request
from txstathat.points.amounts import (
    MAX_INTEGER,
    MAX_TIME,
    amount_text,
    epoch_seconds,
    parse_amount,
    parse_time,
    plain_amount,
)
from txstathat.points.model import Parts, as_point, expand_point, one_kind
from txstathat.points.names import MAX_EXPANSION, check_name, expand_name
from txstathat.points.spreadsheet import safe_cell
from txstathat.points.wire import (
    classic_form_point,
    form_point,
    json_float,
    json_parts,
    json_points,
    read_form_point,
)
from txstathat.testing import FakeStatHat, MemoryStatHat

numpy: Any
try:
    import numpy
except ImportError:
    numpy = None

names = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")),
    min_size=1,
).filter(lambda name: "~" not in name and len(name) <= 255 and not name.isspace())
amounts = (
    st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.decimals(-(10**20), 10**20, places=6)
)
times = st.none() | st.integers(0, MAX_TIME - 1)
points = st.one_of(
    st.builds(Count, names, amounts, times), st.builds(Value, names, amounts, times)
)


class NameTests(SynchronousTestCase):
    """
    Stat names.
    """

    def test_any_printable_text_is_a_name(self) -> None:
        """Spaces, slashes, percent signs, emoji: all but control characters go."""
        for name in (
            "a",
            "page view",
            "a/b%2F:c",
            "Экскурсия",
            "👩‍🚀",
            " a ",
            "x" * 255,
        ):
            self.assertEqual(check_name(name), name)

    def test_white_space_is_not_a_name(self) -> None:
        """A name that nobody could see is refused, also as a part of ``~``."""
        for name in (" ", "   ", "\N{NO-BREAK SPACE}", "a~ ,b", " ~a"):
            self.assertRaises(InvalidPoint, expand_name, name)

    def test_errors_tell_the_value_and_the_rule(self) -> None:
        """A refused name's error shows the name, cut short, and what is allowed."""
        error = self.assertRaises(InvalidPoint, check_name, "x" * 300)
        self.assertEqual(error.field, "stat")
        self.assertIn("has 300 characters; at most 255 are allowed", str(error))
        self.assertLess(len(str(error)), 200)
        error = self.assertRaises(InvalidPoint, check_name, "a\tb")
        self.assertIn(r"'a\tb' contains the character U+0009", str(error))

    def test_tilde_names_several_stats(self) -> None:
        """PREFIX~A,B,C is three stats, with one space in between."""
        self.assertEqual(expand_name("hits~a,b c,d"), ["hits a", "hits b c", "hits d"])
        self.assertEqual(expand_name("hits"), ["hits"])

    def test_tilde_names_are_bounded(self) -> None:
        """As many stats as the bound go, one more is refused."""
        suffixes = [str(n) for n in range(MAX_EXPANSION)]
        self.assertEqual(len(expand_name("p~" + ",".join(suffixes))), MAX_EXPANSION)
        error = self.assertRaises(
            InvalidPoint, expand_name, "p~" + ",".join([*suffixes, "x"])
        )
        self.assertIn(f"more than {MAX_EXPANSION} stats", str(error))

    def test_each_expanded_name_is_checked(self) -> None:
        """Names that are too long only when expanded are refused."""
        self.assertRaises(InvalidPoint, expand_name, "x" * 200 + "~" + "y" * 100)


class AmountTests(SynchronousTestCase):
    """
    Amounts.
    """

    def test_subclasses_print_as_numbers(self) -> None:
        """An IntEnum, or a float that prints itself otherwise, goes as its number."""

        class Size(enum.IntEnum):
            LARGE = 3

        class Loud(float):
            def __repr__(self) -> str:
                return "LOUD"

        self.assertEqual(amount_text(Size.LARGE), "3")
        self.assertEqual(amount_text(Loud(0.1)), "0.1")

    def test_decimals_are_exact(self) -> None:
        """A Decimal goes with every digit that it has."""
        text = "0.1234567890123456789012345678"
        self.assertEqual(amount_text(Decimal(text)), text)
        self.assertEqual(amount_text(Decimal("1E+5")), "1E+5")

    def test_fractions(self) -> None:
        """A fraction goes exactly where decimals can say it, else as the nearest float."""
        for fraction, text in (
            (Fraction(6, 2), "3"),
            (Fraction(-1, 8), "-0.125"),
            (Fraction(1, 10), "0.1"),
            (Fraction(-12345678901234567890123, 1000), "-12345678901234567890.123"),
            (Fraction(1, 10**30), "1E-30"),
            (Fraction(10**30 + 7, 10**20), "10000000000.00000000000000000007"),
            (Fraction(1, 3), repr(1 / 3)),
            (Fraction(1, 10**65 * 3), repr(1 / (10**65 * 3))),
            (Fraction(int("1234567" * 20), 10**20), repr(int("1234567" * 20) / 10**20)),
            (Fraction(10**4000 + 1, 10**4000), "1.0"),
        ):
            self.assertEqual(amount_text(fraction), text)
        for fraction in (Fraction(10**400, 3), Fraction(2**63), Fraction(-(2**63))):
            self.assertRaises(InvalidPoint, amount_text, fraction)

    @given(st.fractions() | st.fractions(max_denominator=10**6))
    def test_a_fraction_is_at_most_as_wrong_as_a_float(self, number: Fraction) -> None:
        """What is sent is the fraction itself, or the float next to it."""
        try:
            sent = plain_amount(number)
        except InvalidPoint:
            self.assertGreater(abs(number), MAX_INTEGER)
            return
        if Fraction(sent) != number:
            self.assertEqual(sent, float(number))

    def test_numbers_of_other_libraries(self) -> None:
        """What is registered with numbers, or has __index__, is a number."""
        self.assertEqual(amount_text(_Whole(2**62 + 1)), str(2**62 + 1))
        self.assertEqual(amount_text(_Index(7)), "7")
        self.assertEqual(amount_text(_Ratio(1, 10)), "0.1")
        self.assertEqual(amount_text(_Single(0.1)), repr(0.10000000149011612))
        # 2**63 - 1 has more digits than a float.
        self.assertEqual(amount_text(_Long(2**63 - 1)), str(2**63 - 1))
        self.assertEqual(amount_text(_Long(2**63 - 1, 2)), "4611686018427387903.5")
        self.assertIs(type(plain_amount(_Whole(5))), int)

    def test_what_only_looks_like_a_number(self) -> None:
        """It is refused with its value, whatever it raises when it is converted."""
        for bad in (
            True,
            1j,
            "1",
            b"1",
            None,
            [1],
            int,
            _Broken(),
            _Index(True, TypeError),
        ):
            error = self.assertRaises(InvalidPoint, amount_text, bad)
            self.assertIn("must be a number, not ", str(error))
            self.assertRaises(InvalidPoint, epoch_seconds, bad)

    def test_limits(self) -> None:
        """The largest amounts go, the next are refused."""
        self.assertEqual(amount_text(2**63 - 1), str(2**63 - 1))
        self.assertRaises(InvalidPoint, amount_text, 2**63)
        self.assertRaises(InvalidPoint, amount_text, -(2**63))
        self.assertRaises(InvalidPoint, parse_amount, str(2**63))
        self.assertRaises(InvalidPoint, parse_amount, "9" * 5000)

    def test_only_decimal_numbers_are_read(self) -> None:
        """Forms that Python's float would take, but other programs would not."""
        for text in (
            "",
            " 1",
            "1_000",
            "0x10",
            "nan",
            "inf",
            "1e",
            "--1",
            "\u0661",
            "1,5",
        ):
            self.assertRaises(InvalidPoint, parse_amount, text)
        for text, amount in (("7", 7), ("-7", -7), ("1e+06", 1e6), (".5", 0.5)):
            self.assertEqual(parse_amount(text), amount)

    @given(st.text(max_size=80))
    @example("1" * 65)
    def test_reading_never_breaks(self, text: str) -> None:
        """Any text is an amount or an InvalidPoint."""
        try:
            self.assertIsInstance(parse_amount(text), (int, float))
        except InvalidPoint as error:
            self.assertLess(len(str(error)), 200)


#: Entries of a JSON batch, valid and nearly so.
entries = st.dictionaries(
    st.sampled_from(["stat", "count", "value", "t", "x"]),
    st.one_of(
        st.sampled_from(
            [
                "a",
                "a~b,c",
                "a~ ,c",
                "",
                " ",
                " a ",
                "x" * 256,
                "\n",
                "\ud800",
                "2",
                "-1e6",
            ]
        ),
        st.integers(),
        st.sampled_from([2**63 - 1, -(2**63), 10**11 - 1, 10**11, True, None]),
        st.floats(),
        st.lists(st.integers(), max_size=1),
    ),
) | st.fixed_dictionaries(
    {"stat": st.text(min_size=1), "count": st.integers()},
    optional={"t": st.integers(0, 10**11)},
)


class JsonPartsTests(SynchronousTestCase):
    """
    The points of a JSON batch.
    """

    @given(st.lists(entries, max_size=4))
    def test_the_short_way_is_the_long_way(self, data: list[Any]) -> None:
        """What is taken or refused is what it is by the rules for a single point."""
        taken: list[Parts] = []
        refused = None
        for number, entry in enumerate(data):
            try:
                kind = one_kind(entry)
                make = Count if kind == "count" else Value
                amount = entry[kind]
                if isinstance(amount, str):
                    amount = parse_amount(amount, kind)
                point = make(entry.get("stat", ""), amount, entry.get("t"))
                for one in expand_point(point):
                    t = None if one.t is None else epoch_seconds(one.t)
                    taken.append((kind, one.stat, amount, t))
            except InvalidPoint as error:
                refused = f"data[{number}]: {error}"
                break
        if refused is None:
            self.assertEqual(list(json_parts(data)), taken)
        else:
            error = self.assertRaises(InvalidPoint, list, json_parts(data))
            self.assertEqual(str(error), refused)

    @given(
        st.integers(-(2**63) + 1, 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False),
        st.sampled_from(["count", "value"]),
        st.sets(st.sampled_from(["count", "value", "t"])),
    )
    def test_text_and_null(
        self, amount: int | float, kind: str, empty: set[str]
    ) -> None:
        """An amount as text is that amount, and a field with null is not there."""
        plain = {"stat": "a", kind: amount}
        sent = {**dict.fromkeys(empty), "stat": "a", kind: repr(amount)}
        self.assertEqual(list(json_parts([sent])), list(json_parts([plain])))
        (part,) = json_parts([sent])
        self.assertIs(type(part[2]), type(amount))

    @given(
        st.from_regex(r"-?(0|[1-9][0-9]{0,70})(\.[0-9]{1,70})?", fullmatch=True),
        st.sampled_from(["", "e5", "E-7", "e400", "e-9999999", "e+00001"]),
    )
    def test_floats(self, number: str, exponent: str) -> None:
        """A number of JSON's is taken or refused as parse_amount does it."""
        text = number + (exponent if "." in number else exponent or ".0")
        try:
            amount = parse_amount(text)
        except InvalidPoint:
            self.assertRaises(InvalidPoint, json_float, text)
        else:
            self.assertEqual(repr(json_float(text)), repr(amount))

    def test_entries_that_are_no_objects(self) -> None:
        """They are refused, each with its number."""
        for entry in (7, None, "a", ["stat"], True):
            data = [{"stat": "a", "count": 1}, entry]
            error = self.assertRaises(InvalidPoint, list, json_parts(data))
            self.assertEqual(str(error), "data[1]: point: must be an object")


class TimeTests(SynchronousTestCase):
    """
    Times.
    """

    def test_datetimes_are_instants(self) -> None:
        """The same instant in two zones is the same second."""
        utc = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
        there = utc.astimezone(timezone(timedelta(hours=5, minutes=45)))
        self.assertEqual(epoch_seconds(utc), epoch_seconds(there))
        self.assertEqual(epoch_seconds(utc), 1774747800)

    def test_fractions_are_cut_off(self) -> None:
        """A point belongs to the second in which it happened."""
        self.assertEqual(epoch_seconds(12.9), 12)
        self.assertEqual(parse_time("12.9"), 12)

    def test_numbers_of_other_libraries(self) -> None:
        """Whatever is an amount is a time, too, but for a Decimal."""
        for t in (
            _Whole(12),
            _Index(12),
            _Ratio(25, 2),
            _Single(12.5),
            Fraction(77, 6),
        ):
            self.assertEqual(epoch_seconds(t), 12)
        for bad in (_Whole(-1), Fraction(-1, 3), Fraction(10**400, 3), Decimal(12)):
            self.assertRaises(InvalidPoint, epoch_seconds, bad)

    def test_milliseconds_are_refused_with_words(self) -> None:
        """The commonest mistake is named by the unit that is expected."""
        error = self.assertRaises(InvalidPoint, epoch_seconds, 1_363_118_126_000)
        self.assertIn("is in milliseconds; give seconds", str(error))

    def test_naive_datetimes_are_refused_with_words(self) -> None:
        """The error shows how to make an aware one."""
        error = self.assertRaises(InvalidPoint, epoch_seconds, datetime(2026, 1, 1))
        self.assertIn("datetime.now(timezone.utc)", str(error))


class _Index:
    """
    Has ``__index__`` and nothing else, as whole numbers of some libraries.
    """

    def __init__(self, number: int, error: type[Exception] | None = None) -> None:
        self._number = number
        self._error = error

    def __index__(self) -> int:
        if self._error is not None:
            raise self._error("no")
        return self._number


@numbers.Integral.register
class _Whole(_Index):
    """
    A whole number as gmpy2's: registered, not derived.
    """

    def __int__(self) -> int:
        return self._number


@numbers.Rational.register
class _Ratio:
    """
    A fraction as gmpy2's.
    """

    def __init__(self, numerator: int, denominator: int) -> None:
        self.numerator, self.denominator = _Whole(numerator), _Whole(denominator)


@numbers.Real.register
class _Single:
    """
    A number of single precision, as numpy's float32.
    """

    def __init__(self, number: float) -> None:
        (self._number,) = struct.unpack("f", struct.pack("f", number))

    def __float__(self) -> float:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self._number == other


@numbers.Real.register
class _Long:
    """
    A number of more digits than a float has, as numpy's longdouble.
    """

    def __init__(self, numerator: int, denominator: int = 1) -> None:
        self._number = Fraction(numerator, denominator)

    def __float__(self) -> float:
        return float(self._number)

    def __eq__(self, other: object) -> bool:
        return self._number == other

    def as_integer_ratio(self) -> tuple[int, int]:
        return self._number.as_integer_ratio()


@numbers.Real.register
class _Broken:
    """
    Says that it is a number, and raises.
    """

    def __float__(self) -> float:
        raise RuntimeError("no")


class NumpyTests(SynchronousTestCase):
    """
    numpy's numbers, real ones.
    """

    if numpy is None and os.environ.get("CI") != "true":
        skip = "needs numpy: pip install numpy"

    def test_whole_numbers_of_every_width(self) -> None:
        """They are exact up to the largest of each."""
        for kind in "bhilqBHILQ":
            number = numpy.dtype(kind).type
            largest = min(int(numpy.iinfo(number).max), MAX_INTEGER)
            self.assertEqual(amount_text(number(largest)), str(largest))
            self.assertIs(type(plain_amount(number(3))), int)
            self.assertEqual(epoch_seconds(number(100)), 100)
        self.assertRaises(InvalidPoint, amount_text, numpy.uint64(2**63))

    def test_floats_of_every_width(self) -> None:
        """A narrow one is the float that equals it; a wide one loses nothing it need not."""
        for number in (numpy.float16, numpy.float32, numpy.float64, numpy.longdouble):
            self.assertEqual(amount_text(number(0.5)), "0.5")
            tenth = number("0.1")
            self.assertEqual(float(amount_text(tenth)), float(tenth))
            self.assertEqual(epoch_seconds(number(12.5)), 12)
            for bad in (number("nan"), number("inf"), -number("inf")):
                self.assertRaises(InvalidPoint, amount_text, bad)
                self.assertRaises(InvalidPoint, epoch_seconds, bad)
        self.assertEqual(amount_text(numpy.float32(0.1)), "0.10000000149011612")

    def test_more_digits_than_a_float_has(self) -> None:
        """Where longdouble is wider than a float, its whole numbers are exact."""
        wide = numpy.longdouble(2**60) + numpy.longdouble(1)
        if float(wide) == wide:
            raise SkipTest("longdouble is a float on this platform")
        self.assertEqual(amount_text(wide), str(2**60 + 1))

    def test_what_is_no_number(self) -> None:
        """Its bools, arrays and complex numbers are refused."""
        for bad in (
            numpy.True_,
            numpy.bool_(False),
            numpy.array([1]),
            numpy.array([1, 2]),
            numpy.array(True),
            numpy.array(0.5),
            numpy.complex128(1),
            numpy.datetime64(5, "s"),
            numpy.str_("5"),
        ):
            self.assertRaises(InvalidPoint, amount_text, bad)
            self.assertRaises(InvalidPoint, epoch_seconds, bad)

    def test_they_arrive(self) -> None:
        """Points of them are counted by a client, a fake and a service alike."""
        points = [
            Count("a", numpy.int8(5), numpy.int64(1_700_000_000)),
            Value("b", numpy.float32(0.25), numpy.float64(1_700_000_000.5)),
        ]
        arrived = [Count("a", 5, 1_700_000_000), Value("b", 0.25, 1_700_000_000)]
        fake = FakeStatHat()
        client = txStatHat("k", agent=fake.agent, ignore_errors=False)
        self.assertIs(self.successResultOf(client.post(points)), True)
        self.assertEqual(fake.points, arrived)
        memory = MemoryStatHat(ignore_errors=False)
        for _ in range(100):
            self.successResultOf(memory.count("a", numpy.int8(100)))
        self.assertEqual(memory.counts, {"a": 10_000})


class WireTests(SynchronousTestCase):
    """
    From point to bytes and back.
    """

    @given(st.lists(points, max_size=5))
    def test_json_arrives_as_it_was_sent(self, sent: list[Count | Value]) -> None:
        """Any list of points is read back from JSON equal, amounts to the digit."""
        body = b'{"ezkey":"k","data":%b}' % json_points(sent)
        batch = read_request("/ez", content_type="application/json", body=body)
        self.assertEqual(
            list(map(as_point, batch.points)), [_as_read(point) for point in sent]
        )

    @given(points)
    def test_form_arrives_as_it_was_sent(self, sent: Count | Value) -> None:
        """Any point is read back from a Classic form equal."""
        path = "/c" if isinstance(sent, Count) else "/v"
        form = classic_form_point(sent)
        batch = read_request(path, body=b"ukey=u&" + form)
        self.assertEqual(list(map(as_point, batch.points)), [_as_read(sent)])
        self.assertEqual(_exact(read_form_point(form, "key")), _exact(sent))

    @given(points)
    def test_ez_form_arrives_as_it_was_sent(self, sent: Count | Value) -> None:
        """Any point is read back from an EZ form equal, amounts to the digit."""
        form = form_point(sent)
        batch = read_request("/ez", body=b"ezkey=k&" + form)
        self.assertEqual(list(map(as_point, batch.points)), [_as_read(sent)])
        self.assertEqual(_exact(read_form_point(form)), _exact(sent))
        self.assertRaises(ValueError, read_form_point, form, "key")

    def test_json_is_ascii(self) -> None:
        """Non-ASCII names are escaped, so that no proxy can spoil them."""
        body = json_points([Count("Zürich 👍")])
        self.assertEqual(json.loads(body), [{"stat": "Zürich 👍", "count": 1}])
        body.decode("ascii")

    def test_classic_keys_have_no_tilde_rule(self) -> None:
        """In the Classic API a key is a key, whatever is in it."""
        fields = dict(parse_qsl(classic_form_point(Count("a~b,c", 2)).decode()))
        self.assertEqual(fields, {"key": "a~b,c", "count": "2"})

    def test_expanding_keeps_amount_and_time(self) -> None:
        """Each stat of a ~ name gets the whole amount, at the same time."""
        self.assertEqual(
            expand_point(Value("p~a,b", 0.5, 7)),
            [Value("p a", 0.5, 7), Value("p b", 0.5, 7)],
        )


def _as_read(point: Count | Value) -> Count | Value:
    """
    A point as the other side sees it: a Decimal has become a number.
    """
    if isinstance(point, Count):
        return Count(point.stat, parse_amount(amount_text(point.count)), point.t)
    return Value(point.stat, parse_amount(amount_text(point.value)), point.t)


def _exact(point: Count | Value) -> tuple[object, ...]:
    """
    What must not change on the wire: the amount's digits too.
    """
    amount = point.count if isinstance(point, Count) else point.value
    return type(point), point.stat, Decimal(amount_text(amount)), point.t


class SpreadsheetTests(SynchronousTestCase):
    """
    Cells of CSV files.
    """

    def test_harmless(self) -> None:
        """No cell is a formula or has control characters; other cells stay as they are."""
        for cell, expected in (
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\uff1d1", "'\uff1d1"),
            ("  =1", "'  =1"),
            ("\t=1", "\ufffd=1"),
            ("a\r\nb\x1b[31m\x9b\x7f", "a\ufffd\ufffdb\ufffd[31m\ufffd\ufffd"),
            ("page views/é ☃", "page views/é ☃"),
            ("a=1", "a=1"),
            ("", ""),
            (-1, -1),
            (-0.5, -0.5),
            (None, None),
        ):
            self.assertEqual(safe_cell(cell), expected)
