"""
Send points: the clients of StatHat's EZ and Classic APIs.
"""

from txstathat.client.bound import Stat
from txstathat.client.health import ClientHealth
from txstathat.client.null import NullStatHat
from txstathat.client.outcome import Outcome, Verdict
from txstathat.client.shortcuts import (
    classic_count,
    classic_value,
    ez_count,
    ez_value,
    stathat_from_env,
)
from txstathat.client.stathat import (
    API_URL,
    MAX_BATCH_ID,
    MAX_POINTS,
    Payload,
    txStatHat,
    txStatHatClassic,
)

__all__ = [
    "API_URL",
    "ClientHealth",
    "MAX_BATCH_ID",
    "MAX_POINTS",
    "NullStatHat",
    "Outcome",
    "Payload",
    "Stat",
    "Verdict",
    "classic_count",
    "classic_value",
    "ez_count",
    "ez_value",
    "stathat_from_env",
    "txStatHat",
    "txStatHatClassic",
]
