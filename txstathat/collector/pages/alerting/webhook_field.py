"""
The field of an alert for a URL of its own. The URL may be a secret, so that what is
stored is not shown.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.web.template import Tag, tags

from txstathat.collector.channels.sending.hook_urls import MAX_URL
from txstathat.collector.pages.forms.forms import (
    Form,
    is_removed,
    labelled,
    removal_box,
)
from txstathat.printable import printable

__all__ = ["LABEL", "read_webhook", "webhook_field"]

#: The label of the field.
LABEL = "Web hook of this alert"

_WEBHOOK = "webhook"


def webhook_field(form: Form, origins: Sequence[str], stored: str) -> Tag:
    """
    Make the field; nothing if the operator allows no URLs, and none is stored.

    :param form: what it holds.
    :param origins: the schemes, hosts and ports to which the collector may post.
    :param stored: what can be shown of the stored URL; empty if there is none.
    """
    if not origins and not stored:
        return tags.transparent()
    hint = f"Optional. A URL at {', '.join(origins)}, to which its notices go too."
    if not origins:
        hint = "The operator allows no URLs any more, so that no notices go there."
    if stored:
        hint += (
            f" What is stored ({printable(stored)}) is not shown. Leave this empty to "
            "keep it."
        )
    box = labelled(
        form, _WEBHOOK, LABEL, longest=MAX_URL, hint=hint, spellcheck="false"
    )
    return tags.div(box, removal_box(form, _WEBHOOK, "web hook")) if stored else box


def read_webhook(form: Form) -> dict[str, str]:
    """
    Return the field as the API takes it; nothing if what is stored stays.

    :param form: what was typed.
    """
    if is_removed(form, _WEBHOOK):
        return {_WEBHOOK: ""}
    url = form[_WEBHOOK].strip()
    return {_WEBHOOK: url} if url else {}
