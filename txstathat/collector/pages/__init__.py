"""
The collector's first pages: sign in, see the stats, look at one.
"""

from txstathat.collector.auth.sessions import Sessions
from txstathat.collector.pages.root import add_pages

__all__ = ["Sessions", "add_pages"]
