"""
The style sheet of the pages for tending a collector.
"""

from __future__ import annotations

from twisted.web.template import tags

from txstathat.collector.pages.layout import ASSETS

__all__ = ["TENDING_FILES"]

#: What these pages load.
TENDING_FILES = (tags.link(rel="stylesheet", href=f"{ASSETS}/tending.css"),)
