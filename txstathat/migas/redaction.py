"""
Redaction of texts that are sent or logged: no file paths, one line, limited length.
"""

from __future__ import annotations

import re

__all__ = ["MAX_RAW_TEXT", "REDACTED", "describe_error", "one_line", "redact"]

#: What replaces a file path.
REDACTED = "<redacted>"
#: The length of a text, in characters, that is searched for paths; the rest is dropped.
MAX_RAW_TEXT = 10_000

# A quoted text may be a path with spaces. An apostrophe inside a word starts no quote.
_QUOTED = re.compile(r"""(?<!\w)(?:'[^'\n]*'|"[^"\n]*"|`[^`\n]*`)""")
# Without quotes, every word with a slash or a backslash counts as a path. So do URLs,
# which can contain names and keys too.
_PATH = re.compile(
    r"""(?:\b[A-Za-z]:(?=[/\\]))?[^\s'"`()<>\[\]{},;=|:/\\]*[/\\][^\s'"`<>|,;]*"""
)
# A ratio, or a slash alone.
_NO_PATH = re.compile(r"\d+/\d+[.)\]:%]?|[/\\]")


def redact(text: str) -> str:
    """
    Replace the file paths in a text by :data:`REDACTED`.

    Absolute and relative paths of POSIX and Windows, and URLs, are replaced, quoted or
    not; a ratio such as ``3/4`` is not. A file name without a folder is not recognized.

    :param text: the text; only the first :data:`MAX_RAW_TEXT` characters are used.
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
    Make a text printable, on one line, of limited length.

    :param text: the text.
    :param limit: the maximum length in characters; a longer text is cut and ends in an
        ellipsis.
    """
    text = "".join(c if c.isprintable() else " " for c in text[: limit + 1])
    return text if len(text) <= limit else text[: limit - 1] + "…"


def describe_error(error: BaseException) -> str:
    """
    The text of an exception, without paths and file names. It raises nothing.

    :param error: the exception.
    """
    try:
        if isinstance(error, OSError) and error.strerror:
            # str() would add the file names.
            return redact(f"[Errno {error.errno}] {error.strerror}")
        return redact(str(error))
    except Exception:
        return ""
