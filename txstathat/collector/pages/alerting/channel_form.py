"""
The form of a channel: for a new one, and to edit one.
"""

from __future__ import annotations

from collections.abc import Mapping

from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.channels.channels import BadSettings, describe
from txstathat.collector.channels.kinds import FIELDS
from txstathat.collector.channels.model import (
    MAX_NAME,
    ChannelDefinition,
    ChannelField,
)
from txstathat.collector.errors import Refusal
from txstathat.collector.pages.forms.forms import (
    Form,
    FormPage,
    WrongField,
    choice,
    is_removed,
    labelled,
    message_of,
    removal_box,
)
from txstathat.collector.pages.frame.arguments import argument
from txstathat.collector.pages.frame.flash import Done
from txstathat.collector.pages.frame.layout import TENDING_FILES, frame
from txstathat.printable import printable

__all__ = ["CHANNELS", "KIND_TITLES", "EditChannel", "NewChannel"]

#: The path of the list of channels.
CHANNELS = "/channels"
#: The kinds of channels in words.
KIND_TITLES = {
    "webhook": "Web hook",
    "email": "E-mail",
    "ntfy": "ntfy",
    "pagerduty": "PagerDuty",
}

_LABELS = {"url": "URL", "to": "Recipients", "from": "Sender"}


class _ChannelForm(FormPage):
    def page_of(self, title: str, form: Form, content: Tag) -> Tag:
        """
        Make the page around a form.
        """
        return frame(
            title,
            tags.p(tags.a("← Channels", href=CHANNELS), class_="back"),
            tags.h1(title),
            message_of(form),
            content,
            section="/alerts",
            files=TENDING_FILES,
        )


class NewChannel(_ChannelForm):
    """
    The page that adds a channel, at ``/channels/new``.

    :param parts: what the pages work with.
    """

    error_title = "Can't add a channel"

    async def show(self, request: Request, form: Form) -> Tag:
        """
        Show the form of a kind, or the kinds to choose from.
        """
        kind = form["kind"] or argument(request, "kind")
        if kind not in FIELDS:
            return self.page_of("New channel", form, _kinds())
        if not form.values:
            usual = {field.name: field.default for field in FIELDS[kind]}
            form = Form({**usual, "kind": kind})
        content = tags.form(
            tags.h2(KIND_TITLES[kind]),
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
            *(_field(form, field) for field in FIELDS[kind]),
            _secret_field(form),
            tags.button("Add the channel", type="submit"),
            method="post",
            action=f"{CHANNELS}/new",
            class_="panel",
        )
        return self.page_of("New channel", form, content)

    async def take(self, request: Request, form: Form) -> Done:
        kind = form["kind"]
        if kind not in FIELDS:
            raise Refusal(400, "choose a kind of channel")
        names = ("name", "kind", "secret", *(field.name for field in FIELDS[kind]))
        try:
            await self._parts.alerting.channels.create(
                {name: form[name] for name in names}
            )
        except BadSettings as refusal:
            raise _wrong_fields(refusal) from None
        except Refusal as refusal:
            if refusal.status == 409:
                raise WrongField("name", refusal.msg) from None
            raise
        return Done(CHANNELS, "Added the channel", form["name"])


class EditChannel(_ChannelForm):
    """
    The page that edits a channel, at ``/channels/NAME/edit``. What may be a secret is
    not shown; it stays unless something else is typed.

    :param parts: what the pages work with.
    :param id: the name of the channel.
    """

    error_title = "Can't edit this channel"

    async def show(self, request: Request, form: Form) -> Tag:
        channel = await self._parts.alerting.channels.records.get(self._id)
        if not form.values:
            shown = {**_shown(channel), "secret": channel.secret}
            form = Form(shown, form.error)
        address = printable(describe(channel)["address"])
        content = tags.form(
            tags.h2(KIND_TITLES[channel.kind]),
            tags.p("Goes to: ", tags.bdi(address)),
            *(
                _hidden_field(form, field, channel.settings)
                if field.hidden
                else _field(form, field)
                for field in FIELDS[channel.kind]
            ),
            _secret_field(form),
            tags.button("Save", type="submit"),
            method="post",
            action=f"{CHANNELS}/{channel.name}/edit",
            class_="panel",
        )
        return self.page_of(f"Edit the channel {channel.name}", form, content)

    async def take(self, request: Request, form: Form) -> Done:
        channel = await self._parts.alerting.channels.records.get(self._id)
        given = {"secret": form["secret"]}
        for field in FIELDS[channel.kind]:
            removed = is_removed(form, field.name)
            text = "" if removed else form[field.name]
            if text or removed or not field.hidden:
                given[field.name] = text
        try:
            await self._parts.alerting.channels.edit(self._id, given)
        except BadSettings as refusal:
            raise _wrong_fields(refusal) from None
        return Done(CHANNELS, "Saved the channel", self._id)


def _wrong_fields(refusal: BadSettings) -> WrongField:
    (first, why), *others = refusal.problems.items()
    return WrongField(first, why, **dict(others))


def _kinds() -> Tag:
    items = [
        tags.li(tags.a(title, href=f"{CHANNELS}/new?kind={kind}"))
        for kind, title in KIND_TITLES.items()
    ]
    return tags.ul(*items, class_="cards")


def _shown(channel: ChannelDefinition) -> dict[str, str]:
    """
    The settings of a channel that the form shows.
    """
    return {
        field.name: channel.settings[field.name]
        for field in FIELDS[channel.kind]
        if not field.hidden
    }


def _secret_field(form: Form) -> Tag:
    return labelled(
        form,
        "secret",
        "File of the secret",
        hint="The name of a file in the directory that the operator named with "
        "--secrets, in a folder with the name of the host. Leave it empty if there is "
        "no secret.",
        spellcheck="false",
    )


def _hidden_field(form: Form, field: ChannelField, stored: Mapping[str, str]) -> Tag:
    """
    Make the field of a setting that may be a secret.
    """
    if not stored[field.name]:
        return _field(form, field)
    hint = (
        "What is stored is not shown. Leave this empty to keep it, unless the host "
        "changes."
    )
    box = _field(form, field, hint=hint, required=False)
    if field.required:
        return box
    return tags.div(box, removal_box(form, field.name, field.name))


def _field(
    form: Form, field: ChannelField, *, hint: str = "", required: bool = True
) -> Tag:
    label = _LABELS.get(field.name, field.name.capitalize())
    hint = f"{field.help} {hint}".strip()
    if field.choices:
        options = {each: each for each in field.choices}
        return choice(form, field.name, label, options, hint=hint)
    return labelled(
        form,
        field.name,
        label,
        longest=field.longest,
        required=field.required and required,
        lines=5 if field.lines else 1,
        hint=hint,
        spellcheck="false",
    )
