"""
Receives statsd's datagrams, and sends them to StatHat.

    TXSTATHAT_EZKEY=... python examples/statsd_relay.py
"""

from twisted.internet import reactor

from txstathat import StatHatService, stathat_from_env
from txstathat.integrations.statsd import StatsDReceiver

service = StatHatService(stathat_from_env())
service.startService()
reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
receiver = StatsDReceiver(service, prefix="app.", tags=["env"], buckets=(10, 100))
reactor.listenUDP(8125, receiver, interface="127.0.0.1")
reactor.run()
