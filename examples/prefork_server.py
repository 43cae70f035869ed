"""
A web server of two processes that share a port. Each counts with a service of its own.

Run it with ``PYTHONPATH=. python prefork_server.py``, with the server in
``TXSTATHAT_URL``, the EZ key in ``TXSTATHAT_EZKEY`` and, if you like, a spool folder in
``STATS_FOLDER``.
"""

import os
import signal
import socket

WORKERS = 2


def work(listening: socket.socket) -> None:
    """
    Serve until SIGTERM, in a worker.
    """
    # Only here, after the fork: a reactor belongs to one process, as a service does.
    from twisted.internet import reactor
    from twisted.web.resource import Resource
    from twisted.web.server import Site

    from txstathat import StatHatService, txStatHat

    stats = StatHatService(
        txStatHat(os.environ["TXSTATHAT_EZKEY"]), spool=os.environ.get("STATS_FOLDER")
    )

    class Page(Resource):
        isLeaf = True

        def render_GET(self, request):
            stats.count("requests")
            return b"from process %d\n" % os.getpid()

    stats.startService()
    # The reactor waits for the Deferred: what is left is delivered, or stored.
    reactor.addSystemEventTrigger("before", "shutdown", stats.stopService)
    listening.setblocking(False)
    reactor.adoptStreamPort(listening.fileno(), socket.AF_INET, Site(Page()))
    reactor.run()


def main() -> None:
    """
    Fork the workers, pass SIGTERM on to them, and wait until they have ended.
    """
    port = int(os.environ.get("PORT", "8080"))
    listening = socket.create_server(("127.0.0.1", port), backlog=128)
    workers = []
    for _ in range(WORKERS):
        pid = os.fork()
        if pid == 0:
            try:
                work(listening)
            finally:
                os._exit(0)
        workers.append(pid)

    def terminate(signum: int, frame: object) -> None:
        for pid in workers:
            os.kill(pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, terminate)
    print(f"serving on port {listening.getsockname()[1]}", flush=True)
    for pid in workers:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
