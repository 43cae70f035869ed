"""
Deliver points in batches, through outages and restarts.
"""

from txstathat.delivery.flush import FlushResult
from txstathat.delivery.from_env import service_from_env
from txstathat.delivery.ledger import DeliveryHealth
from txstathat.delivery.service import StatHatService

__all__ = ["DeliveryHealth", "FlushResult", "StatHatService", "service_from_env"]
