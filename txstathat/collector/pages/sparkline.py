"""
Sparklines: line charts of the size of a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from twisted.web.template import Tag

__all__ = ["sparkline", "strokes"]

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

    def place(at: int, value: float) -> str:
        up = (value / 2 - low) / (high - low or 1) * (_HEIGHT - 2 * _EDGE)
        return f"{_EDGE + at * across:.1f},{_HEIGHT - _EDGE - up:.1f}"

    for kind, points in strokes(values, place):
        attributes: dict[Any, Any] = {"points": points}
        if kind != "whole":
            attributes["class"] = kind
        svg(Tag("polyline", attributes=attributes))
    return svg


def strokes(
    values: Sequence[float | None], place: Callable[[int, float], str]
) -> Iterator[tuple[str, str]]:
    """
    Divide a line where values are missing, and before the last step, which is not over.

    :param values: one for each step; ``None`` for a step without data.
    :param place: returns the coordinates of a step's value.
    :returns: the strokes, each as its kind and its points. The kinds are ``'whole'``,
        ``'part'`` for the stroke to the last step, and ``'dot'`` for a value alone.
    """
    last = len(values) - 1
    for run in _runs(values):
        points = [place(at, value) for at, value in run]
        if len(points) == 1:
            # A line of length 0 with round ends is a dot.
            yield "dot", " ".join(points * 2)
            continue
        is_last = run[-1][0] == last
        whole = points[:-1] if is_last else points
        if len(whole) > 1:
            yield "whole", " ".join(whole)
        if is_last:
            yield "part", " ".join(points[-2:])


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
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
