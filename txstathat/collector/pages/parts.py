"""
What the pages work with.
"""

from __future__ import annotations

from dataclasses import dataclass

from txstathat.collector.alerts.parts import AlertParts
from txstathat.collector.api.readers import Readers
from txstathat.collector.archive.archive import Archive
from txstathat.collector.auth.keys import Keys
from txstathat.collector.auth.sessions import Sessions
from txstathat.collector.auth.shares import Shares
from txstathat.collector.auth.throttle import KeyThrottle
from txstathat.collector.boards.model import Board, Comparison
from txstathat.collector.boards.records import Documents

__all__ = ["PageParts"]


@dataclass(frozen=True, slots=True)
class PageParts:
    """
    What the pages work with.

    :ivar archive: the stats.
    :ivar keys: the keys.
    :ivar sessions: the sessions of signed-in browsers.
    :ivar readers: checks access tokens.
    :ivar throttle: delays the answers to wrong links.
    :ivar boards: the boards.
    :ivar comparisons: the saved comparisons.
    :ivar shares: the shared links.
    :ivar alerting: the alerts, and where their notices go.
    :ivar chart_policy: the Content-Security-Policy of pages with a chart; ``None`` to
        show no charts.
    """

    archive: Archive
    keys: Keys
    sessions: Sessions
    readers: Readers
    throttle: KeyThrottle
    boards: Documents[Board]
    comparisons: Documents[Comparison]
    shares: Shares
    alerting: AlertParts
    chart_policy: str | None
