"""
A Django site in Twisted's threads, which counts. Run it with
``python django_site.py [port]``.
"""

import sys

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.web.server import Site
from twisted.web.wsgi import WSGIResource

from txstathat.delivery import service_from_env

service = service_from_env()
stats = service.from_threads()


def book(request, number):
    stats.count("books shown")  # in a thread: returns at once
    return HttpResponse(f"Book {number}")


urlpatterns = [path("books/<int:number>", book)]


def main(reactor, port="0"):
    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"])
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    pool = reactor.getThreadPool()
    site = Site(WSGIResource(reactor, pool, get_wsgi_application()))
    listening = reactor.listenTCP(int(port), site, interface="127.0.0.1")
    print(f"http://127.0.0.1:{listening.getHost().port}/", flush=True)
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
