"""
A service that counts its work. Run it with ``twistd -ny counting_service.py``.
"""

import os

from twisted.application import internet, service
from twisted.internet.defer import maybeDeferred

from txstathat import stathat_from_env


class Housekeeping(service.MultiService):
    """
    Does some work regularly, and counts it.

    :param stats: an :class:`~txstathat.interfaces.IStatHat`.
    """

    def __init__(self, stats):
        super().__init__()
        self._stats = stats
        internet.TimerService(1, self.look).setServiceParent(self)

    def look(self):
        self._stats.count("looks")
        self._stats.value("load", os.getloadavg()[0])

    def stopService(self):
        stopped = maybeDeferred(super().stopService)
        return stopped.addCallback(lambda _: self._stats.close())


application = service.Application("housekeeping")
Housekeeping(stathat_from_env()).setServiceParent(application)
