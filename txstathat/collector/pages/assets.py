"""
The style sheets and scripts of the pages. They hold nothing secret, and are served
without a session.
"""

from __future__ import annotations

from pathlib import Path

from txstathat.charts.assets import ChartAssets, StaticFile, plotly_js, style_hashes
from txstathat.collector.web.resources import Branch
from txstathat.web import page_policy

__all__ = ["PageAssets", "chart_policy"]

_STATIC = Path(__file__).parent / "static"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class PageAssets(Branch):
    """
    The resource at ``/assets``.
    """

    takes_body = False

    def __init__(self) -> None:
        super().__init__()
        for path in sorted(_STATIC.iterdir()):
            kind = _TYPES.get(path.suffix)
            if kind is not None:
                self.putChild(path.name.encode("ascii"), StaticFile(path, kind))
        if chart_policy() is not None:
            for path, file in ChartAssets().children.items():
                self.putChild(path, file)


def chart_policy() -> str | None:
    """
    Return the Content-Security-Policy of a page with a chart; ``None`` if plotly is not
    installed, and so no chart can be drawn.
    """
    try:
        plotly_js()
    except ImportError:
        return None
    return page_policy(style_hashes())
