"""
What the user types in a shell to start ``txstathat``.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from shlex import quote

__all__ = ["program"]


def program(argv: Sequence[str] | None = None) -> str:
    """
    How to call ``txstathat`` in another terminal: its name if the shell finds this one
    by it, else the path by which it was called.

    :param argv: the arguments of the process; by default its own.
    """
    called = (sys.argv if argv is None else argv)[0]
    folder, name = os.path.split(called)
    if name == "__main__.py":
        return f"{quote(sys.executable)} -m txstathat"
    found = shutil.which(name)
    if not folder or (
        found is not None and os.path.exists(called) and os.path.samefile(found, called)
    ):
        return quote(name)
    return quote(called)
