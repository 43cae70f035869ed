"""
What an alert is, and what may be asked of one.

The fields are StatHat's (https://www.stathat.com/manual/alerts_api). Its command line
writes the operators short, as ``gt``, ``lt`` and ``dt``; both are taken.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from txstathat.collector.archive.stats import Stat
from txstathat.collector.errors import Refusal
from txstathat.errors import InvalidPoint
from txstathat.points.model import parse_amount
from txstathat.points.timeframe import Span

__all__ = ["KINDS", "MARGIN", "WINDOWS", "Alert", "alert_of", "steps_of"]

#: The lengths of time that an alert can be about.
WINDOWS = {
    text: Span.parse(text) for text in ("5m", "1h", "3h", "1d", "1w", "1M", "1y")
}
#: For how many seconds what belongs to a step of time may come in late.
MARGIN = 15

#: By kind, the operators that it can have.
KINDS = {
    "value": ("greater than", "less than"),
    "delta": ("greater than", "less than", "different than"),
    "data": (),
}
# What StatHat's command line writes; its "alert value" leaves the operator empty.
_SHORT = {
    "": "greater than",
    "gt": "greater than",
    "lt": "less than",
    "dt": "different than",
}
_COMMON = ("stat_id", "kind", "time_window", "webhook")
_FIELDS = {
    "value": ("operator", "threshold"),
    "delta": ("operator", "percentage", "time_delta"),
    "data": (),
}

# Steps that make up a window, the one to prefer first; then by length.
_STEPS = {
    "5m": "m",
    "1h": "mh",
    "3h": "mh",
    "1d": "hmd",
    "1w": "hmd",
    "1M": "dmhM",
    "1y": "dmhM",
}
_BY_LENGTH = "mhdM"
_SCALES = {"m": "minute", "h": "hour", "d": "day", "M": "month"}


@dataclass(frozen=True, slots=True)
class Alert:
    """
    An alert.

    :ivar id: 16 letters and digits.
    :ivar stat_id: the stat that it watches.
    :ivar stat_name: that stat's name.
    :ivar kind: one of :data:`KINDS`.
    :ivar time_window: one of :data:`WINDOWS`.
    :ivar operator: for kinds value and delta, how it compares.
    :ivar threshold: for kind value, what it compares with.
    :ivar percentage: for kind delta, by how much a change must be.
    :ivar time_delta: for kind delta, how far back it compares; one of :data:`WINDOWS`.
    :ivar webhook: where it is told; where the collector tells all by default if empty.
        There may be a secret in it.
    """

    id: str
    stat_id: str
    stat_name: str
    kind: str
    time_window: str
    operator: str | None = None
    threshold: int | float | None = None
    percentage: int | float | None = None
    time_delta: str | None = None
    webhook: str = field(default="", repr=False)

    def to_json(self) -> dict[str, Any]:
        """
        As StatHat tells it: what its kind has, and not where it is told.
        """
        names = ("id", "stat_id", "stat_name", "kind", "time_window")
        return {name: getattr(self, name) for name in (*names, *_FIELDS[self.kind])}


def alert_of(
    fields: Mapping[str, str],
    stat: Stat,
    retention: Mapping[str, float | None],
    check_webhook: Callable[[str], str],
) -> Alert:
    """
    The alert that is asked for.

    :param fields: what is asked.
    :param stat: the stat of ``stat_id``.
    :param retention: for how many seconds the scales are kept.
    :param check_webhook: raises :class:`~txstathat.collector.ingest.Refusal` for an URL
        at which nothing is told, else returns it.
    :raises Refusal: if a field is wrong, missing, or too much; or if what it compares
        is not kept in the detail that it takes.
    """
    kind = _choice(fields, "kind", KINDS)
    for name in fields:
        if name not in (*_COMMON, *_FIELDS[kind]):
            raise Refusal(
                400, f"{name[:40]!r}: an alert of kind {kind} has no such field"
            )
    window = _choice(fields, "time_window", WINDOWS)
    operator = threshold = percentage = delta = None
    if kind != "data":
        given = {
            name: _SHORT.get(text, text)
            for name, text in fields.items()
            if name == "operator"
        }
        operator = _choice(given, "operator", KINDS[kind])
    if kind == "value":
        threshold = _number(fields, "threshold")
    if kind == "delta":
        percentage = _number(fields, "percentage")
        if percentage <= 0:
            raise Refusal(400, f"percentage: must be above 0, not {percentage}")
        delta = _choice(fields, "time_delta", WINDOWS)
    if kind != "data":
        steps_of(window, delta, retention)
    webhook = fields.get("webhook", "")
    return Alert(
        secrets.token_hex(8),
        stat.id,
        stat.name,
        kind,
        window,
        operator,
        threshold,
        percentage,
        delta,
        check_webhook(webhook) if webhook else "",
    )


def steps_of(
    window: str, delta: str | None, retention: Mapping[str, float | None]
) -> Span:
    """
    In which steps a window is read: minutes up to three hours, hours up to a week, days
    beyond; but finer or coarser where what it is compared with takes that.

    :param window: one of :data:`WINDOWS`.
    :param delta: how far back there is another one to read.
    :param retention: for how many seconds the scales are kept.
    :raises Refusal: if there is no detail that is kept for long enough.
    """
    reach = WINDOWS[window].longest + (WINDOWS[delta].longest if delta else 0)
    fitting = [
        unit
        for unit in _STEPS[window]
        if (delta is None or unit in _STEPS[delta])
        and _keeps(retention[_SCALES[unit]], reach + Span(1, unit).longest + MARGIN)
    ]
    if not fitting:
        compared = f" compared with {delta} before" if delta else ""
        raise Refusal(
            400,
            f"time_window: {window}{compared} needs finer detail than is kept for so "
            "long: use a longer time_window, or a shorter time_delta",
        )
    preferred = _BY_LENGTH.index(_STEPS[window][0])
    coarse = [unit for unit in fitting if _BY_LENGTH.index(unit) >= preferred]
    if coarse:
        return Span(1, min(coarse, key=_BY_LENGTH.index))
    return Span(1, max(fitting, key=_BY_LENGTH.index))


def _keeps(kept: float | None, seconds: float) -> bool:
    return kept is None or kept >= seconds


def _choice(fields: Mapping[str, str], name: str, choices: Any) -> str:
    given = fields.get(name, "")
    if given not in choices:
        told = f"not {given[:40]!r}" if given else "and is missing"
        raise Refusal(400, f"{name}: must be one of {', '.join(choices)}, {told}")
    return given


def _number(fields: Mapping[str, str], name: str) -> int | float:
    if not fields.get(name):
        raise Refusal(400, f"{name}: is missing")
    try:
        return parse_amount(fields[name], name)
    except InvalidPoint as error:
        raise Refusal(400, str(error)) from None
