"""
The names of stats as Graphite's paths, and the search by pattern.

A path has nodes, with a dot between them. A dot inside a name, with another character
than a dot on both sides, separates nodes. ASCII letters, digits, ``_`` and ``-`` stay
as they are. Each byte of every other character, in UTF-8, becomes ``%`` and two
hexadecimal digits in upper case, as in a URL. So ``page views`` is ``page%20views``,
and each path belongs to one name.

Patterns are Graphite's
(https://graphite.readthedocs.io/en/latest/render_api.html#paths-and-wildcards): ``*``,
``?``, ``[a-z]`` and ``{a,b}``, each within a node.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import translate
from itertools import islice, product
from urllib.parse import unquote, unquote_to_bytes

from txstathat.collector.errors import Refusal
from txstathat.points.names import MAX_NAME

__all__ = ["MAX_ALTERNATIVES", "Node", "Pattern", "name_of", "path_of_name"]

#: The largest number of patterns that the braces of a node can stand for.
MAX_ALTERNATIVES = 100
#: The longest node of a pattern that is not exact: no longer one matches a name.
_MAX_NODE = MAX_NAME * 12

_ESCAPED = re.compile(r"[^A-Za-z0-9_.-]|^\.|\.$|(?<=\.)\.|\.(?=\.)", re.ASCII)
_WILD = re.compile(r"[*?\[{]")
_BRACES = re.compile(r"\{([^{}]*)\}")
_CUT_ESCAPE = re.compile(r"%[0-9A-F]?\Z")


def path_of_name(name: str) -> str:
    """
    Return the path of a stat.

    :param name: the name of the stat.
    """
    return _ESCAPED.sub(_escape, name)


def _escape(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8"))


def name_of(path: str) -> str | None:
    """
    Return the name of the stat with a path; ``None`` if no stat can have this path.
    """
    try:
        name = unquote(path, errors="strict")
    except UnicodeDecodeError:
        return None
    return name if name and path_of_name(name) == path else None


@dataclass(frozen=True, slots=True)
class Node:
    """
    A node that matches a pattern.

    :ivar text: the node, which is the last one of its path.
    :ivar leaf: whether a stat has this path.
    :ivar branch: whether there are paths below it.
    """

    text: str
    leaf: bool
    branch: bool


class Pattern:
    """
    A pattern for paths.

    :param text: the pattern.
    :raises Refusal: 400 if it is too complex.

    :ivar text: the pattern.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._nodes = [_compile(node) for node in text.split(".")]

    @property
    def exact(self) -> bool:
        """
        Whether the pattern is a path: it has no wildcards.
        """
        return _WILD.search(self.text) is None

    @property
    def prefixes(self) -> list[str]:
        """
        With what the names of matching paths, and of those below them, begin: one of
        these texts. None of them begins with another one.
        """
        nodes = [[*_expand(node)] for node in self.text.split(".")]
        texts = [
            ".".join(some) for some in islice(product(*nodes), MAX_ALTERNATIVES + 1)
        ]
        if len(texts) > MAX_ALTERNATIVES:
            texts = [self.text]
        found: list[str] = []
        for prefix in sorted(map(_fixed_part, texts)):
            if not found or not prefix.startswith(found[-1]):
                found.append(prefix)
        return found

    def end_of_search(self, path: str) -> str | None:
        """
        Return which names need not be searched, now that a path is known: a prefix of
        its name. Names with this prefix match no better than the path. ``None`` if
        others than the path may match.
        """
        nodes = path.split(".")
        for number, (node, compiled) in enumerate(
            zip(nodes, self._nodes, strict=False), 1
        ):
            if number == len(nodes):
                break
            if number == len(self._nodes) or not compiled.match(node):
                return unquote(".".join(nodes[:number])) + "."
        return None

    def matches(self, path: str) -> bool:
        """
        Return whether a path matches.
        """
        nodes = path.split(".")
        return len(nodes) == len(self._nodes) and self._match(nodes)

    def nodes(self, paths: Iterable[str]) -> list[Node]:
        """
        Return the nodes that match: branches first, then leaves, each in order.

        :param paths: the paths of all stats.
        """
        leaves: set[str] = set()
        branches: set[str] = set()
        last = len(self._nodes) - 1
        for path in paths:
            nodes = path.split(".")
            if len(nodes) > last and self._match(nodes):
                (leaves if len(nodes) == last + 1 else branches).add(nodes[last])
        found = [
            Node(text, text in leaves, text in branches) for text in leaves | branches
        ]
        return sorted(found, key=lambda node: (not node.branch, node.text))

    def _match(self, nodes: list[str]) -> bool:
        return all(
            compiled.match(node)
            for compiled, node in zip(self._nodes, nodes, strict=False)
        )


def _compile(node: str) -> re.Pattern[str]:
    if len(node) > _MAX_NODE:
        raise Refusal(400, f"a node of the pattern is longer than {_MAX_NODE}")
    alternatives: list[str] = []
    for alternative in _expand(node):
        alternatives.append(alternative)
        if len(alternatives) > MAX_ALTERNATIVES:
            raise Refusal(
                400,
                f"{node[:40]!r} stands for more than {MAX_ALTERNATIVES} patterns; "
                "put fewer alternatives in braces",
            )
    try:
        return re.compile("|".join(map(translate, alternatives)))
    except re.error:
        raise Refusal(400, f"{node[:40]!r} is not a valid pattern") from None


def _fixed_part(pattern: str) -> str:
    """
    Return with what all names begin that match a pattern without braces.
    """
    text = _CUT_ESCAPE.sub("", _WILD.split(pattern, maxsplit=1)[0])
    raw = unquote_to_bytes(text)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        # The rest of a character is behind the wildcard, or no path matches.
        return raw[: error.start].decode("utf-8")


def _expand(node: str) -> Iterator[str]:
    """
    Replace braces by each of their alternatives.
    """
    waiting = [node]
    while waiting:
        text = waiting.pop()
        braces = _BRACES.search(text)
        if braces is None:
            yield text
            continue
        before, after = text[: braces.start()], text[braces.end() :]
        options = reversed(braces[1].split(","))
        waiting += [before + option + after for option in options]
