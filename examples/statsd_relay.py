"""
Receives statsd's datagrams, and sends them to StatHat.

    export TXSTATHAT_URL=http://127.0.0.1:8080 TXSTATHAT_EZKEY=...
    python examples/statsd_relay.py
"""

import os

from twisted.internet import reactor

from txstathat import StatHatService, stathat_from_env
from txstathat.integrations.statsd import StatsDReceiver

service = StatHatService(stathat_from_env())
service.startService()
reactor.addSystemEventTrigger("during", "shutdown", service.stopService)
receiver = StatsDReceiver(service, prefix="app.", tags=["env"], buckets=(10, 100))
port = int(os.environ.get("STATSD_PORT", "8125"))
listening = reactor.listenUDP(port, receiver, interface="127.0.0.1")
# The last points go to the service before it stops.
reactor.addSystemEventTrigger("before", "shutdown", listening.stopListening)
print(listening.getHost().port, flush=True)
reactor.run()
