"""
What a Metrica consists of: its name, axes, multiplier, calendar and retention.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any

from txstathat.errors import InvalidPoint
from txstathat.metrica.axes import Axis, Choice, as_json
from txstathat.metrica.calendar import RETENTION, SCALES, Calendar, coarsen
from txstathat.metrica.cells import Event
from txstathat.points.amounts import (
    MAX_INTEGER,
    Amount,
    amount_text,
    parse_amount,
    plain_amount,
)
from txstathat.points.names import check_name

__all__ = ["MAX_MULTIPLIER", "Schema"]

#: The largest multiplier.
MAX_MULTIPLIER = 10**12

# Keywords with another meaning in ``kick`` or in the methods of a selection.
_RESERVED_KEYWORDS = ("value", "date", "self", "axis")

_EXACT = Context(prec=100, rounding=ROUND_HALF_EVEN)


class Schema:
    """
    The schema of a Metrica. See :class:`~txstathat.metrica.Metrica` for the parameters.

    :param kind: ``'sum'`` or ``'average'``.
    :raises ValueError: if a parameter is not valid.

    :ivar name: the name.
    :ivar axes: the axes by keyword.
    :ivar multiplier: the multiplier, or ``None``.
    :ivar tz: the name of the time zone.
    :ivar calendar: the calendar of that zone.
    :ivar retention: for how many seconds each stored scale is stored (``None`` for
        ever), from the coarsest to the finest scale.
    :ivar resolution: the finest stored scale.
    :ivar definition: the text that the store saves with the name.
    """

    def __init__(
        self,
        name: str,
        axes: Iterable[tuple[str, Axis]],
        *,
        kind: str,
        multiplier: int | None = None,
        tz: str = "UTC",
        scales: Iterable[str] = SCALES,
        retention: Mapping[str, float | None] | None = None,
    ) -> None:
        self.name = check_name(name, "name")
        self.axes = dict(_checked_axes(axes))
        self._encoders = [(word, axis.encoder) for word, axis in self.axes.items()]
        self.multiplier = _checked_multiplier(multiplier)
        self.calendar = Calendar(tz)
        self.tz = tz
        self.retention = _checked_retention(scales, retention or {})
        self.resolution = next(reversed(self.retention))
        self.definition = as_json(
            {
                "axes": [[word, axis.describe()] for word, axis in self.axes.items()],
                "kind": kind,
                "multiplier": multiplier,
                "tz": tz,
            }
        )

    def event(self, choices: Mapping[str, Any]) -> Event:
        """
        Encode the choices of an event.

        :param choices: the choices by keyword of an axis; ``None`` means unknown.
        :raises TypeError: if a keyword is unknown.
        :raises ValueError: if an axis does not allow a choice.
        """
        encoded: list[Choice | None] = []
        word = ""
        try:
            for word, encode in self._encoders:
                value = choices.get(word)
                encoded.append(None if value is None else encode(value))
        except ValueError as error:
            raise ValueError(f"axis {word!r}: {error}") from None
        if not choices.keys() <= self.axes.keys():
            unknown = min(choices.keys() - self.axes.keys())
            raise TypeError(
                f"{self.name!r} has no axis {unknown!r}; "
                f"its axes are: {', '.join(self.axes) or 'none'}"
            )
        return tuple(encoded)

    def amount(self, value: Amount) -> int | float:
        """
        Convert an amount to the units of the store.

        :raises InvalidPoint: if it is not a finite number, or too large.
        """
        if self.multiplier is None:
            if type(value) is int and abs(value) <= MAX_INTEGER:
                return value
            plain = plain_amount(value)
            return parse_amount(str(plain)) if isinstance(plain, Decimal) else plain
        text = amount_text(value)
        # Decimal is exact: 0.285 is 28.5 hundredths, not 28.499999999999996.
        exact = _EXACT.multiply(Decimal(text), Decimal(self.multiplier))
        if abs(exact) > MAX_INTEGER:
            raise InvalidPoint(
                "value",
                f"{text} times the multiplier {self.multiplier} exceeds {MAX_INTEGER}",
            )
        return int(exact.to_integral_value(ROUND_HALF_EVEN))

    def to_user_units(self, total: int | float) -> int | float:
        """
        Convert a sum from the units of the store: divide it by the multiplier.
        """
        return total if self.multiplier is None else total / self.multiplier

    def bucket_label(self, seconds: int) -> str:
        """
        Return the label of the time bucket of a time, in the finest stored scale.

        :param seconds: whole Unix seconds.
        :raises ValueError: if it is out of range.
        """
        return coarsen(self.calendar.minute(seconds), self.resolution)


def _checked_axes(axes: Iterable[tuple[str, Axis]]) -> Iterator[tuple[str, Axis]]:
    seen = set()
    for word, axis in axes:
        if not isinstance(word, str) or not word.isidentifier():
            raise ValueError(
                f"the keyword of an axis must be an identifier, not {word!r}"
            )
        if word in _RESERVED_KEYWORDS:
            raise ValueError(f"the keyword of an axis must not be {word!r}")
        if word in seen:
            raise ValueError(f"two axes have the keyword {word!r}")
        if not isinstance(axis, Axis):
            raise ValueError(f"axis {word!r} must be an Axis, not {axis!r}")
        seen.add(word)
        yield word, axis


def _checked_multiplier(multiplier: int | None) -> int | None:
    if multiplier is not None and (
        isinstance(multiplier, bool)
        or not isinstance(multiplier, int)
        or not 1 <= multiplier <= MAX_MULTIPLIER
    ):
        raise ValueError(f"multiplier must be 1 to 10**12, not {multiplier!r}")
    return multiplier


def _checked_retention(
    scales: Iterable[str], retention: Mapping[str, float | None]
) -> dict[str, float | None]:
    stored = set(scales)
    for scale in (*stored, *retention):
        if scale not in SCALES:
            raise ValueError(
                f"{scale!r} is not a scale; use one of: {', '.join(SCALES)}"
            )
    if not stored:
        raise ValueError(f"scales must contain at least one of: {', '.join(SCALES)}")
    for scale, ttl in retention.items():
        if ttl is not None and not ttl > 0:
            raise ValueError(f"the retention of {scale} must be positive, not {ttl!r}")
    merged = RETENTION | dict(retention)
    return {scale: merged[scale] for scale in SCALES if scale in stored}
