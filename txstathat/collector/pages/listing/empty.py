"""
The page of a collector without stats: how to send the first point.
"""

from __future__ import annotations

from twisted.web.template import Tag, tags

from txstathat.collector.pages.frame.layout import frame
from txstathat.collector.pages.tending.snippets import snippets

__all__ = ["empty_page"]


def empty_page(url: str) -> Tag:
    """
    Make the page.

    :param url: the URL of this server.
    """
    shell = f"curl {url}/ez -d ezkey=YOUR-EZ-KEY -d stat='first light' -d count=1"
    python = snippets("ez", "YOUR-EZ-KEY", url)["Python"]
    return frame(
        "No stats yet",
        tags.section(
            tags.h1("No stats yet"),
            tags.p(
                "Stats appear when their first point arrives. Send one, and this page "
                "updates by itself."
            ),
            tags.h2("From a shell"),
            tags.pre(tags.code(shell), tabindex="0"),
            tags.h2("From Python"),
            tags.pre(tags.code(python), tabindex="0"),
            tags.p(
                "The collector printed an EZ key, or wrote it to a file, when it first "
                "started. The page ",
                tags.a("Keys", href="/keys"),
                " makes another, and shows these examples with it.",
                class_="hint",
            ),
            id="stats",
            class_="card wide-card live",
        ),
        section="/",
    )
