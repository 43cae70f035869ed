"""
Names of stats as names that Prometheus allows.
"""

from __future__ import annotations

import re

__all__ = ["label_name", "metric_name"]

_OTHERS = re.compile(r"[^a-zA-Z0-9_]+")


def metric_name(stat: str) -> str:
    """
    The name of the metric for a stat.

    A letter or digit that is not ASCII becomes ``u`` and its code point in hexadecimal.
    Each run of other characters that are not ``[a-zA-Z0-9_]`` becomes one ``_``; those
    at the ends are left out. A name that would begin with a digit, or be empty, gets a
    ``_`` before it.

    :param stat: the name of a stat, such as ``'load user ms'``.
    :returns: such as ``'load_user_ms'``.
    """
    text = stat
    if not text.isascii():
        text = "".join(
            c if c.isascii() or not c.isalnum() else f"u{ord(c):04x}" for c in text
        )
    name = _OTHERS.sub("_", text).strip("_")
    return name if name and not name[0].isdigit() else f"_{name}"


def label_name(axis: str) -> str:
    """
    The name of the label for an axis: made as :func:`metric_name` is, but Prometheus
    reserves names with ``__`` before them, and summaries the name ``quantile``.
    """
    name = metric_name(axis)
    return "quantile_" if name == "quantile" else name
