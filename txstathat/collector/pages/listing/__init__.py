"""
The list of stats: its address, its rows, and its pages.
"""

from txstathat.collector.pages.listing.page import PAGE, StatList
from txstathat.collector.pages.listing.pin import Pin

__all__ = ["PAGE", "Pin", "StatList"]
