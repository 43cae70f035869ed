"""
Makes the collector available to the ``twist`` command.
"""

from twisted.application.service import ServiceMaker

stathat = ServiceMaker(
    "stathat",
    "txstathat.collector.tap",
    "Run a StatHat of your own: a collector of points.",
    "stathat",
)
