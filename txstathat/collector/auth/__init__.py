"""
Keys, sessions, and the throttling of wrong keys.
"""

from txstathat.collector.auth.key_record import (
    KINDS,
    Key,
    KeyRefused,
    hash_key,
    new_key,
)
from txstathat.collector.auth.keys import (
    CLAIM_SECONDS,
    MAX_KEYS,
    MAX_REFRESHES,
    REFRESH_SECONDS,
    STALE_SECONDS,
    Keys,
)
from txstathat.collector.auth.sessions import (
    LINK_SECONDS,
    MAX_LINKS,
    MAX_SESSIONS,
    MAX_TOKENS,
    SESSION_SECONDS,
    Sessions,
)
from txstathat.collector.auth.throttle import (
    HELD_PER_SECOND,
    HOLD_SECONDS,
    MAX_ADDRESSES,
    MAX_HELD,
    MAX_WRONG,
    KeyThrottle,
)

__all__ = [
    "CLAIM_SECONDS",
    "HELD_PER_SECOND",
    "HOLD_SECONDS",
    "KINDS",
    "LINK_SECONDS",
    "MAX_ADDRESSES",
    "MAX_HELD",
    "MAX_KEYS",
    "MAX_LINKS",
    "MAX_REFRESHES",
    "MAX_SESSIONS",
    "MAX_TOKENS",
    "MAX_WRONG",
    "REFRESH_SECONDS",
    "SESSION_SECONDS",
    "STALE_SECONDS",
    "Key",
    "KeyRefused",
    "KeyThrottle",
    "Keys",
    "Sessions",
    "hash_key",
    "new_key",
]
