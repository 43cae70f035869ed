"""
Numbers for people to read.
"""

from __future__ import annotations

__all__ = ["number"]


def number(value: float | None) -> str:
    """
    Write a number: whole numbers with all their digits, others with about five.

    :param value: the number; ``None`` gives a dash.
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
