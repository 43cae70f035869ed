"""
The weekly digest: a week's totals beside the week before, by e-mail.
"""

from txstathat.collector.digest.digest import (
    DIGEST_EVERY,
    DIGEST_LEASE,
    DigestState,
    WeeklyDigest,
)
from txstathat.collector.digest.schedule import DEFAULT_SCHEDULE, Schedule
from txstathat.collector.digest.totals import (
    MAX_DIGEST_STATS,
    WeekTotal,
    digest_text,
    read_week,
)

__all__ = [
    "DEFAULT_SCHEDULE",
    "DIGEST_EVERY",
    "DIGEST_LEASE",
    "MAX_DIGEST_STATS",
    "DigestState",
    "Schedule",
    "WeekTotal",
    "WeeklyDigest",
    "digest_text",
    "read_week",
]
