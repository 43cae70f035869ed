"""
Sends the breadcrumb on standard input to the server named on the command line.
:mod:`txstathat.migas.runs.exit_report` runs this; it is not for people.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from txstathat.migas.client import MigasClient
from txstathat.migas.wire.breadcrumb import MAX_REQUEST


def _send(reactor: Any, endpoint: str) -> Deferred[Any]:
    body = sys.stdin.buffer.read(MAX_REQUEST)
    return MigasClient(endpoint, reactor=reactor).post_breadcrumb(body)


if __name__ == "__main__":
    react(_send, sys.argv[1:])
