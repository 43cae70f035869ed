"""
Clients for scripts and threads without a reactor: a call waits for its answer.

They are the clients of :mod:`txstathat`, on a reactor of their own in a daemon thread.
The thread starts with the first call that needs it. The program's own reactor, if it
has one, is neither installed nor used.
"""

from txstathat.blocking.clients import txStatHat, txStatHatClassic
from txstathat.blocking.counting import BlockingStat, NullStatHat
from txstathat.blocking.shortcuts import (
    classic_count,
    classic_value,
    ez_count,
    ez_value,
    stathat_from_env,
)
from txstathat.errors import StatHatError, StatHatForked, StatHatNetworkError

__all__ = [
    "BlockingStat",
    "NullStatHat",
    "StatHatError",
    "StatHatForked",
    "StatHatNetworkError",
    "classic_count",
    "classic_value",
    "ez_count",
    "ez_value",
    "stathat_from_env",
    "txStatHat",
    "txStatHatClassic",
]
