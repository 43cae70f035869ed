"""
The paths of the pages.
"""

from __future__ import annotations

from txstathat.collector.ingest.resource import IngestResource
from txstathat.collector.pages.access.sign_in import SignIn, SignOut
from txstathat.collector.pages.alerting import AlertPages, ChannelPages
from txstathat.collector.pages.assets import PageAssets
from txstathat.collector.pages.boards import BoardPages
from txstathat.collector.pages.compare import ComparePages
from txstathat.collector.pages.frame.layout import UnknownPage
from txstathat.collector.pages.listing import Pin, StatList
from txstathat.collector.pages.notes import NotesPage
from txstathat.collector.pages.parts import PageParts
from txstathat.collector.pages.sharing import SharedLinks, SharedPages
from txstathat.collector.pages.stat import StatPages
from txstathat.collector.pages.tending import KeysPage, SettingsPage, TrashPage

__all__ = ["add_pages"]


def add_pages(root: IngestResource, parts: PageParts) -> None:
    """
    Add the pages to a collector's root.

    :param root: the resource at ``/``.
    :param parts: what the pages work with.
    """
    root.putChild(b"", StatList(parts))
    root.putChild(b"pin", Pin(parts))
    root.putChild(b"stats", StatPages(parts))
    root.putChild(b"boards", BoardPages(parts))
    root.putChild(b"compare", ComparePages(parts))
    root.putChild(b"notes", NotesPage(parts))
    root.putChild(b"links", SharedLinks(parts))
    root.putChild(b"shared", SharedPages(parts))
    root.putChild(b"alerts", AlertPages(parts))
    root.putChild(b"channels", ChannelPages(parts))
    root.putChild(b"keys", KeysPage(parts))
    root.putChild(b"trash", TrashPage(parts))
    root.putChild(b"settings", SettingsPage(parts))
    root.putChild(b"sign-in", SignIn(parts))
    root.putChild(b"sign-out", SignOut(parts))
    root.putChild(b"assets", PageAssets())
    root.missing_page = UnknownPage()
