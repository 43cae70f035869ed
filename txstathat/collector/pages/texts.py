"""
CollectorMetrics and times as people read them.
"""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["ago", "moment", "number"]


def number(value: float | None) -> str:
    """
    A number: whole ones with all their digits, others with about five.
    """
    if value is None:
        return "–"  # noqa: RUF001
    if isinstance(value, int) or (value.is_integer() and abs(value) < 2**53):
        return f"{int(value):,}"
    if 1000 <= abs(value) < 1e9:
        return f"{value:,.1f}"
    if 1e9 <= abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:.5g}"


def moment(t: float) -> str:
    """
    A time in UTC, to the minute.
    """
    return f"{datetime.fromtimestamp(t, UTC):%Y-%m-%d %H:%M} UTC"


def ago(t: float, now: float) -> str:
    """
    How long ago a time is.
    """
    seconds = now - t
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            many = int(seconds // length)
            return f"{many:,} {unit}{'' if many == 1 else 's'} ago"
    return "just now"
