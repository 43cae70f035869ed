"""
The style sheets and scripts of the pages. They hold nothing secret, and are served
without a session.
"""

from __future__ import annotations

from pathlib import Path

from txstathat.charts.assets import ChartAssets, StaticFile, style_hashes
from txstathat.collector.pages.layout import policy
from txstathat.collector.web.resources import Branch

__all__ = ["PageAssets"]

_STATIC = Path(__file__).parent / "static"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class PageAssets(Branch):
    """
    The resource at ``/assets``. It is made once for all pages.

    :ivar chart_policy: the Content-Security-Policy of a page with a chart; ``None`` if
        plotly is not installed, and so no chart can be drawn.
    """

    takes_body = False

    def __init__(self) -> None:
        super().__init__()
        self.chart_policy: str | None = None
        for path in sorted(_STATIC.iterdir()):
            kind = _TYPES.get(path.suffix)
            if kind is not None:
                self.putChild(path.name.encode("ascii"), StaticFile(path, kind))
        try:
            charts = ChartAssets()
        except ImportError:
            return
        self.chart_policy = policy(style_hashes())
        for path, file in charts.children.items():
            self.putChild(path, file)
