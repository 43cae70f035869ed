"""
``txstathat demo``: a bookshop that counts, and a StatHat of its own to look at.
"""

from txstathat.cli.demo.command import demo

__all__ = ["demo"]
