"""
Adds ``twist stathat``, which runs the collector.
"""

from twisted.application.service import ServiceMaker

stathat = ServiceMaker(
    "stathat",
    "txstathat.collector.tap",
    "A StatHat server of your own: receives, stores and serves points.",
    "stathat",
)
