"""
Measure the cost of a count, beside bare treq and beside one connection per request.

All three post the same kind of request over HTTPS, on loopback, to one server in
another process, which only answers. The CPU time of this process is
measured, user and system, in short rounds that take turns; the medians of the rounds'
ratios are shown.

Needs: pip install 'txStatHat[test]'
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import treq
import trustme
from twisted.internet.defer import ensureDeferred
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.internet.task import react
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool

from txstathat import txStatHat
from txstathat.http.connections.pool import PooledAgent

FORM = {"ezkey": "key", "stat": "signups", "count": "1"}


def serve(pem: str) -> None:
    """
    Answer every request with StatHat's OK, and print the port.
    """
    from twisted.internet import reactor
    from twisted.internet.ssl import PrivateCertificate
    from twisted.web.resource import Resource
    from twisted.web.server import Site

    class Yes(Resource):
        isLeaf = True

        def render_POST(self, request):
            return b'{"status": 200, "msg": "ok"}'

    class Quiet(Site):
        def log(self, request):
            pass

    options = PrivateCertificate.loadPEM(Path(pem).read_bytes()).options()
    port = reactor.listenSSL(0, Quiet(Yes()), options, interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    reactor.run()


class Ours:
    name = "txStatHat"

    def __init__(self, reactor, root, url):
        self.agent = PooledAgent(reactor, trust_root=root)
        self.client = txStatHat("key", False, url=url, agent=self.agent)

    async def count(self):
        await self.client.count("signups")

    async def close(self):
        await self.client.close()
        await self.agent.close()


class BareTreq:
    """
    treq's post and content, over a persistent pool.
    """

    name = "bare treq, persistent pool"
    persistent = True

    def __init__(self, reactor, root, url):
        self.url = f"{url}/ez"
        self.pool = HTTPConnectionPool(reactor, persistent=self.persistent)
        policy = BrowserLikePolicyForHTTPS(root)
        self.http = treq.client.HTTPClient(Agent(reactor, policy, pool=self.pool))

    async def count(self):
        response = await self.http.post(self.url, data=FORM)
        await treq.content(response)

    async def close(self):
        await self.pool.closeCachedConnections()


class PerRequest(BareTreq):
    """
    A connection for each request, as txStatHat 0.2 made with getPage.
    """

    name = "one connection per request"
    persistent = False


async def measure(peer, counts):
    started = time.process_time()
    for _ in range(counts):
        await peer.count()
    return (time.process_time() - started) / counts


async def main(reactor, rounds, counts):
    ca = trustme.CA()
    leaf = ca.issue_cert("localhost")
    root = trustRootFromCertificates([Certificate.loadPEM(ca.cert_pem.bytes())])
    with tempfile.NamedTemporaryFile() as pem:
        pem.write(leaf.private_key_pem.bytes() + leaf.cert_chain_pems[0].bytes())
        pem.flush()
        server = subprocess.Popen(
            [sys.executable, __file__, "--serve", pem.name], stdout=subprocess.PIPE
        )
        url = f"https://localhost:{int(server.stdout.readline())}"
    ours, bare, single = (
        kind(reactor, root, url) for kind in (Ours, BareTreq, PerRequest)
    )
    try:
        for peer in (ours, bare, single):
            await measure(peer, 50)
        taken = {peer: [] for peer in (ours, bare, single)}
        for turn in range(rounds):
            peers = (ours, bare) if turn % 2 else (bare, ours)
            for peer in peers:
                taken[peer].append(await measure(peer, counts))
            taken[single].append(await measure(single, max(1, counts // 10)))
    finally:
        for peer in (ours, bare, single):
            await peer.close()
        server.terminate()
        server.wait()
    print(f"CPU per count, medians of {rounds} rounds; txStatHat is 1.00:")
    for peer in (ours, bare, single):
        ratios = [its / own for its, own in zip(taken[peer], taken[ours], strict=True)]
        print(f"  {peer.name:28}{statistics.median(ratios):8.2f}")
    against = statistics.median(
        own / its for own, its in zip(taken[ours], taken[bare], strict=True)
    )
    less = statistics.median(
        its / own for its, own in zip(taken[single], taken[ours], strict=True)
    )
    print(f"txStatHat takes {against:.2f}x of bare treq (goal: at most 1.10)")
    print(f"and {less:.1f}x less than one connection per request (goal: at least 4)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--counts", type=int, default=200)
    parser.add_argument("--serve", metavar="PEM", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
    else:
        react(lambda r: ensureDeferred(main(r, options.rounds, options.counts)))
