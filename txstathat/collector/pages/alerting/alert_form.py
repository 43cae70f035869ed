"""
The form of an alert: for a new one, and to edit one.
"""

from __future__ import annotations

import re

from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.alerts.conditions.words import WINDOW_TITLES
from txstathat.collector.alerts.model import (
    AlertDefinition,
)
from txstathat.collector.archive.stats import Stat
from txstathat.collector.errors import Refusal
from txstathat.collector.pages.alerting.webhook_field import (
    LABEL,
    read_webhook,
    webhook_field,
)
from txstathat.collector.pages.forms.forms import (
    Form,
    FormPage,
    WrongField,
    choice,
    labelled,
    message_of,
)
from txstathat.collector.pages.forms.suggestions import SUGGESTIONS, suggestions
from txstathat.collector.pages.frame.arguments import argument
from txstathat.collector.pages.frame.flash import Done
from txstathat.collector.pages.frame.formatting import isolated
from txstathat.collector.pages.frame.layout import TENDING_FILES, frame
from txstathat.errors import InvalidPoint
from txstathat.points.names import MAX_NAME, check_name

__all__ = ["EditAlert", "NewAlert"]

_KINDS = {
    "value": "The number is above or below a limit",
    "delta": "The number changes by a percentage",
    "data": "No data arrives",
}
_OPERATORS = {
    "greater than": "greater than",
    "less than": "less than",
    "different than": "different than (for a change)",
}
# The fields of each kind, except those of all kinds.
_FIELDS = {
    "value": ("operator", "threshold"),
    "delta": ("operator", "percentage", "time_delta"),
    "data": (),
}
_LABELS = {
    "stat": "Stat",
    "kind": "Fires when",
    "time_window": "Over",
    "operator": "It is",
    "threshold": "Limit",
    "percentage": "Change, in percent",
    "time_delta": "Compare with how long ago",
    "webhook": LABEL,
}
# The words of the page for those of the API, except where they are quoted: then
# somebody typed them.
_WORDS = WINDOW_TITLES | {
    name: f"“{_LABELS[name]}”" for name in ("time_window", "time_delta")
}
_WORD = re.compile(rf"(?<!')\b({'|'.join(_WORDS)})\b(?!')")
_USUAL = {
    "kind": "value",
    "time_window": "1h",
    "operator": "greater than",
    "time_delta": "1d",
}
_CHANNEL = "channel-"


def _field_error(refusal: Refusal) -> Refusal:
    """
    Turn a refusal that begins with the name of a field into one that is shown beside
    it, with the words of the page.

    :param refusal: the refusal, such as ``'threshold: is missing'``.
    :returns: a :class:`.WrongField`; the same refusal if it names no field.
    """
    name, colon, reason = refusal.msg.partition(": ")
    if not colon or name not in _LABELS or isinstance(refusal, WrongField):
        return refusal
    return WrongField(name, _WORD.sub(lambda found: _WORDS[found[0]], reason))


class _AlertForm(FormPage):
    async def fields(self, form: Form, webhook: str = "") -> list[Tag]:
        """
        Make the fields that the forms of alerts share.

        :param form: what they hold.
        :param webhook: what can be shown of the alert's own URL.
        """
        channels = list(await self._parts.alerting.channels.records.all())
        origins = self._parts.alerting.webhooks.origins
        return [
            choice(form, "kind", _LABELS["kind"], _KINDS),
            choice(
                form,
                "time_window",
                _LABELS["time_window"],
                WINDOW_TITLES,
                hint="A counter is summed, a value averaged, over this time.",
            ),
            _only(
                "value delta", choice(form, "operator", _LABELS["operator"], _OPERATORS)
            ),
            _only("value", _decimal(form, "threshold")),
            _only("delta", _decimal(form, "percentage")),
            _only(
                "delta",
                choice(form, "time_delta", _LABELS["time_delta"], WINDOW_TITLES),
            ),
            _channel_boxes(form, channels, has_webhook=bool(origins)),
            webhook_field(form, origins, webhook),
        ]

    def values(self, form: Form) -> dict[str, str]:
        """
        Return the fields of an alert in a form.
        """
        kind = form["kind"]
        if kind not in _FIELDS:
            raise WrongField("kind", "choose one from the list")
        names = ("kind", "time_window", *_FIELDS[kind])
        chosen = [
            name.removeprefix(_CHANNEL)
            for name in form.values
            if name.startswith(_CHANNEL)
        ]
        return {
            **{name: form[name].strip() for name in names},
            "channels": ",".join(chosen),
            **read_webhook(form),
        }


class NewAlert(_AlertForm):
    """
    The page that makes an alert, at ``/alerts/new``.
    """

    error_title = "Can't make an alert"

    async def show(self, request: Request, form: Form) -> Tag:
        """
        Show the form. The query can name a stat.
        """
        if not form.values:
            form = Form({**_USUAL, "stat": argument(request, "stat")})
        return frame(
            "New alert",
            tags.p(tags.a("← Alerts", href="/alerts"), class_="back"),
            tags.h1("New alert"),
            message_of(form),
            tags.form(
                labelled(
                    form,
                    "stat",
                    _LABELS["stat"],
                    longest=MAX_NAME,
                    required=True,
                    spellcheck="false",
                    list=SUGGESTIONS,
                ),
                *await self.fields(form),
                tags.button("Make the alert", type="submit"),
                method="post",
                action="/alerts/new",
                class_="panel alert-form",
            ),
            await suggestions(self._archive),
            section="/alerts",
            files=TENDING_FILES,
        )

    async def take(self, request: Request, form: Form) -> Done:
        stat = await self._stat(form["stat"])
        values = {**self.values(form), "stat_id": stat.id}
        try:
            alert = await self._parts.alerting.create(values, stat)
        except Refusal as refusal:
            raise _field_error(refusal) from None
        return Done(f"/alerts/{alert.id}", "Made the alert on", stat.name)

    async def _stat(self, name: str) -> Stat:
        try:
            stat = await self._archive.stat(check_name(name, "stat"))
        except InvalidPoint as error:
            raise WrongField("stat", error.problem) from None
        if stat is None:
            raise WrongField(
                "stat",
                f"there is no stat named {name!r}: type its whole name, as in the list",
            )
        return stat


class EditAlert(_AlertForm):
    """
    The page that edits an alert, at ``/alerts/ID/edit``.
    """

    error_title = "Can't edit this alert"

    async def show(self, request: Request, form: Form) -> Tag:
        alert = (await self._parts.alerting.records.get(self._id)).alert
        if not form.values:
            form = Form(_typed(alert))
        name = isolated(alert.stat_name)
        return frame(
            f"Edit the alert on {alert.stat_name}",
            tags.p(tags.a("← The alert", href=f"/alerts/{alert.id}"), class_="back"),
            tags.h1("Edit the alert on ", name),
            message_of(form),
            tags.form(
                *await self.fields(form, alert.webhook_host),
                tags.button("Save", type="submit"),
                method="post",
                action=f"/alerts/{alert.id}/edit",
                class_="panel alert-form",
            ),
            section="/alerts",
            files=TENDING_FILES,
        )

    async def take(self, request: Request, form: Form) -> Done:
        values = self.values(form)
        try:
            record = await self._parts.alerting.edit(self._id, values)
        except Refusal as refusal:
            raise _field_error(refusal) from None
        name = record.alert.stat_name
        return Done(f"/alerts/{self._id}", "Saved the alert on", name)


def _typed(alert: AlertDefinition) -> dict[str, str]:
    """
    What the form of an alert holds.
    """
    known = {"kind": alert.kind, "time_window": alert.time_window}
    for name in _FIELDS[alert.kind]:
        known[name] = str(getattr(alert, name))
    return {**_USUAL, **known, **{f"{_CHANNEL}{name}": "on" for name in alert.channels}}


def _only(kinds: str, field: Tag) -> Tag:
    """
    A field that the style sheet shows for some kinds only.
    """
    return tags.div(field, class_=" ".join(f"for-{kind}" for kind in kinds.split()))


def _decimal(form: Form, name: str) -> Tag:
    return labelled(form, name, _LABELS[name], inputmode="decimal", class_="short")


def _channel_boxes(form: Form, channels: list[str], *, has_webhook: bool) -> Tag:
    if not channels and has_webhook:
        return tags.p(
            "No channel is set up: notices go to the operator's web hook.",
            class_="hint",
        )
    if not channels:
        return tags.p(
            "Nobody will be notified: no channel is set up. ",
            tags.a("Add a channel", href="/channels/new"),
            class_="message",
        )
    boxes = []
    for name in channels:
        box = tags.input(type="checkbox", name=f"{_CHANNEL}{name}", id=f"c-{name}")
        if form[f"{_CHANNEL}{name}"]:
            box.attributes["checked"] = "checked"
        boxes.append(tags.label(box, " ", name, **{"for": f"c-{name}"}))
    return tags.fieldset(
        tags.legend("Channels"),
        tags.div(*boxes, class_="boxes"),
        tags.p("Without a choice, notices go through all channels.", class_="hint"),
    )
