"""
Send points: the clients of StatHat's EZ and Classic APIs.
"""

from txstathat.client.bound import Stat
from txstathat.client.health import ClientHealth
from txstathat.client.null import NullStatHat
from txstathat.client.outcome import (
    KEY_MESSAGES,
    MAX_MESSAGE,
    NO_ANSWER,
    Outcome,
    Verdict,
    is_key_message,
    judge_failure,
    judge_reply,
    one_line,
)
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
    "KEY_MESSAGES",
    "MAX_BATCH_ID",
    "MAX_MESSAGE",
    "MAX_POINTS",
    "NO_ANSWER",
    "NullStatHat",
    "Outcome",
    "Payload",
    "Stat",
    "Verdict",
    "classic_count",
    "classic_value",
    "ez_count",
    "ez_value",
    "is_key_message",
    "judge_failure",
    "judge_reply",
    "one_line",
    "stathat_from_env",
    "txStatHat",
    "txStatHatClassic",
]
