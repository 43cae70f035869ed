"""
Tells Twisted's ``twist`` of the collector.
"""

from twisted.application.service import ServiceMaker

stathat = ServiceMaker(
    "stathat",
    "txstathat.collector.tap",
    "A StatHat of your own: takes points, keeps them, and tells them.",
    "stathat",
)
