"""
Redaction of texts that are sent or logged: no file paths and secrets, one line, limited
length.
"""

from __future__ import annotations

import re

from txstathat.printable import printable

__all__ = ["MAX_RAW_TEXT", "REDACTED", "describe_error", "one_line", "redact"]

#: What replaces a file path or a secret.
REDACTED = "<redacted>"
#: The length of a text, in characters, that is searched; the rest is dropped.
MAX_RAW_TEXT = 10_000

# A quoted text may be a path with spaces. An apostrophe inside a word starts no quote.
_QUOTED = re.compile(r"""(?<!\w)(?:'[^'\n]*'|"[^"\n]*"|`[^`\n]*`)""")
# Without quotes, every word with a slash or a backslash counts as a path. Here and
# below quantifiers are possessive, and a match goes to the end of what it looked at, so
# a search takes time in proportion to the text.
_WORD = re.compile(
    r"""(?:\b[A-Za-z]:(?=[/\\]))?[^\s'"`()<>\[\]{},;=|:/\\]*+(?:[/\\][^\s'"`<>|,;]*+)?"""
)
# A ratio, or a slash alone.
_NO_PATH = re.compile(r"\d+/\d+[.)\]:%]?|[/\\]")

# A URL from its slashes on, or a text without spaces such as user:password@host.
_RUN = re.compile(r"\S++")
_URL_END = re.compile(r"""["'`<>]""")
_AROUND = "\"'`<>()[]{},;.!"
# What replaces values until the end, so that a URL around a value is found: without and
# with an @ in the value.
_MARK, _MARK_AT = "\0", "\1"
_MARKS = re.compile(f"[{_MARK}{_MARK_AT}]")

# The names of secrets, and what can stand between a name and its value.
_NAME = re.compile(r"[\w.-]++")
_SECRET = re.compile(
    r"passw|passphrase|secret|token|credential|cookie|authorization|signature"
    r"|(?:^|[_.-])(?:pwd|pass|auth|sig|session)$"
    r"|(?:api|access|private|ez|user|stat|[_.-]|^u)key$",
    re.IGNORECASE,
)
_EQUALS = re.compile(r"""["']?\s{0,20}[=:]{1,2}\s{0,20}""")
_ASSIGNS = re.compile(r"""["']?\s{0,20}=\s{0,20}""")
_SPACES = re.compile(r"\s{1,20}")
_QUOTES = ("'", '"')
# Q stands for one of them.
_QUOTED_VALUE = r"""[a-z]{0,2}Q(?:[^Q\\\n]|\\.)*+(?:Q(?=[\s,;:)\]}>&.]|\Z)|Q?\S*+)"""
_VALUE = re.compile(
    f"(?P<quoted>{'|'.join(_QUOTED_VALUE.replace('Q', quote) for quote in _QUOTES)})"
    r"|(?:(?:bearer|basic|token|digest)\s{1,20})?+\S++",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """
    Replace file paths, URLs and secrets in a text by :data:`REDACTED`.

    Absolute and relative paths of POSIX and Windows, and URLs, are replaced, quoted or
    not; a ratio such as ``3/4`` is not. A file name without a folder is not recognized.
    Secrets are the values of names such as ``password``, ``api_key`` and ``token`` in
    texts such as ``name=value``, ``"name": "value"`` and ``--name value``, what follows
    ``Bearer``, and texts such as ``user:password@host``. The time that this takes is
    proportional to the length of the text.

    :param text: the text; only the first :data:`MAX_RAW_TEXT` characters are used.
    """
    text = _MARKS.sub(" ", text[:MAX_RAW_TEXT])
    text = _redact_values(text)
    text = _RUN.sub(_redact_run, text)
    text = _QUOTED.sub(_redact_quoted, text)
    text = _WORD.sub(_redact_path, text)
    return _MARKS.sub(REDACTED, text)


def _redact_values(text: str) -> str:
    """
    Replace the values of secrets.
    """
    parts, end = [], 0
    name = _NAME.search(text)
    while name is not None:
        next_at = name.end()
        value = _find_value(text, name[0], name.end())
        if value is not None:
            # Without quotes, what closes a list or a sentence is no part of the value.
            found = value["quoted"] or value[0].rstrip(_AROUND)
            mark = _MARK_AT if "@" in found else _MARK
            parts += [text[end : value.start()], mark]
            next_at = end = value.start() + len(found)
        name = _NAME.search(text, next_at)
    return "".join([*parts, text[end:]])


def _find_value(text: str, name: str, at: int) -> re.Match[str] | None:
    """
    Return the value that follows the name of a secret.

    :param text: the text.
    :param name: a name in it.
    :param at: where the name ends.
    :returns: ``None`` if it is not the name of a secret, or no value follows.
    """
    if _SECRET.search(name):
        between = _EQUALS.match(text, at)
        if between is None and name.startswith("--"):
            between = _SPACES.match(text, at)
    elif name.lower() == "key":
        between = _ASSIGNS.match(text, at)
    elif name.lower() == "bearer":
        between = _SPACES.match(text, at)
    else:
        return None
    value = None if between is None else _VALUE.match(text, between.end())
    # There is no value in "the password: (none)", and it was redacted in "token=***".
    return value if value is not None and value[0].strip(_AROUND) else None


def _redact_run(match: re.Match[str]) -> str:
    run = match[0]
    scheme, separator, rest = run.partition("://")
    # In u:a://b@h it is in the password.
    if separator and not (":" in scheme and _last_at(rest) >= 0):
        # A password may hold any character but white space.
        end = _URL_END.search(rest, _last_at(rest) + 1)
        stop = len(rest.rstrip(_AROUND)) if end is None else end.start()
        return f"{scheme}:{REDACTED}{rest[stop:]}"
    if 0 < run.find(":") < _last_at(run) - 1:
        start = len(run) - len(run.lstrip(_AROUND))
        stop = len(run.rstrip(_AROUND))
        return f"{run[:start]}{REDACTED}{run[stop:]}"
    return run


def _last_at(text: str) -> int:
    return max(map(text.rfind, ("@", _MARK_AT)))


def _redact_quoted(match: re.Match[str]) -> str:
    quoted = match[0]
    if "/" not in quoted and "\\" not in quoted:
        return quoted
    return f"{quoted[0]}{REDACTED}{quoted[0]}"


def _redact_path(match: re.Match[str]) -> str:
    word = match[0]
    if ("/" not in word and "\\" not in word) or _NO_PATH.fullmatch(word):
        return word
    return REDACTED


def one_line(text: str, limit: int) -> str:
    """
    Make a text printable, on one line, of limited length.

    :param text: the text.
    :param limit: the maximum length in characters; a longer text is cut and ends in an
        ellipsis.
    """
    text = printable(text[: limit + 1], " ")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def describe_error(error: BaseException) -> str:
    """
    The text of an exception, without paths, file names and secrets. It raises nothing.

    :param error: the exception.
    """
    try:
        if isinstance(error, OSError) and error.strerror:
            # str() would add the file names.
            return redact(f"[Errno {error.errno}] {error.strerror}")
        return redact(str(error))
    except Exception:
        return ""
