"""
Where the pages are.
"""

from __future__ import annotations

from twisted.web.resource import Resource

from txstathat.collector.api.export import Readers
from txstathat.collector.archive.archive import Archive
from txstathat.collector.auth.sessions import Sessions
from txstathat.collector.auth.throttle import KeyThrottle
from txstathat.collector.pages.door import Door
from txstathat.collector.pages.files import Files
from txstathat.collector.pages.sign_in import SignIn, SignOut
from txstathat.collector.pages.stat_list import StatList
from txstathat.collector.pages.stat_page import StatPages

__all__ = ["add_pages"]


def add_pages(
    root: Resource,
    archive: Archive,
    sessions: Sessions,
    readers: Readers,
    throttle: KeyThrottle,
) -> None:
    """
    Hang the pages into a collector's root.

    :param root: the resource at ``/``.
    :param archive: what is shown.
    :param sessions: who is signed in.
    :param readers: whose access tokens are right.
    :param throttle: slows down who has a wrong one.
    """
    door = Door(sessions)
    files = Files()
    root.putChild(b"", StatList(door, archive))
    root.putChild(b"stats", StatPages(door, archive, files.chart_style_hashes))
    root.putChild(b"sign-in", SignIn(sessions, readers, throttle))
    root.putChild(b"sign-out", SignOut(sessions))
    root.putChild(b"assets", files)
