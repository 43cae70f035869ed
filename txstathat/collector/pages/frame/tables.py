"""
The tables of pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from twisted.web.template import Tag, tags

__all__ = ["ACTIONS", "table"]

#: The head of a column with buttons, which only screen readers read.
ACTIONS = "Actions"


def table(
    caption: str,
    heads: Sequence[str],
    rows: Iterable[Tag],
    *,
    wide: str = "",
    kind: str = "",
) -> Tag:
    """
    Make a table.

    :param caption: what it lists, for screen readers.
    :param heads: the heads of its columns.
    :param rows: its rows.
    :param wide: the head of the column that only wide screens show.
    :param kind: a class of the style sheet, besides that of all tables.
    """
    cells = [
        tags.th(
            tags.span(head, class_="unseen") if head == ACTIONS else head,
            scope="col",
            **({"class": "wide"} if head == wide else {}),
        )
        for head in heads
    ]
    return tags.table(
        tags.caption(caption, class_="unseen"),
        tags.thead(tags.tr(*cells)),
        tags.tbody(*rows),
        class_=f"stats {kind}".strip(),
    )
