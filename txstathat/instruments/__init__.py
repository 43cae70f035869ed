"""
Sources of counts: web requests in and out, timers, logs, the reactor, polled values.
"""

from txstathat.instruments.agents import MeasuredAgent
from txstathat.instruments.kicks import KickStatHat
from txstathat.instruments.klein import measured_klein
from txstathat.instruments.logs import LogCounter
from txstathat.instruments.polls import poll
from txstathat.instruments.reactors import ReactorMeter
from txstathat.instruments.requests import MeasuredResource
from txstathat.instruments.timers import timed

__all__ = [
    "KickStatHat",
    "LogCounter",
    "MeasuredAgent",
    "MeasuredResource",
    "ReactorMeter",
    "measured_klein",
    "poll",
    "timed",
]
