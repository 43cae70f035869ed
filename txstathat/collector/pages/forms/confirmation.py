"""
The page that asks before something is done that cannot be undone.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

from twisted.web.template import Tag, tags

from txstathat.collector.pages.forms.forms import Form, message_of
from txstathat.collector.pages.frame.layout import TENDING_FILES, frame
from txstathat.printable import printable

__all__ = ["confirmation", "confirmation_link"]


def confirmation_link(label: str, path: str, about: str = "", **query: str) -> Tag:
    """
    Make the link to a page that asks.

    :param label: the text of the link.
    :param path: the path of the page that takes the form.
    :param about: what it is about, for those who hear it without its row.
    :param query: what that page is asked about.
    """
    link = tags.a(label, href=f"{path}?{urlencode(query)}" if query else path)
    if about:
        link.attributes["aria-label"] = f"{label}: {printable(about)}"
    return link


def confirmation(
    form: Form,
    question: Sequence[Tag | str],
    consequence: str,
    label: str,
    action: str,
    *,
    path: str,
    back: tuple[str, str],
    section: str,
    **hidden: str,
) -> Tag:
    """
    Make the page that asks.

    :param form: what was sent, if it could not be done.
    :param question: what it asks, without the question mark.
    :param consequence: what happens then.
    :param label: the text of the button that does it.
    :param action: the value of the form's field ``action``.
    :param path: where to post the form.
    :param back: the title and the path of the page to go back to.
    :param section: the path of the section of the site.
    :param hidden: other fields of the form, by their names.
    """
    title, cancel = back
    fields = [
        tags.input(type="hidden", name=name, value=value)
        for name, value in hidden.items()
    ]
    return frame(
        label,
        tags.p(tags.a(f"← {title}", href=cancel), class_="back"),
        tags.h1(*question, "?"),
        message_of(form),
        tags.p(consequence),
        tags.form(
            *fields,
            tags.button(
                label, type="submit", name="action", value=action, class_="danger"
            ),
            " ",
            tags.a("Cancel", href=cancel),
            method="post",
            action=path,
        ),
        section=section,
        files=TENDING_FILES,
    )
