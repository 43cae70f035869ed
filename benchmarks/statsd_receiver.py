"""
Measure what receiving a datagram costs, beside other servers.

    python benchmarks/statsd_receiver.py [--node FOLDER] [rounds datagrams]

The same lines of statsd, one in each datagram, go to

1. ``StatsDReceiver`` with a ``NullStatHat``, which does nothing,
2. ``StatsDReceiver`` with a ``StatHatService``, which posts to another process,
3. ``txstathat serve --statsd``, on SQLite,
4. statsd for Node, which adds them up for its flush every ten seconds, without a
   backend: FOLDER is where ``npm install statsd`` was run.

carbon's receiver of lines over UDP gets as many lines of its own syntax, and puts them
into its cache. Each server is a process of its own, on loopback, and its CPU time is
measured, user and system, in rounds that take turns; medians are shown. A server that
is not busy is woken by each datagram, which costs more than reading it, and depends on
the sender's speed. So datagrams arrive in bursts while the server is stopped (SIGSTOP),
and it finds them waiting, as a busy one does. The kernel's default buffer holds a
burst. Datagrams that are dropped do not count.

Needs: pip install 'txStatHat[all]' carbon. The lines of a missing server are left out.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
# The kernel's default buffer holds some more small datagrams.
BURST = 200


# -- servers


def serve_answers() -> None:
    from twisted.internet import reactor
    from twisted.web.resource import Resource
    from twisted.web.server import Site

    class Yes(Resource):
        isLeaf = True

        def render_POST(self, request):
            request.setHeader("Content-Type", "application/json")
            return b'{"status": 200, "msg": "ok"}'

    port = reactor.listenTCP(0, Site(Yes()), interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    reactor.run()


def serve_receiver(url: str) -> None:
    from twisted.internet import reactor

    from txstathat import NullStatHat, StatHatService, txStatHat
    from txstathat.integrations.statsd import StatsDReceiver

    stats = NullStatHat()
    if url:
        stats = StatHatService(txStatHat("key", url=url))
        stats.startService()
    port = reactor.listenUDP(0, StatsDReceiver(stats), interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    reactor.run()


def serve_carbon() -> None:
    from carbon.conf import settings

    settings.update({"MAX_CACHE_SIZE": float("inf"), "USE_FLOW_CONTROL": False})
    settings.update({"CACHE_WRITE_STRATEGY": "naive"})
    from carbon import events, instrumentation, state
    from carbon.cache import MetricCache
    from carbon.protocols import MetricDatagramReceiver
    from twisted.internet import reactor

    state.instrumentation = instrumentation
    events.metricReceived.addHandler(MetricCache().store)
    port = reactor.listenUDP(0, MetricDatagramReceiver(), interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    reactor.run()


NODE = """{port: %d, address: "127.0.0.1", mgmt_port: %d, mgmt_address: "127.0.0.1",
backends: [], flushInterval: 10000}"""


class Server:
    """
    A server in a process of its own.
    """

    def __init__(self, name: str, *command: str, port: int = 0) -> None:
        self.name = name
        self.costs: list[float] = []
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = port
        while not self.port:
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError(f"{name} did not start")
            last = line.split()[-1]
            if last.isdigit():
                self.port = int(last)

    def cpu(self) -> float:
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / TICKS

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


def udp_row(port: int) -> tuple[int, int]:
    """The bytes unread at a port, and the datagrams dropped there."""
    end = f":{port:04X}"
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        row = line.split()
        if row[1].endswith(end):
            return int(row[4].partition(":")[2], 16), int(row[-1])
    raise RuntimeError(f"nothing listens at UDP port {port}")


def free_port(kind: int) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# -- load


def statsd_lines(count: int) -> list[bytes]:
    """
    Half of them count, by one, and one in five of those with a sample rate; four in ten
    are times of requests, and one in ten a gauge: of 100 names.
    """
    chance = random.Random(17)
    lines = []
    for _ in range(count):
        name, sort = chance.randrange(20), chance.random()
        if sort < 0.4:
            lines.append(b"app.requests.page%d:1|c" % name)
        elif sort < 0.5:
            lines.append(b"app.sampled.page%d:1|c|@0.1" % name)
        elif sort < 0.9:
            lines.append(b"app.time.page%d:%d|ms" % (name, chance.lognormvariate(4, 1)))
        else:
            lines.append(b"app.queue%d:%d|g" % (name, chance.randrange(100)))
    return lines


def carbon_lines(count: int) -> list[bytes]:
    now = int(time.time())
    return [
        b"app.requests.page%d %d %d\n" % (n % 100, n % 77, now - n % 60)
        for n in range(count)
    ]


def send(server: Server, lines: list[bytes]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", server.port))
        for start in range(0, len(lines), BURST):
            server.process.send_signal(signal.SIGSTOP)
            for line in lines[start : start + BURST]:
                sock.send(line)
            server.process.send_signal(signal.SIGCONT)
            while udp_row(server.port)[0]:
                time.sleep(0.0002)


def measure(server: Server, lines: list[bytes], rest: float) -> float:
    """
    The CPU seconds of a datagram: from the first one until what it caused is done.
    """
    cpu, dropped = server.cpu(), udp_row(server.port)[1]
    send(server, lines)
    # What was added up is sent on within so many seconds.
    time.sleep(rest)
    received = len(lines) - (udp_row(server.port)[1] - dropped)
    return (server.cpu() - cpu) / received


def start_servers(folder: str, node: str | None) -> list[Server]:
    python, own = sys.executable, __file__
    answers = Server("answers", python, own, "--role", "answers")
    servers = [
        answers,
        Server("StatsDReceiver alone", python, own, "--role", "receiver"),
        Server(
            "with a StatHatService",
            *(python, own, "--role", "receiver"),
            *("--url", f"http://127.0.0.1:{answers.port}"),
        ),
    ]
    port = free_port(socket.SOCK_DGRAM)
    servers.append(
        Server(
            "serve --statsd, on SQLite",
            *(python, "-m", "txstathat", "serve", "--store", f"sqlite:{folder}/stats"),
            *("--listen", "tcp:0:interface=127.0.0.1", "--statsd", f"udp:{port}"),
        )
    )
    try:
        import carbon  # noqa: F401

        servers.append(Server("carbon, lines", python, own, "--role", "carbon"))
    except ImportError:
        print("carbon is missing: pip install carbon")
    program = shutil.which("node")
    if node and program:
        port, config = free_port(socket.SOCK_DGRAM), Path(folder, "node.js")
        config.write_text(NODE % (port, free_port(socket.SOCK_STREAM)))
        stats = f"{node}/node_modules/statsd/stats.js"
        servers.append(
            Server("statsd for Node", program, stats, str(config), port=port)
        )
        time.sleep(2)
    else:
        print("statsd for Node is missing: npm install statsd, and --node FOLDER")
    return servers


def main(rounds: int, count: int, node: str | None) -> None:
    ours, theirs = statsd_lines(count), carbon_lines(count)
    with tempfile.TemporaryDirectory() as folder:
        servers = start_servers(folder, node)
        try:
            for _ in range(rounds + 1):
                for server in servers[1:]:
                    lines = theirs if server.name.startswith("carbon") else ours
                    server.costs.append(measure(server, lines, 2))
        finally:
            for server in servers:
                server.stop()
    peers = [s for s in servers if s.name.startswith(("carbon", "statsd for"))]
    print(f"\nDatagrams per CPU second, {rounds} rounds of {count:,}")
    for server in servers[1:]:
        line = f"  {server.name:28} {1 / statistics.median(server.costs[1:]):10,.0f}"
        for peer in peers if server not in peers else ():
            pairs = zip(peer.costs[1:], server.costs[1:], strict=True)
            line += f"  {statistics.median(a / b for a, b in pairs):.2f}x {peer.name}"
        print(line)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("rounds", nargs="?", type=int, default=5)
    parser.add_argument("datagrams", nargs="?", type=int, default=200_000)
    parser.add_argument("--node")
    parser.add_argument("--role")
    parser.add_argument("--url")
    args = parser.parse_args()
    if args.role == "answers":
        serve_answers()
    elif args.role == "receiver":
        serve_receiver(args.url)
    elif args.role == "carbon":
        serve_carbon()
    else:
        main(args.rounds, args.datagrams, args.node)
