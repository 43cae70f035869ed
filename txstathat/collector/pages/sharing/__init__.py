"""
Links that show one stat or one board to visitors who are not signed in: the page that
makes and revokes them, and what they show.
"""

from txstathat.collector.pages.sharing.links import SharedLinks
from txstathat.collector.pages.sharing.shared import SharedPages

__all__ = ["SharedLinks", "SharedPages"]
