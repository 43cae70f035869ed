"""
A Klein site that counts. Run it with ``python klein_site.py [port]``.
"""

import sys

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.web.server import Site

from txstathat.delivery import service_from_env

app = Klein()
stats = service_from_env()


@app.route("/books/<int:number>")
async def book(request, number):
    stats.count("books shown")  # recorded at once: nothing to await
    return f"Book {number}"


def main(reactor, port="0"):
    stats.startService()
    reactor.addSystemEventTrigger("before", "shutdown", stats.stopService)
    site = Site(app.resource())
    listening = reactor.listenTCP(int(port), site, interface="127.0.0.1")
    print(f"http://127.0.0.1:{listening.getHost().port}/", flush=True)
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
