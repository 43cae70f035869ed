"""
Exchange requests and replies over HTTP. Only this folder imports treq.
"""

from txstathat.http.connections.pool import PooledAgent
from txstathat.http.connections.tracking import HandshakeFailed
from txstathat.http.exchange import Transport
from txstathat.http.responses import BadReply, Reply
from txstathat.http.servers import API_URL, EXPORT_URL, server_url
from txstathat.http.urls import check_url

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
