"""
The pages for alerts, and for the channels through which they reach people.
"""

from txstathat.collector.pages.alerting.alert_list import AlertPages
from txstathat.collector.pages.alerting.channel_pages import ChannelPages

__all__ = ["AlertPages", "ChannelPages"]
