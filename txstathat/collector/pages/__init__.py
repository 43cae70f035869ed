"""
The collector's first pages: sign in, see the stats, look at one.
"""

from txstathat.collector.pages.root import add_pages
from txstathat.collector.pages.sessions import Sessions

__all__ = ["Sessions", "add_pages"]
