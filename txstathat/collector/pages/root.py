"""
The paths of the pages.
"""

from __future__ import annotations

from txstathat.collector.alerts.parts import AlertParts
from txstathat.collector.api.readers import Readers
from txstathat.collector.archive.archive import Archive
from txstathat.collector.auth.keys import Keys
from txstathat.collector.auth.sessions import Sessions
from txstathat.collector.auth.shares import Shares
from txstathat.collector.auth.throttle import KeyThrottle
from txstathat.collector.boards.records import BoardRecords
from txstathat.collector.ingest.resource import IngestResource
from txstathat.collector.pages.alerting import AlertPages, ChannelPages
from txstathat.collector.pages.assets import PageAssets
from txstathat.collector.pages.boards import BoardPages
from txstathat.collector.pages.compare import ComparePages
from txstathat.collector.pages.guard import SessionGuard
from txstathat.collector.pages.layout import UnknownPage
from txstathat.collector.pages.listing import Pin, StatList
from txstathat.collector.pages.notes import NotesPage
from txstathat.collector.pages.sharing import SharedLinks, SharedPages
from txstathat.collector.pages.sign_in import SignIn, SignOut
from txstathat.collector.pages.stat_page import StatPages
from txstathat.collector.pages.tending import KeysPage, SettingsPage, TrashPage

__all__ = ["add_pages"]


def add_pages(
    root: IngestResource,
    archive: Archive,
    sessions: Sessions,
    readers: Readers,
    throttle: KeyThrottle,
    boards: BoardRecords,
    shares: Shares,
    keys: Keys,
    alerting: AlertParts,
) -> None:
    """
    Add the pages to a collector's root.

    :param root: the resource at ``/``.
    :param archive: the stats to show.
    :param sessions: the sessions of signed-in browsers.
    :param readers: checks access tokens.
    :param throttle: delays the answers to wrong links.
    :param boards: the boards and the saved comparisons.
    :param shares: the shared links.
    :param keys: the keys.
    :param alerting: what the pages for alerts work with.
    """
    guard = SessionGuard(sessions)
    assets = PageAssets()
    alerts = alerting.records
    root.putChild(b"", StatList(guard, archive, alerts=alerts))
    root.putChild(b"pin", Pin(guard, archive))
    stats = StatPages(guard, archive, assets.chart_policy, alerts)
    root.putChild(b"stats", stats)
    root.putChild(b"boards", BoardPages(guard, archive, boards, shares))
    root.putChild(b"compare", ComparePages(guard, archive, boards, assets.chart_policy))
    root.putChild(b"notes", NotesPage(guard, archive))
    root.putChild(b"links", SharedLinks(guard, archive, boards, shares))
    shared = SharedPages(archive, boards, shares, throttle, assets.chart_policy)
    root.putChild(b"shared", shared)
    root.putChild(b"alerts", AlertPages(guard, alerting))
    root.putChild(b"channels", ChannelPages(guard, alerting.channels))
    root.putChild(b"keys", KeysPage(guard, keys))
    root.putChild(b"trash", TrashPage(guard, archive))
    settings = SettingsPage(guard, archive, keys, sessions, alerts)
    root.putChild(b"settings", settings)
    root.putChild(b"sign-in", SignIn(sessions, readers, throttle))
    root.putChild(b"sign-out", SignOut(sessions))
    root.putChild(b"assets", assets)
    root.missing_page = UnknownPage()
