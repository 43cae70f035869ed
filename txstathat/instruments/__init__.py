"""
Ready-made sources of counts: web requests, timers, logs, the reactor, anything.

``measured_klein`` is in :mod:`txstathat.instruments.klein`, which needs Klein.
"""

from txstathat.instruments.kicks import KickStatHat
from txstathat.instruments.logs import LogCounter
from txstathat.instruments.polls import poll
from txstathat.instruments.reactors import ReactorMeter
from txstathat.instruments.requests import MeasuredResource
from txstathat.instruments.timers import timed

__all__ = [
    "KickStatHat",
    "LogCounter",
    "MeasuredResource",
    "ReactorMeter",
    "poll",
    "timed",
]
