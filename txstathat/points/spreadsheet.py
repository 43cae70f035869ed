"""
Text from outside as cells of CSV files, which people open in spreadsheets.
"""

from __future__ import annotations

import re

__all__ = ["safe_cell"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Spreadsheets run cells that begin with one of these as formulas; some also with the
# full-width forms.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def safe_cell(value: object) -> object:
    """
    Make a cell of a CSV file harmless for terminals and spreadsheets.

    :param value: the contents of the cell.
    :returns: a text without control characters (``U+FFFD`` stands for each), and with
        an apostrophe before it if a spreadsheet would run it as a formula. Anything but
        a text is returned as it is.
    """
    if not isinstance(value, str):
        return value
    text = _CONTROL.sub("\ufffd", value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
