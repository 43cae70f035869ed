"""
A tool that reports its runs to a migas server, and checks for a newer version.
"""

import os
import sys

from twisted.internet.task import deferLater, react

from txstathat import migas

VERSION = "0.4.0"


@migas.track("owner/repo", VERSION)
async def main(reactor):
    checked = await migas.check_project("owner/repo", VERSION)
    if checked["success"] and checked["latest"] != VERSION:
        print("The latest version is", checked["latest"])
    await deferLater(reactor, 0.1, print, "Working")
    if "fail" in sys.argv:
        sys.exit("the work failed")


migas.setup(endpoint=os.environ.get("TXSTATHAT_MIGAS_ENDPOINT"))
react(main)
