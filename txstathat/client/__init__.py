"""
Send points: the clients of StatHat's EZ and Classic APIs.
"""

from txstathat.client.bound import Stat
from txstathat.client.health import ClientHealth
from txstathat.client.null import NullStatHat
from txstathat.client.outcome import Outcome, Verdict
from txstathat.client.payload import MAX_POINTS, Payload
from txstathat.client.shortcuts import (
    classic_count,
    classic_value,
    ez_count,
    ez_value,
    stathat_from_env,
)
from txstathat.client.stathat import (
    txStatHat,
    txStatHatClassic,
)
from txstathat.http.servers import API_URL
from txstathat.points.batch_id import MAX_BATCH_ID

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
