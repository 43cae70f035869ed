"""
Count once, and leave.

TXSTATHAT_URL may name another server than StatHat's.
"""

import os

from twisted.internet.task import react

from txstathat import ez_count
from txstathat.client import API_URL


def main(reactor):
    return ez_count(
        os.environ["TXSTATHAT_EZKEY"],
        "nightly jobs",
        url=os.environ.get("TXSTATHAT_URL", API_URL),
        reactor=reactor,
    ).addCallback(print)


react(main)
