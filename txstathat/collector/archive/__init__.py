"""
The stored stats: points become one commit, and cells become series.
"""

from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.records.comments import Comment
from txstathat.collector.archive.series import Bucket, Series
from txstathat.collector.archive.stats import (
    DEFINITIONS,
    RETENTION,
    Stat,
    Total,
    stat_id,
)

__all__ = [
    "DEFINITIONS",
    "RETENTION",
    "Archive",
    "Bucket",
    "Comment",
    "Series",
    "Stat",
    "Total",
    "stat_id",
]
