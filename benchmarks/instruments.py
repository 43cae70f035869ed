"""
Measure the cost of measuring a request: the CPU time of a trivial Klein route with
MeasuredResource, relative to the same route without.

    python benchmarks/instruments.py [rounds requests]
    python benchmarks/instruments.py agent [rounds requests]

One process serves both routes over persistent connections; another one sends requests
to them in turn, and back again, in each round. The figures are the medians of the
rounds' CPU times (user and system) as ratios to plain; "plain, once more" shows the
noise. The client that takes the events only makes the Deferreds. The rows "not
measured" call it by hand in the route. The last rows divide the measured rows by these:
the instrument's own cost.

With ``agent``, what it costs to measure an outgoing request: the CPU of a process that
requests a small page of its own over kept-alive TCP, with treq on Twisted's agent,
measured, over the same not measured. That is the CPU of both ends of the request.
"""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

try:
    from klein import Klein
except ImportError:
    sys.exit("needs Klein: pip install klein")
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.internet.threads import deferToThread
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.server import Site
from twisted.web.static import Data
from zope.interface import implementer

from txstathat.instruments import MeasuredAgent, measured_klein
from txstathat.interfaces import IKick, IKickProvider, IStatHat, IStatHatProvider


@implementer(IKickProvider, IStatHatProvider)
class Nothing:
    """Takes everything and does nothing: what is left is the instrument itself."""

    def kick(self, value: Any = 1, date: Any = None, **axes: Any) -> Deferred[Any]:
        return succeed(True)

    def count(self, stat: str, count: Any = 1, **options: Any) -> Deferred[bool]:
        return succeed(True)

    def value(self, stat: str, value: Any, **options: Any) -> Deferred[bool]:
        return succeed(True)

    def tick(self, stat: str, **options: Any) -> Deferred[bool]:
        return succeed(True)


def trivial() -> Klein:
    """The smallest application that routes."""
    app = Klein()

    @app.route("/hello/<name>")
    def hello(request: Any, name: str) -> bytes:
        return b"Hello!"

    return app


def calling(calls: Callable[[], object]) -> Klein:
    """The same, and the calls that a measured request makes, but no measuring."""
    app = Klein()

    @app.route("/hello/<name>")
    def hello(request: Any, name: str) -> bytes:
        calls()
        return b"Hello!"

    return app


def kicked(metrica: IKick) -> Deferred[Any]:
    return metrica.kick(
        0.1, view="/hello/<name>", method="GET", status="2xx", exception=None
    )


def sent(stats: IStatHat) -> list[Deferred[bool]]:
    return [
        stats.value("/hello/<name> ms", 0.1),
        stats.count("/hello/<name> 2xx"),
    ]


def ask(port: int, requests: int) -> None:
    """Ask for the route, over and over, on one connection."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(requests):
            connection.sendall(b"GET /hello/you HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b"Hello!\r\n0\r\n\r\n"):
                answer += connection.recv(4096)


def client() -> None:
    """The other process: follows the commands on its standard input."""
    for line in sys.stdin:
        port, requests = line.split()
        ask(int(port), int(requests))
        print("done", flush=True)


@inlineCallbacks
def compare(rounds: int, requests: int) -> Any:
    other = subprocess.Popen(
        [sys.executable, __file__, "client"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def send_requests(port: int, requests: int) -> None:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdin.write(f"{port} {requests}\n")
        other.stdin.flush()
        assert other.stdout.readline() == "done\n"

    nothing = Nothing()
    sites = {
        "plain": trivial().resource(),
        "plain, once more": trivial().resource(),
        "not measured, a kick to that Metrica": calling(
            lambda: kicked(nothing)
        ).resource(),
        "not measured, two points to that StatHat": calling(
            lambda: sent(nothing)
        ).resource(),
        "measured, to a Metrica doing nothing": measured_klein(
            trivial(), metrica=nothing
        ),
        "measured, to a StatHat doing nothing": measured_klein(
            trivial(), stats=nothing
        ),
    }
    ports = {
        name: reactor.listenTCP(0, Site(root), interface="127.0.0.1")
        for name, root in sites.items()
    }
    try:
        took: dict[str, list[float]] = {name: [] for name in sites}
        names = [*sites]
        for turn in range(rounds + 1):
            spent = dict.fromkeys(sites, 0.0)
            # Each comes first, and after each of the others, equally often.
            names = [*names[1:], names[0]]
            order = [*names, *reversed(names)]
            for name in order:
                before = time.process_time()
                yield deferToThread(send_requests, ports[name].getHost().port, requests)
                spent[name] += time.process_time() - before
            if turn:
                for name, seconds in spent.items():
                    took[name].append(seconds)
        each = statistics.median(took["plain"]) / requests / 2 * 1e6
        for name in sites:
            if name == "plain":
                continue
            ratios = [a / b for a, b in zip(took[name], took["plain"], strict=True)]
            ratio = statistics.median(ratios)
            print(
                f"{name:40} {ratio:.3f} times the CPU of plain "
                f"(middle half of the rounds: {_middle(ratios)})"
            )
        for what, by_hand in (
            ("measured, to a Metrica doing nothing", "a kick to that Metrica"),
            ("measured, to a StatHat doing nothing", "two points to that StatHat"),
        ):
            pairs = zip(took[what], took[f"not measured, {by_hand}"], strict=True)
            ratios = [a / b for a, b in pairs]
            print(
                f"{what:40} {statistics.median(ratios):.3f} times the CPU, {by_hand}"
                f" made by hand (the middle half of the rounds: {_middle(ratios)})"
            )
        print(f"goal: at most 1.03 times. Plain takes {each:.0f} us a request.")
    finally:
        other.stdin.close()
        other.wait()
        for port in ports.values():
            yield port.stopListening()


@inlineCallbacks
def compare_agents(rounds: int, requests: int) -> Any:
    page = Site(Data(b"Hello!", "text/plain"))
    port = reactor.listenTCP(0, page, interface="127.0.0.1")
    url = f"http://127.0.0.1:{port.getHost().port}/"
    nothing = Nothing()
    by_hand = "not measured, three points made by hand"
    agents = {
        "plain": Agent(reactor, pool=HTTPConnectionPool(reactor)),
        "plain, once more": Agent(reactor, pool=HTTPConnectionPool(reactor)),
        by_hand: Agent(reactor, pool=HTTPConnectionPool(reactor)),
        "measured": MeasuredAgent(
            Agent(reactor, pool=HTTPConnectionPool(reactor)), nothing
        ),
    }
    clients = {name: HTTPClient(agent) for name, agent in agents.items()}
    took: dict[str, list[float]] = {name: [] for name in clients}
    names = [*clients]
    for turn in range(rounds + 1):
        spent = dict.fromkeys(clients, 0.0)
        names = [*names[1:], names[0]]
        for name in [*names, *reversed(names)]:
            before = time.process_time()
            for _ in range(requests):
                response = yield clients[name].get(url)
                yield response.content()
                if name == by_hand:
                    sent(nothing)
                    nothing.value("/hello/<name> ms", 0.1)
            spent[name] += time.process_time() - before
        if turn:
            for name, seconds in spent.items():
                took[name].append(seconds)
    yield port.stopListening()
    each = statistics.median(took["plain"]) / requests / 2 * 1e6
    for name, other_name in (
        ("plain, once more", "plain"),
        (by_hand, "plain"),
        ("measured", "plain"),
        ("measured", by_hand),
    ):
        ratios = [a / b for a, b in zip(took[name], took[other_name], strict=True)]
        print(
            f"{name:40} {statistics.median(ratios):.3f} times the CPU of {other_name} "
            f"(middle half of the rounds: {_middle(ratios)})"
        )
    print(f"goal: at most 1.03 times. Plain takes {each:.0f} us a request.")


def _middle(ratios: list[float]) -> str:
    low, _, high = statistics.quantiles(ratios, n=4)
    return f"{low:.3f} to {high:.3f}"


def main() -> None:
    arguments, comparison = sys.argv[1:], compare
    if arguments[:1] == ["agent"]:
        arguments, comparison = arguments[1:], compare_agents
    rounds, requests = (int(a) for a in (arguments or ["200", "60"]))
    done = comparison(rounds, requests)
    done.addErrback(lambda failure: failure.printTraceback())
    done.addBoth(lambda _: reactor.stop())
    reactor.run()


if __name__ == "__main__":
    if sys.argv[1:] == ["client"]:
        client()
    else:
        main()
