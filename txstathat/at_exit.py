"""
Services and clients that report at the end of the process.
"""

from __future__ import annotations

import atexit
import weakref
from typing import Protocol

__all__ = ["ReportsAtExit", "report_at_exit"]


class ReportsAtExit(Protocol):
    """
    An object with a last word.
    """

    def report_exit(self) -> None:
        """
        Called when the interpreter ends. It must not raise or block.
        """


_objects: weakref.WeakSet[ReportsAtExit] = weakref.WeakSet()
_hooked = False


def report_at_exit(each: ReportsAtExit) -> None:
    """
    Call an object's ``report_exit`` when the interpreter ends, if the object still
    lives then.
    """
    global _hooked
    if not _hooked:
        _hooked = True
        atexit.register(_report)
    _objects.add(each)


def _report() -> None:
    for each in list(_objects):
        each.report_exit()
