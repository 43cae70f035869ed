"""
Pages for browsers that signed in with a read-only token: without forms that change
something, and without links to pages that are only for such a form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from twisted.web.template import Tag, tags

__all__ = ["without_forms"]

#: The forms that change only the browser's own session.
_OWN = frozenset({"/sign-out"})
# The addresses of pages that are only for a form, or that ask before something is done.
_FORM_PAGE = re.compile(
    r"/(edit|new|add|tile)(\?|$)|^/(links|notes)\?|\?(delete|end|revoke)=|^/trash/."
)


def without_forms(page: Tag) -> Tag:
    """
    Leave out the forms that change something, and the links to them. A line stands in
    the place of the first form. A table inside a form stays, without its buttons.

    :param page: a page.
    :returns: a copy. What is shared between pages stays as it is.
    """
    notice = tags.p(
        "You signed in with a read-only token, so nothing can be changed here.",
        class_="hint",
    )
    return _copy(page, [notice])


def _copy(tag: Tag, notices: list[Tag]) -> Tag:
    """
    Copy a part of a page without the forms that change something.

    :param notices: the line for the place of a form; it is taken out.
    """
    children: list[Any] = []
    for child in _flat(tag.children):
        if not isinstance(child, Tag):
            children.append(child)
        elif _leads_to_form(child):
            continue
        elif _changes(child):
            children += _instead(child, notices)
        elif not _is_empty_without_forms(child):
            children.append(_copy(child, [] if child.tagName == "table" else notices))
        else:
            children += _taken(notices)
    return Tag(tag.tagName, tag.attributes, children)


def _instead(form: Tag, notices: list[Tag]) -> list[Tag]:
    tables = [each for each in _descendants(form) if each.tagName == "table"]
    return [_without_buttons(table) for table in tables] or _taken(notices)


def _taken(notices: list[Tag]) -> list[Tag]:
    taken = notices.copy()
    notices.clear()
    return taken


def _without_buttons(tag: Tag) -> Tag:
    children = [
        _without_buttons(child) if isinstance(child, Tag) else child
        for child in _flat(tag.children)
        if not (isinstance(child, Tag) and child.tagName == "button")
    ]
    return Tag(tag.tagName, tag.attributes, children)


def _changes(tag: Tag) -> bool:
    attributes = tag.attributes
    return (
        tag.tagName == "form"
        and attributes.get("method") == "post"
        and attributes.get("action") not in _OWN
    )


def _leads_to_form(tag: Tag) -> bool:
    """
    Whether this is a link to a form that changes something, or a line of such links.
    """
    if tag.tagName == "a":
        return _FORM_PAGE.search(str(tag.attributes.get("href", ""))) is not None
    links = [each for each in _flat(tag.children) if isinstance(each, Tag)]
    return tag.attributes.get("class") == "actions" and all(
        each.tagName != "a" or _leads_to_form(each) for each in links
    )


def _is_empty_without_forms(tag: Tag) -> bool:
    """
    Whether this is nothing but forms that change something, and words about them.
    """
    inside = [each for each in _flat(tag.children) if isinstance(each, Tag)]
    return (
        tag.tagName in ("details", "section")
        and any(_changes(each) for each in inside)
        and all(
            each.tagName in ("summary", "h2", "p") or _changes(each) for each in inside
        )
    )


def _descendants(tag: Tag) -> Iterator[Tag]:
    for child in _flat(tag.children):
        if isinstance(child, Tag):
            yield child
            yield from _descendants(child)


def _flat(children: Any) -> list[Any]:
    flat: list[Any] = []
    for child in children:
        flat += _flat(child) if isinstance(child, (list, tuple)) else [child]
    return flat
