"""
The pages for tending a collector: a stat's name and details, the trash, keys, and
settings.
"""

from txstathat.collector.pages.tending.keys import KeysPage
from txstathat.collector.pages.tending.settings import SettingsPage
from txstathat.collector.pages.tending.trash import TrashPage

__all__ = ["KeysPage", "SettingsPage", "TrashPage"]
