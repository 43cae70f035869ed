"""
The pages for channels: a list, and a form for each kind.
"""

from __future__ import annotations

from typing import Any

from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.channels.kinds import FIELDS
from txstathat.collector.channels.message import DeliveryFailed
from txstathat.collector.channels.model import MAX_NAME, ChannelField
from txstathat.collector.channels.records import MAX_CHANNELS
from txstathat.collector.errors import Refusal
from txstathat.collector.pages.alerting.alert_form import field_error
from txstathat.collector.pages.formatting import minute, sentence
from txstathat.collector.pages.forms import (
    Form,
    FormPage,
    WrongField,
    argument,
    button_form,
    choice,
    labelled,
    message_of,
    unknown_form,
)
from txstathat.collector.pages.layout import TENDING_FILES, frame
from txstathat.collector.pages.parts import PageParts
from txstathat.collector.pages.tables import ACTIONS, table
from txstathat.printable import printable

__all__ = ["ChannelPages"]

_CHANNELS = "/channels"
_TITLES = {
    "webhook": "Web hook",
    "email": "E-mail",
    "ntfy": "ntfy",
    "pagerduty": "PagerDuty",
}

_LABELS = {"url": "URL", "to": "Recipients", "from": "Sender"}


class ChannelPages(FormPage):
    """
    All channels, at ``/channels``.

    :param parts: what the pages work with.
    """

    error_title = "Can't show the channels"

    def __init__(self, parts: PageParts) -> None:
        super().__init__(parts)
        self.putChild(b"new", _NewChannel(parts))

    async def show(self, request: Request, form: Form) -> Tag:
        return await self._page(message_of(form))

    async def _page(self, message: Tag) -> Tag:
        found = await self._parts.alerting.channels.list()
        new = [
            tags.a(title, href=f"{_CHANNELS}/new?kind={kind}")
            for kind, title in _TITLES.items()
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

    async def take(self, request: Request, form: Form) -> str | Tag:
        """
        Test or delete a channel.
        """
        action, name = form["action"], form["channel"]
        if action == "delete":
            await self._parts.alerting.channels.delete(name)
            return _CHANNELS
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


class _NewChannel(FormPage):
    """
    The page that adds a channel, at ``/channels/new``.
    """

    error_title = "Can't add a channel"

    async def show(self, request: Request, form: Form) -> Tag:
        """
        Show the form of a kind, or the kinds to choose from.
        """
        kind = form["kind"] or argument(request, "kind")
        if kind not in FIELDS:
            content = _kinds()
        else:
            if not form.values:
                usual = {field.name: field.default for field in FIELDS[kind]}
                form = Form({**usual, "kind": kind})
            content = _channel_form(form, kind)
        return frame(
            "New channel",
            tags.p(tags.a("← Channels", href=_CHANNELS), class_="back"),
            tags.h1("New channel"),
            message_of(form),
            content,
            section="/alerts",
            files=TENDING_FILES,
        )

    async def take(self, request: Request, form: Form) -> str:
        kind = form["kind"]
        if kind not in FIELDS:
            raise Refusal(400, "choose a kind of channel")
        names = ("name", "kind", "secret", *(field.name for field in FIELDS[kind]))
        try:
            await self._parts.alerting.channels.create(
                {name: form[name] for name in names}
            )
        except Refusal as refusal:
            if refusal.status == 409:
                raise WrongField("name", refusal.msg) from None
            raise field_error(refusal, names) from None
        return _CHANNELS


def _kinds() -> Tag:
    items = [
        tags.li(tags.a(title, href=f"{_CHANNELS}/new?kind={kind}"))
        for kind, title in _TITLES.items()
    ]
    return tags.ul(*items, class_="cards")


def _channel_form(form: Form, kind: str) -> Tag:
    return tags.form(
        tags.h2(_TITLES[kind]),
        tags.input(type="hidden", name="kind", value=kind),
        labelled(
            form,
            "name",
            "Name",
            hint="Letters, digits, dots, hyphens and underscores.",
            longest=MAX_NAME,
            required=True,
            spellcheck="false",
        ),
        *(_channel_field(form, field) for field in FIELDS[kind]),
        labelled(
            form,
            "secret",
            "File of the secret",
            hint="The name of a file in the directory that the operator named with "
            "--secrets, in a folder with the name of the host. Empty without a secret.",
            spellcheck="false",
        ),
        tags.button("Add the channel", type="submit"),
        method="post",
        action=f"{_CHANNELS}/new",
        class_="panel",
    )


def _channel_field(form: Form, field: ChannelField) -> Tag:
    label = _LABELS.get(field.name, field.name.capitalize())
    if field.choices:
        options = {each: each for each in field.choices}
        return choice(form, field.name, label, options, hint=field.help)
    return labelled(
        form,
        field.name,
        label,
        longest=field.longest,
        required=field.required,
        lines=5 if field.lines else 1,
        hint=field.help,
        spellcheck="false",
    )


def _row(channel: dict[str, Any]) -> Tag:
    name = channel["name"]
    where = tags.td(tags.bdi(printable(channel["address"])))
    if channel["failing"]:
        at = minute(channel["last_error_at"])
        why = sentence(printable(str(channel["last_error"])))
        where(tags.div(f"Failed {at}: ", tags.bdi(why), class_="wrong"))
    return tags.tr(
        tags.th(name, " ", tags.small(_TITLES[channel["kind"]]), scope="row"),
        where,
        tags.td(
            tags.div(
                button_form(_CHANNELS, "test", "Test", name, channel=name),
                button_form(_CHANNELS, "delete", "Delete", name, channel=name),
                class_="row-actions",
            )
        ),
    )
