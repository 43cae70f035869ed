"""
The style sheets and scripts of the pages. There is nothing secret in them, so they are
served to everybody.
"""

from __future__ import annotations

from pathlib import Path

from txstathat.charts.assets import ChartAssets, StaticFile, style_hashes
from txstathat.collector.web.resources import Branch

__all__ = ["Files"]

_STATIC = Path(__file__).parent / "static"


class Files(Branch):
    """
    What is at ``/assets``.

    :ivar chart_style_hashes: what the policy of a page with a chart must allow;
        ``None`` where charts cannot be drawn, since plotly is not there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.chart_style_hashes: tuple[str, ...] | None = None
        for name, kind in (("pages.css", "text/css"), ("pages.js", "text/javascript")):
            file = StaticFile(_STATIC / name, f"{kind}; charset=utf-8")
            self.putChild(name.encode("ascii"), file)
        try:
            charts = ChartAssets()
        except ImportError:
            return
        self.chart_style_hashes = style_hashes()
        for path, file in charts.children.items():
            self.putChild(path, file)
