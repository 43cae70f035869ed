"""
Sparklines: line charts of the size of a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.web.template import Tag

__all__ = ["runs", "sparkline"]

_WIDTH, _HEIGHT, _EDGE = 120, 28, 2


def sparkline(values: Sequence[float | None]) -> Tag:
    """
    Draw a line as SVG. The style sheet sets its color and width.

    :param values: one for each step; ``None`` for a step without data. The last step is
        the current one, and the line to it has a class of its own.
    """
    known = [value for value in values if value is not None]
    # The scale includes 0, so that heights can be compared. Halves are used because the
    # difference of the largest floats would overflow.
    low, high = min([0, *known]) / 2, max([0, *known]) / 2
    across = (_WIDTH - 2 * _EDGE) / max(1, len(values) - 1)
    svg = Tag(
        "svg",
        attributes={
            "class": "sparkline",
            "viewBox": f"0 0 {_WIDTH} {_HEIGHT}",
            "preserveAspectRatio": "none",
            # Screen readers read the number beside it.
            "aria-hidden": "true",
            "focusable": "false",
        },
    )
    last = len(values) - 1
    for run in runs(values):
        points = []
        for at, value in run:
            up = (value / 2 - low) / (high - low or 1) * (_HEIGHT - 2 * _EDGE)
            points.append(f"{_EDGE + at * across:.1f},{_HEIGHT - _EDGE - up:.1f}")
        if len(points) == 1:
            # A line of length 0 with round ends is a dot.
            _draw(svg, points * 2, "dot")
        elif run[-1][0] == last:
            if len(points) > 2:
                _draw(svg, points[:-1])
            _draw(svg, points[-2:], "part")
        else:
            _draw(svg, points)
    return svg


def _draw(svg: Tag, points: Sequence[str], kind: str = "") -> None:
    line = {"points": " ".join(points), **({"class": kind} if kind else {})}
    svg(Tag("polyline", attributes=dict[Any, Any](line)))


def runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """
    Return the runs of steps with data: their indexes and values.

    :param values: one for each step; ``None`` for a step without data.
    """
    runs: list[list[tuple[int, float]]] = [[]]
    for at, value in enumerate(values):
        if value is not None:
            runs[-1].append((at, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]
