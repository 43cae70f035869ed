"""
``txstathat demo``: a sample bookshop that sends stats to its own server.
"""

from txstathat.cli.demo.command import demo

__all__ = ["demo"]
