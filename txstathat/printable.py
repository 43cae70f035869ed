"""
Text from outside, such as names, headers and answers, for terminals, logs and pages.
"""

from __future__ import annotations

__all__ = ["printable"]

# They have no width and no effect beyond their neighbours; Persian words and many emoji
# need them.
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"


def printable(thing: object, substitute: str = "\N{REPLACEMENT CHARACTER}") -> str:
    """
    Return a text in which nothing controls what shows it: no escape sequences of
    terminals, no line breaks, and no characters that reverse the direction of the text
    around them.

    :param thing: the text, or something with one.
    :param substitute: what replaces each character that is not printable. Spaces other
        than U+0020 count as not printable.
    """
    text = str(thing)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _JOINERS else substitute for c in text)
