"""
Count once, and exit. TXSTATHAT_EZKEY is the key, TXSTATHAT_URL the server.
"""

import os

from twisted.internet.task import react

from txstathat import ez_count


def main(reactor):
    return ez_count(
        os.environ["TXSTATHAT_EZKEY"],
        "nightly jobs",
        reactor=reactor,
    ).addCallback(print)


react(main)
