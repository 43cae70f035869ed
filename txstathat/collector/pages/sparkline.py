"""
A line as small as a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.web.template import Tag

__all__ = ["sparkline"]

_WIDTH, _HEIGHT, _EDGE = 120, 28, 2


def sparkline(values: Sequence[float | None]) -> Tag:
    """
    Draw a line, as SVG; the style sheet says how it looks.

    :param values: one for each step, ``None`` where there is no data. The last step is
        not over, which the way to it shows.
    """
    known = [value for value in values if value is not None]
    # From 0, so that heights can be compared; below it where a number is.
    # (Halves, since the largest floats are too far apart.)
    low, high = min([0, *known]) / 2, max([0, *known]) / 2
    across = (_WIDTH - 2 * _EDGE) / max(1, len(values) - 1)
    svg = Tag(
        "svg",
        attributes={
            "class": "sparkline",
            "viewBox": f"0 0 {_WIDTH} {_HEIGHT}",
            "preserveAspectRatio": "none",
            # The number beside it is what is read out.
            "aria-hidden": "true",
            "focusable": "false",
        },
    )
    last = len(values) - 1
    for run in _runs(values):
        places = []
        for at, value in run:
            up = (value / 2 - low) / (high - low or 1) * (_HEIGHT - 2 * _EDGE)
            places.append(f"{_EDGE + at * across:.1f},{_HEIGHT - _EDGE - up:.1f}")
        if len(places) == 1:
            # A line of no length shows as a dot, with round ends.
            _draw(svg, places * 2, "dot")
        elif run[-1][0] == last:
            if len(places) > 2:
                _draw(svg, places[:-1])
            _draw(svg, places[-2:], "part")
        else:
            _draw(svg, places)
    return svg


def _draw(svg: Tag, places: Sequence[str], kind: str = "") -> None:
    line = {"points": " ".join(places), **({"class": kind} if kind else {})}
    svg(Tag("polyline", attributes=dict[Any, Any](line)))


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """
    The stretches between gaps: places and values.
    """
    runs: list[list[tuple[int, float]]] = [[]]
    for at, value in enumerate(values):
        if value is not None:
            runs[-1].append((at, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]
