"""
The rules for the names of stats.

They are StatHat's (https://www.stathat.com/manual/send): a name has 1 to 255
characters, and ``~`` in it posts to several stats at once. Where StatHat has no rule,
this module is strict, so that all servers read a name in the same way.
"""

from __future__ import annotations

import re
from functools import lru_cache

from txstathat.errors import InvalidPoint

__all__ = [
    "MAX_EXPANSION",
    "MAX_NAME",
    "check_name",
    "check_secret",
    "expand_name",
    "is_plain_name",
    "shown",
]

#: The most characters that a stat name may have (StatHat's rule).
MAX_NAME = 255
#: The most stats that one ``PREFIX~A,B,C`` name may post to.
MAX_EXPANSION = 100
# C0 and C1 controls, line and paragraph separators, lone surrogates. None is visible in
# a list of stats, and lone surrogates cannot be encoded.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# How many names are cached as valid, so that each is checked only once.
_NAMES = 10_000


def shown(thing: object) -> str:
    """
    A short ``repr`` for error messages; never raises.
    """
    if isinstance(thing, int) and not isinstance(thing, bool):
        # Python makes the decimal text of a huge int slowly, or not at all.
        return repr(thing) if thing.bit_length() < 256 else "an integer too large"
    try:
        text = repr(thing)
    except Exception:
        text = f"<{type(thing).__name__}>"
    return text if len(text) <= 80 else text[:77] + "..."


def check_name(stat: object, field: str = "stat", longest: int = MAX_NAME) -> str:
    """
    Check one stat name (or key), in which ``~`` has no special meaning.

    :param stat: the name.
    :param field: its name in the error.
    :param longest: how many characters it may have.
    :returns: the name.
    :raises InvalidPoint: if it is not text of 1 to ``longest`` characters without
        control characters, or is only white space.
    """
    if not isinstance(stat, str):
        raise InvalidPoint(field, f"must be text, not {shown(stat)}")
    if not stat:
        raise InvalidPoint(field, "must not be empty")
    # A stat's key in the Classic API is private, and not quoted.
    quoted = shown(stat) if field == "stat" else "it"
    if len(stat) > longest:
        raise InvalidPoint(
            field, f"{quoted} has {len(stat)} characters; at most {longest} are allowed"
        )
    bad = _UNPRINTABLE.search(stat)
    if bad is not None:
        raise InvalidPoint(
            field,
            f"{quoted} contains the character U+{ord(bad[0]):04X}; "
            "control characters and lone surrogates are not allowed",
        )
    if stat.isspace():
        raise InvalidPoint(field, f"{quoted} is only white space")
    return stat


def check_secret(secret: object, name: str) -> str:
    """
    Check a key or a token like the name of a stat; no error shows it.

    :param secret: the key.
    :param name: its name in the error, such as ``'the key'``.
    :returns: the key.
    :raises ValueError: if :func:`check_name` refuses it, or if it begins or ends with
        white space or a byte-order mark, as text that was read from a file may.
    """
    if isinstance(secret, str) and secret != secret.strip().strip("\ufeff").strip():
        problem = (
            "it begins or ends with white space or a byte-order mark; "
            "was it read from a file? Remove that, such as with .strip()"
        )
    else:
        try:
            return check_name(secret, "key")
        except InvalidPoint as error:
            problem = error.problem
    raise ValueError(f"{name} is not valid: {problem}")


@lru_cache(_NAMES)
def is_plain_name(stat: str) -> bool:
    """
    Whether :func:`check_name` accepts a text, and it has no ``~``.
    """
    return (
        0 < len(stat) <= MAX_NAME
        and "~" not in stat
        and not stat.isspace()
        and _UNPRINTABLE.search(stat) is None
    )


def expand_name(stat: object) -> list[str]:
    """
    The names of the stats that a name posts to: ``PREFIX~A,B`` is ``PREFIX A`` and
    ``PREFIX B``, any other name is itself.

    :param stat: the name of a stat, or of several.
    :returns: one name or more, each of one stat.
    :raises InvalidPoint: if one of them is not valid.
    """
    if not isinstance(stat, str) or "~" not in stat:
        return [check_name(stat)]
    prefix, _, suffixes = stat.partition("~")
    parts = suffixes.split(",", MAX_EXPANSION)
    if not prefix.strip() or not all(map(str.strip, parts)) or "~" in suffixes:
        raise InvalidPoint(
            "stat",
            f"{shown(stat)} must have the form PREFIX~A,B,C, with no part empty",
        )
    if len(parts) > MAX_EXPANSION:
        raise InvalidPoint(
            "stat", f"{shown(stat)} names more than {MAX_EXPANSION} stats"
        )
    return [check_name(f"{prefix} {part}") for part in parts]
