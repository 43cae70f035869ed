"""
Definitions of alerts, and the rules for their fields.

The fields are StatHat's (https://www.stathat.com/manual/alerts_api). Its command line
sends the operators ``gt``, ``lt`` and ``dt`` in place of the words; both are accepted.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from types import NoneType
from typing import Any

from txstathat.collector.archive.stats import Stat
from txstathat.collector.channels.model import BadField, check_channel_name
from txstathat.collector.channels.sending.hook_urls import mask_url
from txstathat.collector.errors import Refusal
from txstathat.collector.records import BadRecord, is_number
from txstathat.errors import InvalidPoint
from txstathat.points.amounts import MAX_INTEGER, parse_amount
from txstathat.points.names import check_name
from txstathat.points.timeframe import Span

__all__ = [
    "KINDS",
    "MARGIN",
    "MAX_ALERT_CHANNELS",
    "WINDOWS",
    "AlertDefinition",
    "check_definition",
    "choose_step",
    "edit_alert",
    "parse_alert",
]

#: The lengths of time that an alert can look at.
WINDOWS = {
    text: Span.parse(text) for text in ("5m", "1h", "3h", "1d", "1w", "1M", "1y")
}
#: How late, in seconds, points for a step of time can arrive and still count.
MARGIN = 15

#: The largest number of channels that an alert can name.
MAX_ALERT_CHANNELS = 20

#: The kinds of alerts, and the operators of each.
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
_COMMON = ("stat_id", "kind", "time_window", "webhook", "channels")
_FIELDS = {
    "value": ("operator", "threshold"),
    "delta": ("operator", "percentage", "time_delta"),
    "data": (),
}

# The steps in which each window can be read, the preferred one first.
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
class AlertDefinition:
    """
    What an alert watches, and when it fires.

    :ivar id: 16 letters and digits.
    :ivar stat_id: the id of the stat that it watches.
    :ivar stat_name: the name of that stat.
    :ivar kind: one of :data:`KINDS`.
    :ivar time_window: the length of time it looks at; one of :data:`WINDOWS`.
    :ivar operator: for kinds value and delta, the comparison.
    :ivar threshold: for kind value, the number to compare with.
    :ivar percentage: for kind delta, the change to compare with, in percent; above 0.
    :ivar time_delta: for kind delta, how far back the earlier window is; one of
        :data:`WINDOWS`.
    :ivar webhook: the URL that its notices are posted to; empty for the collector's
        default. The URL may hold a secret.
    :ivar channels: the names of the channels that its notices go through; empty for all
        of them.
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
    channels: tuple[str, ...] = ()

    @property
    def webhook_host(self) -> str:
        """
        What can be shown of the webhook: its scheme, host and port; empty without one.
        """
        return mask_url(self.webhook) if self.webhook else ""

    def to_json(self) -> dict[str, Any]:
        """
        Return the alert as StatHat's API does: the fields of its kind, without the
        webhook and the channels.
        """
        names = ("id", "stat_id", "stat_name", "kind", "time_window")
        return {name: getattr(self, name) for name in (*names, *_FIELDS[self.kind])}


def parse_alert(
    fields: Mapping[str, str],
    stat: Stat,
    retention: Mapping[str, float | None],
    check_webhook: Callable[[str], str],
) -> AlertDefinition:
    """
    Create the definition of a new alert.

    :param fields: the fields of the request.
    :param stat: the stat that ``stat_id`` names.
    :param retention: how long each scale is stored, in seconds; ``None`` for ever.
    :param check_webhook: returns a URL to which the collector may post, and raises
        :class:`~txstathat.collector.errors.Refusal` for any other.
    :raises Refusal: 400 if a field is wrong, missing or unknown, or if the detail that
        the alert compares is not stored for long enough.
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
        operator = _operator(fields, kind)
    if kind == "value":
        threshold = _number(fields, "threshold")
    if kind == "delta":
        percentage = _percentage(fields)
        delta = _choice(fields, "time_delta", WINDOWS)
    if kind != "data":
        choose_step(window, delta, retention)
    webhook = fields.get("webhook", "")
    return AlertDefinition(
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
        _channel_names(fields.get("channels", "")),
    )


def _operator(fields: Mapping[str, str], kind: str) -> str:
    given = {
        name: _SHORT.get(text, text)
        for name, text in fields.items()
        if name == "operator"
    }
    return _choice(given, "operator", KINDS[kind])


def _percentage(fields: Mapping[str, str]) -> int | float:
    percentage = _number(fields, "percentage")
    if percentage <= 0:
        raise Refusal(400, f"percentage: must be above 0, not {percentage}")
    return percentage


def edit_alert(
    alert: AlertDefinition,
    fields: Mapping[str, str],
    stat: Stat,
    retention: Mapping[str, float | None],
    check_webhook: Callable[[str], str],
) -> AlertDefinition:
    """
    Return an alert with some of its fields changed. Its stat stays the same.

    :param alert: the alert.
    :param fields: the fields to change. Those of its former kind are dropped where the
        kind changes. An empty ``webhook`` or ``channels`` stands for the default.
    :param stat: its stat.
    :param retention: as for :func:`parse_alert`.
    :param check_webhook: as for :func:`parse_alert`.
    :raises Refusal: as for :func:`parse_alert`.
    """
    kind = fields.get("kind", alert.kind)
    stated = {"kind": kind, "time_window": alert.time_window}
    if kind == alert.kind:
        stated |= {name: str(getattr(alert, name)) for name in _FIELDS[kind]}
    if "stat_id" in fields and fields["stat_id"] != alert.stat_id:
        raise Refusal(400, "stat_id: cannot be changed; create another alert")
    edited = parse_alert({**stated, **fields}, stat, retention, check_webhook)
    return replace(
        edited,
        id=alert.id,
        webhook=edited.webhook if "webhook" in fields else alert.webhook,
        channels=edited.channels if "channels" in fields else alert.channels,
    )


def _channel_names(text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if len(names) > MAX_ALERT_CHANNELS:
        raise Refusal(400, f"channels: must be at most {MAX_ALERT_CHANNELS} names")
    for name in names:
        try:
            check_channel_name(name)
        except BadField:
            raise Refusal(
                400, f"channels: {name[:40]!r} is not the name of a channel"
            ) from None
    return tuple(dict.fromkeys(names))


def check_definition(alert: AlertDefinition) -> None:
    """
    Check an alert that was read from a store or an export, except its webhook.

    :raises BadRecord: if a field has a value that :func:`parse_alert` does not produce.
    :raises InvalidPoint: if the name of the stat is not valid.
    """
    check_name(alert.stat_name)
    value, delta = alert.kind == "value", alert.kind == "delta"
    operators = _choices(alert.kind, KINDS) and KINDS[alert.kind]
    correct = {
        "id": isinstance(alert.id, str),
        "stat_id": isinstance(alert.stat_id, str),
        "kind": _choices(alert.kind, KINDS),
        "time_window": _choices(alert.time_window, WINDOWS),
        "operator": _choices(alert.operator, operators or (None,)),
        "threshold": _is_amount(alert.threshold) if value else alert.threshold is None,
        "percentage": (
            _is_amount(alert.percentage) if delta else alert.percentage is None
        ),
        "time_delta": _choices(alert.time_delta, WINDOWS if delta else (None,)),
        "webhook": isinstance(alert.webhook, str),
        "channels": isinstance(alert.channels, tuple)
        and all(isinstance(name, str) for name in alert.channels),
    }
    for name, is_correct in correct.items():
        if not is_correct:
            raise BadRecord(f"has a value of {name} that this version does not know")


def choose_step(
    window: str, delta: str | None, retention: Mapping[str, float | None]
) -> Span:
    """
    Return the length of the steps in which to read a window: minutes for up to three
    hours, hours for up to a week, days beyond; or what is nearest to that and stored
    for long enough, also for the earlier window.

    :param window: one of :data:`WINDOWS`.
    :param delta: how far back the earlier window is, one of :data:`WINDOWS`; ``None``
        if there is none.
    :param retention: how long each scale is stored, in seconds; ``None`` for ever.
    :raises Refusal: 400 if no scale is stored for long enough.
    """
    reach = WINDOWS[window].longest + (WINDOWS[delta].longest if delta else 0)
    fitting = [
        unit
        for unit in _STEPS[window]
        if (delta is None or unit in _STEPS[delta])
        and _covers(retention[_SCALES[unit]], reach + Span(1, unit).longest + MARGIN)
    ]
    if not fitting:
        compared = f" compared with {delta} before" if delta else ""
        shorter = ", or a shorter one for time_delta" if delta else ""
        raise Refusal(
            400,
            f"time_window: {window}{compared} needs finer detail than is stored for "
            f"that long: choose a longer time for time_window{shorter}",
        )
    preferred = _BY_LENGTH.index(_STEPS[window][0])
    coarse = [unit for unit in fitting if _BY_LENGTH.index(unit) >= preferred]
    if coarse:
        return Span(1, min(coarse, key=_BY_LENGTH.index))
    return Span(1, max(fitting, key=_BY_LENGTH.index))


def _covers(stored: float | None, seconds: float) -> bool:
    return stored is None or stored >= seconds


def _choices(thing: object, choices: Collection[object]) -> bool:
    return isinstance(thing, (str, NoneType)) and thing in choices


def _is_amount(thing: object) -> bool:
    return is_number(thing, MAX_INTEGER if isinstance(thing, int) else math.inf)


def _choice(fields: Mapping[str, str], name: str, choices: Any) -> str:
    given = fields.get(name, "")
    if given not in choices:
        problem = f"not {given[:40]!r}" if given else "and is missing"
        raise Refusal(400, f"{name}: must be one of {', '.join(choices)}, {problem}")
    return given


def _number(fields: Mapping[str, str], name: str) -> int | float:
    if not fields.get(name):
        raise Refusal(400, f"{name}: is missing")
    try:
        return parse_amount(fields[name], name)
    except InvalidPoint as error:
        raise Refusal(400, str(error)) from None
