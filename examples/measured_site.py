"""
A small site that measures its requests, and shows charts of them.

    pip install '.[charts,reactor]' klein
    python examples/measured_site.py [port]

Then open the address that it prints. The program visits its own pages, so that the
charts have data. The data is in memory; with the URL of a SQLite file it would stay.
"""

import sys
from random import Random

import treq
from klein import Klein
from twisted.internet import task
from twisted.internet.defer import inlineCallbacks
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data

from txstathat.charts import (
    ChartAssets,
    LatestCountAndAverageChart,
    PieChart,
    TimelineChart,
    TimeserieChart,
)
from txstathat.instruments import (
    KickStatHat,
    MeasuredResource,
    ReactorMeter,
    measured_klein,
)
from txstathat.metrica import AveragedMetrica, StoredChoiceAxis, request_metrica
from txstathat.stores import open_store

INDEX = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>A measured site</title>
<h1>A measured site</h1>
<ul>
<li><a href="/charts/latest?scale=minute">How often, and how long</a></li>
<li><a href="/charts/views?scale=minute&amp;measure=count">Requests by view</a></li>
<li><a href="/charts/statuses?measure=count">Requests by status</a></li>
<li><a href="/charts/timeline?measure=count">Requests by year, month, day, hour</a></li>
<li><a href="/charts/reactor?scale=minute&amp;measure=average&amp;total=0">The
reactor</a></li>
</ul>
<p>Pages to try: <a href="/shop/">the shop</a>, <a href="/shop/items/3">an item</a>,
<a href="/shop/broken">a broken one</a>, <a href="/shop/nothing">none</a>.</p>
</html>
"""


def shop(reactor) -> Klein:
    """The pages that are measured."""
    app = Klein()
    chance = Random()

    @app.route("/")
    def index(request):
        return b"Buy something."

    @app.route("/items/<int:number>")
    async def item(request, number):
        # As if it queried a database.
        await task.deferLater(reactor, chance.expovariate(20))
        return f"Item {number}."

    @app.route("/broken")
    def broken(request):
        request.setResponseCode(500)
        return b"Sorry."

    return app


@inlineCallbacks
def visit(reactor, address, chance):
    """One visitor's click."""
    pages = ["/shop/", "/shop/items/1", "/shop/items/2", "/shop/broken", "/shop/x", "/"]
    page = chance.choices(pages, [5, 4, 3, 1, 1, 2])[0]
    answer = yield treq.get(f"{address}{page}", reactor=reactor)
    yield answer.content()


async def main(reactor, port="0"):
    store = await open_store("memory:", reactor=reactor)
    requests = request_metrica(store)
    process = AveragedMetrica("process", [("stat", StoredChoiceAxis())], store)

    charts = Resource()
    options = {"assets": "/charts/assets", "refresh": 2}
    for name, chart in {
        "assets": ChartAssets(),
        "latest": LatestCountAndAverageChart(requests, title="Requests", **options),
        "views": TimeserieChart(requests, "view", title="By view", **options),
        "statuses": PieChart(requests, "status", title="By status", **options),
        "timeline": TimelineChart(requests, title="Requests", **options),
        "reactor": TimeserieChart(process, "stat", title="Reactor", **options),
    }.items():
        charts.putChild(name.encode(), chart)

    index = Data(INDEX.encode(), "text/html; charset=utf-8")
    root = Resource()
    root.putChild(b"", MeasuredResource(index, metrica=requests))
    root.putChild(b"shop", measured_klein(shop(reactor), metrica=requests))
    root.putChild(b"charts", charts)

    ReactorMeter(KickStatHat(process), interval=2, reactor=reactor).startService()
    listening = reactor.listenTCP(int(port), Site(root), interface="127.0.0.1")
    address = f"http://127.0.0.1:{listening.getHost().port}"
    print(f"Open {address}/", flush=True)
    chance = Random()
    await task.LoopingCall(visit, reactor, address, chance).start(0.2)


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
