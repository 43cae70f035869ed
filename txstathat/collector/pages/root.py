"""
Where the pages are.
"""

from __future__ import annotations

from twisted.web.resource import Resource

from txstathat.collector.archive import Archive
from txstathat.collector.doorman import Doorman
from txstathat.collector.export_api import Readers
from txstathat.collector.pages.door import Door
from txstathat.collector.pages.files import Files
from txstathat.collector.pages.sessions import Sessions
from txstathat.collector.pages.sign_in import SignIn, SignOut
from txstathat.collector.pages.stat_list import StatList
from txstathat.collector.pages.stat_page import StatPages

__all__ = ["add_pages"]


def add_pages(
    root: Resource,
    archive: Archive,
    sessions: Sessions,
    readers: Readers,
    doorman: Doorman,
) -> None:
    """
    Hang the pages into a collector's root.

    :param root: the resource at ``/``.
    :param archive: what is shown.
    :param sessions: who is signed in.
    :param readers: whose access tokens are right.
    :param doorman: slows down who has a wrong one.
    """
    door = Door(sessions)
    files = Files()
    root.putChild(b"", StatList(door, archive))
    root.putChild(b"stats", StatPages(door, archive, files.chart_style_hashes))
    root.putChild(b"sign-in", SignIn(sessions, readers, doorman))
    root.putChild(b"sign-out", SignOut(sessions))
    root.putChild(b"assets", files)
