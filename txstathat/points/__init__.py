"""
Points: the rules for them, their text forms, and timeframes.
"""

from txstathat.points.amounts import MAX_INTEGER, MAX_TIME, Amount, Time
from txstathat.points.model import MAX_POST, Count, Point, Value
from txstathat.points.names import MAX_NAME, check_name
from txstathat.points.summary import Summary, summarize
from txstathat.points.timeframe import Span, Timeframe

__all__ = [
    "Amount",
    "Count",
    "MAX_INTEGER",
    "MAX_NAME",
    "MAX_POST",
    "MAX_TIME",
    "Point",
    "Span",
    "Summary",
    "Time",
    "Timeframe",
    "Value",
    "check_name",
    "summarize",
]
