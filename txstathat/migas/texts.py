"""
Texts that leave the program: without file paths, on one line, of bounded length.
"""

from __future__ import annotations

import re

__all__ = ["MAX_RAW_TEXT", "REDACTED", "describe_error", "one_line", "redact"]

#: What stands where a file path stood.
REDACTED = "<redacted>"
#: The most characters of a text that are looked at; what comes after is dropped.
MAX_RAW_TEXT = 10_000

# A quoted text may be a path with spaces in it. An apostrophe inside a word opens no
# quotation.
_QUOTED = re.compile(r"""(?<!\w)(?:'[^'\n]*'|"[^"\n]*"|`[^`\n]*`)""")
# Unquoted, whatever hangs together and has a slash or a backslash in it is taken for
# a path, URLs included, since those hold names and keys as well.
_PATH = re.compile(
    r"""(?:\b[A-Za-z]:(?=[/\\]))?[^\s'"`()<>\[\]{},;=|:/\\]*[/\\][^\s'"`<>|,;]*"""
)
# A ratio, or a slash that stands alone.
_NO_PATH = re.compile(r"\d+/\d+[.)\]:%]?|[/\\]")


def redact(text: str) -> str:
    """
    Take the file paths out of a text.

    Absolute and relative paths, of POSIX and of Windows, and URLs, quoted or not; a
    ratio such as ``3/4`` stays. A bare file name without a folder is not recognized.

    :param text: the text; of a longer one than :data:`MAX_RAW_TEXT` only the
        beginning is used.
    """
    text = _QUOTED.sub(_redact_quoted, text[:MAX_RAW_TEXT])
    return _PATH.sub(_redact_path, text)


def _redact_quoted(match: re.Match[str]) -> str:
    quoted = match[0]
    if "/" not in quoted and "\\" not in quoted:
        return quoted
    return f"{quoted[0]}{REDACTED}{quoted[0]}"


def _redact_path(match: re.Match[str]) -> str:
    return match[0] if _NO_PATH.fullmatch(match[0]) else REDACTED


def one_line(text: str, limit: int) -> str:
    """
    Make a text fit for a log line or a field: printable, on one line, and bounded.

    :param text: the text.
    :param limit: the most characters; a longer text ends in an ellipsis.
    """
    text = "".join(c if c.isprintable() else " " for c in text[: limit + 1])
    return text if len(text) <= limit else text[: limit - 1] + "…"


def describe_error(error: BaseException) -> str:
    """
    The text of an exception, paths and file names left out; never raises.
    """
    try:
        if isinstance(error, OSError) and error.strerror:
            # str() of it would add the names of the files.
            return redact(f"[Errno {error.errno}] {error.strerror}")
        return redact(str(error))
    except Exception:
        return ""
