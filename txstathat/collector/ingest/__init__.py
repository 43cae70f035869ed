"""
Reads posted points: a request becomes a batch of points, or a refusal.
"""

from txstathat.collector.ingest.parse import PostedBatch, read_request
from txstathat.collector.ingest.resource import IngestResource, KeyChecker

__all__ = ["IngestResource", "KeyChecker", "PostedBatch", "read_request"]
