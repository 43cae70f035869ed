"""
The list of channels.
"""

from __future__ import annotations

from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.channels.message import DeliveryFailed
from txstathat.collector.channels.records import MAX_CHANNELS
from txstathat.collector.pages.access.guard import MissingPage
from txstathat.collector.pages.alerting.channel_form import (
    CHANNELS,
    KIND_TITLES,
    EditChannel,
    NewChannel,
)
from txstathat.collector.pages.forms.confirmation import confirmation, confirmation_link
from txstathat.collector.pages.forms.forms import (
    Form,
    FormPage,
    button_form,
    message_of,
    unknown_form,
)
from txstathat.collector.pages.frame.arguments import argument
from txstathat.collector.pages.frame.flash import Done
from txstathat.collector.pages.frame.formatting import minute, sentence
from txstathat.collector.pages.frame.layout import TENDING_FILES, frame
from txstathat.collector.pages.frame.tables import ACTIONS, table
from txstathat.collector.pages.parts import PageParts
from txstathat.printable import printable

__all__ = ["ChannelPages"]


class ChannelPages(FormPage):
    """
    All channels, at ``/channels``, and below it the forms.

    :param parts: what the pages work with.
    """

    error_title = "Can't show the channels"

    def __init__(self, parts: PageParts) -> None:
        super().__init__(parts)
        new = NewChannel(parts)
        # A channel can have this name too.
        new.putChild(b"edit", EditChannel(parts, "new"))
        self.putChild(b"new", new)

    def getChild(self, path: bytes, request: Request) -> Resource:
        """
        Find the form of a channel by its name.
        """
        if not path:
            return super().getChild(path, request)
        name = path.decode("ascii", "replace")
        below = _BelowChannel(self._parts)
        below.putChild(b"edit", EditChannel(self._parts, name))
        return below

    async def show(self, request: Request, form: Form) -> Tag:
        """
        List the channels. If the query names one, ask whether to delete it.
        """
        if deleted := argument(request, "delete"):
            return await self._ask(form, deleted)
        return await self._page(message_of(form))

    async def _ask(self, form: Form, name: str) -> Tag:
        await self._parts.alerting.channels.records.get(name)
        return confirmation(
            form,
            (f"Delete the channel {name}",),
            "No notices are sent through it from then on. This cannot be undone.",
            "Delete the channel",
            "delete",
            path=CHANNELS,
            back=("Channels", CHANNELS),
            section="/alerts",
            channel=name,
        )

    async def _page(self, message: Tag) -> Tag:
        found = await self._parts.alerting.channels.list()
        new = [
            tags.a(title, href=f"{CHANNELS}/new?kind={kind}")
            for kind, title in KIND_TITLES.items()
        ]
        return frame(
            "Channels",
            tags.p(tags.a("← Alerts", href="/alerts"), class_="back"),
            tags.h1("Channels"),
            message,
            tags.p(
                "Notices of alerts are sent through channels: through those that the "
                "alert names, otherwise through all."
            ),
            table(
                "Channels",
                ("Name", "Goes to", ACTIONS),
                map(_row, found),
                kind="stacked",
            )
            if found
            else tags.p("There is no channel yet.", class_="hint"),
            tags.p(tags.strong("Add a channel:"), *new, class_="actions"),
            tags.p(f"There can be {MAX_CHANNELS}.", class_="hint"),
            section="/alerts",
            files=TENDING_FILES,
        )

    async def take(self, request: Request, form: Form) -> Done | Tag:
        """
        Test or delete a channel.
        """
        action, name = form["action"], form["channel"]
        if action == "delete":
            await self._parts.alerting.channels.delete(name)
            return Done(CHANNELS, "Deleted the channel", name)
        if action != "test":
            raise unknown_form()
        try:
            await self._parts.alerting.channels.test(name)
        except DeliveryFailed as error:
            why = sentence(printable(str(error)))
            message = tags.p(
                f"The test of {name} was not delivered: ",
                tags.bdi(why),
                role="alert",
                class_="message",
            )
            return await self._page(message)
        return await self._page(
            tags.p(
                f"The test of {name} was delivered.",
                role="alert",
                class_="message good",
            )
        )


class _BelowChannel(MissingPage):
    """
    The place of a channel's form. A channel has no page of its own.
    """


def _row(channel: dict[str, Any]) -> Tag:
    name = channel["name"]
    where = tags.td(tags.bdi(printable(channel["address"])))
    if channel["failing"]:
        at = minute(channel["last_error_at"])
        why = sentence(printable(str(channel["last_error"])))
        where(tags.div(f"Failed {at}: ", tags.bdi(why), class_="wrong"))
    return tags.tr(
        tags.th(name, " ", tags.small(KIND_TITLES[channel["kind"]]), scope="row"),
        where,
        tags.td(
            tags.div(
                tags.a(
                    "Edit",
                    href=f"{CHANNELS}/{name}/edit",
                    **{"aria-label": f"Edit: {name}"},
                ),
                button_form(CHANNELS, "test", "Test", name, channel=name),
                confirmation_link("Delete", CHANNELS, name, delete=name),
                class_="row-actions",
            )
        ),
    )
