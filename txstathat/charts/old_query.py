"""
Translate the query parameters of staste's charts, which are in bookmarks.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

from txstathat.metrica.calendar import SCALES

__all__ = ["translate_query"]

# What one unit of each scale counted for, in seconds.
_SECONDS = {
    "year": 365 * 86_400,
    "month": 30 * 86_400,
    "day": 86_400,
    "hour": 3_600,
    "minute": 60,
}
_RENAMED = {
    "show_axis": "axis",
    "timescale": "scale",
    "view": "filter.view",
    **{f"timespan__{scale}": scale for scale in SCALES},
}
_AGO = {f"{scale}__ago": seconds for scale, seconds in _SECONDS.items()}


def translate_query(args: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """
    Replace staste's parameters by this package's, which count if a query has both.

    :param args: the values by parameter.
    """
    renamed: dict[str, list[str]] = {}
    ago = 0.0
    for name, values in args.items():
        if name in _AGO:
            ago += _AGO[name] * _number(values[-1])
        elif name == "hide_total":
            renamed["total"] = ["0" if values[-1] else "1"]
        elif name in _RENAMED:
            if values[-1]:
                renamed[_RENAMED[name]] = values
        elif name != "clean_date":  # this chose the format of dates
            renamed[name] = values
    if ago and "back" not in args:
        # From so long ago until now: the current unit is one more.
        scale = renamed.get("scale", ["hour"])[-1]
        renamed["back"] = [str(ceil(ago / _SECONDS.get(scale, 3_600)) + 1)]
    ours = {name: values for name, values in args.items() if name in renamed}
    return renamed | ours


def _number(text: str) -> int:
    # staste ignored what is no number.
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
