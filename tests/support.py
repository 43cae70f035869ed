"""
What the test modules share.
"""

from __future__ import annotations

import os
import shutil
from unittest import SkipTest


def require_program(name: str, package: str) -> str:
    """
    The path of a program that a test needs.

    Without it the test is skipped, with a word on how to get it. In CI (``CI=true``)
    that is a failure instead, since nothing may be left out there.

    :param name: the program.
    :param package: the Debian package that holds it.
    """
    path = shutil.which(name)
    if path is not None:
        return path
    missing = f"needs {name}: apt-get install {package}"
    if os.environ.get("CI") == "true":
        raise AssertionError(missing)
    raise SkipTest(missing)
