"""
The two readers of JSON requests: what the typed one reads, the strict one reads alike.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txstathat.collector.archive.stats import RETENTION
from txstathat.collector.archive.writing.delta import BatchDelta
from txstathat.collector.errors import Refusal
from txstathat.collector.ingest import parse
from txstathat.collector.ingest.typed import read_typed

NOW = 1_400_000_000.0
NAMES = st.sampled_from(
    ["a", "b", "http: 5xx", "a~b,c", "é", "", " ", "\x01", 'a":1,"b']
)
NUMBERS = st.one_of(
    st.integers(-9, 9),
    st.integers(-(2**64), 2**64),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(),
).map(json.dumps)
#: Numbers as no encoder writes them, or as a program refuses them.
ODD = st.from_regex(
    r"-?(0|[1-9][0-9]{0,45})(\.[0-9]{1,45})?([eE][+-]?[0-9]{1,7})?", fullmatch=True
)
OTHERS = st.sampled_from(['"5"', "true", "null", "[]", "{}", "1.", "01", "- 1", '"x"'])
TIMES = st.sampled_from(
    [
        "1400000000",
        "1399999990",
        "1400086400",
        "1400086401",
        "1399999940.5",
        "-1",
        "0",
        "99999999999",
        "100000000000",
        "true",
        '"1400000000"',
        "null",
        "1e9",
    ]
)
SPACE = st.sampled_from(["", "", "", " ", "\n"])


@st.composite
def entries(draw: Any) -> str:
    """An entry of a request, mostly a plain one."""
    fields = [("stat", draw(NAMES.map(json.dumps)))]
    fields.append((draw(st.sampled_from(["count", "value"])), draw(NUMBERS | ODD)))
    if draw(st.booleans()):
        fields.append(("t", draw(TIMES)))
    if not draw(st.integers(0, 5)):
        name = draw(st.sampled_from(["stat", "count", "value", "t", "x", "s\\u0074at"]))
        fields.append((name, draw(NUMBERS | OTHERS | NAMES.map(json.dumps))))
    if not draw(st.integers(0, 9)):
        fields = draw(st.permutations(fields))[1:]
    space = draw(SPACE)
    return "{%s}" % ",".join(f'"{name}"{space}:{space}{text}' for name, text in fields)


@st.composite
def bodies(draw: Any) -> bytes:
    """The body of a request."""
    data = f"[{','.join(draw(st.lists(entries(), max_size=5)))}]"
    fields = [("ezkey", draw(st.sampled_from(['"k"', '"k"', '"k:"', "1", '""'])))]
    fields.append(("data", draw(st.sampled_from([data, data, data, "null", "3"]))))
    if not draw(st.integers(0, 9)):
        fields.append(
            draw(st.sampled_from([("ezkey", '"j"'), ("data", "[]"), ("x", "1")]))
        )
    text = "{%s}" % ",".join(f'"{name}":{value}' for name, value in fields)
    body = text.encode()
    if not draw(st.integers(0, 9)):
        place = draw(st.integers(0, len(body)))
        body = body[:place] + draw(st.binary(max_size=2)) + body[place:]
    return body


class ReaderTests(SynchronousTestCase):
    """Both readers, with the same bodies."""

    @settings(max_examples=600, deadline=None)
    @given(bodies())
    @example(b'{"ezkey":"k","data":[{"stat":"a","count":1,"count":2}]}')
    @example(b'{"ezkey":"k","data":[{"stat":"a:b","count":1,"stat":"a"}]}')
    @example(b'{"ezkey":"k","data":[{"stat":"a\\u003a","count":1,"count":2}]}')
    @example(b'{"ezkey":"k","data":[{"stat":"a","count":1e000001}]}')
    @example(b'{"ezkey":"k","data":[{"stat":"a","count":1e999}]}')
    @example(b'{"ezkey":"k","data":[{"stat":"a","count":9223372036854775808}]}')
    @example(b'{"ezkey":"k","data":[{"stat":"a","count":1,"value":2}]}')
    @example(b'{"ezkey":"k","data":[{"stat":"a","count":1,"value":null}]}')
    @example(b'\xef\xbb\xbf{"ezkey":"k","data":[]}')
    def test_alike(self, body: bytes) -> None:
        """
        What the typed reader reads, the strict one accepts, with the same key and the
        same points, of the same types; grouped they add the same.
        """
        typed = read_typed(body)
        if typed is None:
            return
        key, points = typed
        try:
            strict_key, strict_points = parse.read_strictly(body)
        except Refusal as refusal:
            # The key is checked afterwards, in the same way.
            with self.assertRaises(Refusal) as caught:
                parse.read_request("/ez", content_type="application/json", body=body)
            self.assertEqual(str(caught.exception), str(refusal))
            self.assertIn("ezkey", str(refusal))
            return
        self.assertEqual(key, strict_key)
        self.assertEqual([*map(repr, points)], [*map(repr, strict_points)])
        self.assertEqual(self.added(points), self.added(strict_points))

    def added(self, points: Any) -> Any:
        """What points add, or why they are refused."""
        try:
            delta = BatchDelta(points, NOW)
        except Refusal as error:
            return type(error), str(error)
        amounts = delta.amounts(RETENTION)
        return amounts.definitions, [
            (one.buckets, {name: {**cells} for name, cells in one.cells.items()})
            for one in sorted(amounts.increments, key=lambda one: one.buckets[-1].label)
        ]

    def test_usual(self) -> None:
        """The usual requests are read by the typed reader, with any spaces."""
        data = [
            {"stat": "http: 5xx", "count": 1, "t": 1_400_000_000},
            {"stat": "é", "value": 0.1 + 0.2},
            {"stat": "c", "value": -1e-7, "t": 1_399_999_999},
        ]
        for options in ({}, {"indent": 1}, {"separators": (",", ":")}):
            body = json.dumps(
                {"ezkey": "k", "data": data}, ensure_ascii=False, **options
            )
            typed = read_typed(body.encode())
            assert typed is not None
            self.assertEqual(
                typed[1],
                [
                    ("count", "http: 5xx", 1, 1_400_000_000),
                    ("value", "é", 0.1 + 0.2, None),
                    ("value", "c", -1e-7, 1_399_999_999),
                ],
            )
            self.assertEqual(typed[1][1], ("value", "é", 0.1 + 0.2, None))
            self.assertEqual(typed[1][:1], [("count", "http: 5xx", 1, 1_400_000_000)])
