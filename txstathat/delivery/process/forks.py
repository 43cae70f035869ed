"""
Objects that learn that they are in a forked child.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["ForkAware", "notify_in_child"]


class ForkAware(Protocol):
    """
    An object that must act differently in a child process.
    """

    def after_fork(self) -> None:
        """
        Called in the child, right after the fork. It must not raise or block.
        """


_objects: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_hooked = False


def notify_in_child(each: ForkAware) -> None:
    """
    Call an object's ``after_fork`` in every child that this process forks, as long as
    the object lives. Systems that cannot fork need no call.
    """
    global _hooked
    if not _hooked and hasattr(os, "register_at_fork"):
        _hooked = True
        os.register_at_fork(after_in_child=_after_fork)
    _objects.add(each)


def _after_fork() -> None:
    for each in list(_objects):
        each.after_fork()
