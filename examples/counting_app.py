"""
A program that counts what it does through a StatHatService: for twistd, see
``counting.tac``; for twist, ``twisted/plugins/counting_plugin.py``. They need
``TXSTATHAT_EZKEY``, the key, and ``TXSTATHAT_URL``, the server.
"""

import os

from twisted.application.internet import TimerService
from twisted.application.service import MultiService
from twisted.python.usage import Options as NoOptions

from txstathat import StatHatService, txStatHat


def make_stats():
    """
    The service through which the program sends its stats.
    """
    client = txStatHat(os.environ["TXSTATHAT_EZKEY"])
    return StatHatService(client, spool=os.environ.get("STATS_FOLDER"))


class Options(NoOptions):
    """
    The plugin's options for twist: none.
    """


def makeService(options=None):
    """
    The whole program, as a service.
    """
    program = MultiService()
    stats = make_stats()
    # Added first, so that it stops last: services stop in reverse order.
    stats.setServiceParent(program)
    TimerService(0.1, stats.count, "looks").setServiceParent(program)
    return program
