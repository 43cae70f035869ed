"""
The collector's HTML pages: sign in, the list of stats, and a page for each stat.
"""

from txstathat.collector.pages.root import add_pages

__all__ = ["add_pages"]
