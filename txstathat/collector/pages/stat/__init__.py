"""
The page of one stat: its chart over a range, and a summary.
"""

from txstathat.collector.pages.stat.page import StatPages

__all__ = ["StatPages"]
