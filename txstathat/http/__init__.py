"""
One HTTP exchange: the only folder that knows treq.
"""

from txstathat.http.connections import HandshakeFailed, PooledAgent
from txstathat.http.exchange import Transport, check_url
from txstathat.http.responses import BadReply, Reply
from txstathat.http.servers import API_URL, EXPORT_URL, server_url

__all__ = [
    "API_URL",
    "BadReply",
    "EXPORT_URL",
    "HandshakeFailed",
    "PooledAgent",
    "Reply",
    "Transport",
    "check_url",
    "server_url",
]
