"""
The tests that the documentation of stores names.
"""

from __future__ import annotations

import re
from functools import reduce
from importlib import import_module

from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures import ROOT


class DocumentedTests(SynchronousTestCase):
    """``docs/stores.rst`` and ``docs/scale.rst``."""

    def test_exist(self) -> None:
        """Each test that is named exists."""
        for page in ("stores", "scale"):
            text = (ROOT / "docs" / f"{page}.rst").read_text("utf-8")
            names = re.findall(r"``(tests\.[\w.]+)\.([A-Z]\w+)\.(test_\w+)``", text)
            self.assertTrue(names, page)
            for module, *parts in names:
                found = reduce(getattr, parts, import_module(module))
                self.assertTrue(callable(found))
