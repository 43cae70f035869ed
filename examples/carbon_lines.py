"""
A server for Carbon's plain text protocol, such as the ``carbon`` exporter of the
OpenTelemetry Collector speaks. Each line becomes a value.

    TXSTATHAT_EZKEY=key TXSTATHAT_URL=http://127.0.0.1:8080 \
        python examples/carbon_lines.py 2003
"""

import sys

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.task import react
from twisted.protocols.basic import LineOnlyReceiver

from txstathat import stathat_from_env
from txstathat.delivery import StatHatService


class CarbonLines(LineOnlyReceiver):
    """Receives lines such as ``cpu.load;host=web1 0.5 1764403500``."""

    delimiter = b"\n"

    def lineReceived(self, line):
        try:
            path, amount, time = line.decode().split()
            value, t = float(amount), int(float(time))
        except ValueError:
            self.factory.stats.count("carbon lines refused")
            return
        # A program can send the points of many series: the collector bounds them.
        self.factory.stats.value(path.replace(";", "."), value, t=t)


def main(reactor, port="0"):
    stats = StatHatService(stathat_from_env())
    stats.startService()
    reactor.addSystemEventTrigger("before", "shutdown", stats.stopService)
    lines = Factory.forProtocol(CarbonLines)
    lines.stats = stats
    listening = reactor.listenTCP(int(port), lines, interface="127.0.0.1")
    print(f"127.0.0.1:{listening.getHost().port}", flush=True)
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
