"""
A Flask application on Twisted's server, measured by view.

    pip install '.[prometheus]' flask
    python examples/measured_flask.py [port]
"""

import sys

from flask import Flask
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.wsgi import WSGIResource

from txstathat.integrations.prometheus import MetricsResource, PrometheusStats
from txstathat.integrations.wsgi import MeasuredApplication

app = Flask(__name__)


@app.route("/books/<int:number>")
def book(number):
    return f"Book {number}"


class Root(Resource):
    def getChild(self, path, request):
        # Everything else is the application's.
        request.prepath.pop()
        request.postpath.insert(0, path)
        return self.application


def main(reactor, port="0"):
    app.wsgi_app = MeasuredApplication(app.wsgi_app, PrometheusStats())
    root = Root()
    root.application = WSGIResource(reactor, reactor.getThreadPool(), app)
    root.putChild(b"metrics", MetricsResource())
    listening = reactor.listenTCP(int(port), Site(root), interface="127.0.0.1")
    print(f"http://127.0.0.1:{listening.getHost().port}/", flush=True)
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
