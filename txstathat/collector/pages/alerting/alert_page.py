"""
The page of one alert: its state, its episodes, and what can be done about it.
"""

from __future__ import annotations

from math import isfinite

from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.alerts.alert_record import AlertRecord
from txstathat.collector.alerts.conditions.current import read_current
from txstathat.collector.alerts.conditions.words import condition
from txstathat.collector.alerts.history import (
    MAX_EPISODES,
    WEBHOOK,
    Episode,
    target_title,
)
from txstathat.collector.alerts.model import AlertDefinition
from txstathat.collector.errors import Refusal
from txstathat.collector.number_text import number
from txstathat.collector.pages.alerting.states import badge, state_of
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
from txstathat.collector.pages.frame.formatting import (
    ago,
    isolated,
    minute,
    percent,
    sentence,
)
from txstathat.collector.pages.frame.layout import TENDING_FILES, frame
from txstathat.collector.pages.frame.tables import table
from txstathat.printable import printable

__all__ = ["SILENCES", "AlertPage"]

#: For how long an alert can be silenced from its page: seconds, and words.
SILENCES = {
    "3600": "1 hour",
    "14400": "4 hours",
    "86400": "1 day",
    "604800": "1 week",
}


class AlertPage(FormPage):
    """
    The page at ``/alerts/ID``.
    """

    error_title = "Can't show this alert"

    async def show(self, request: Request, form: Form) -> Tag:
        """
        Show the alert; or ask whether to delete it, if the query says so.
        """
        record = await self._parts.alerting.records.get(self._id)
        if argument(request, "delete"):
            return _ask(form, record.alert)
        return await self._page(record, message_of(form))

    async def _page(self, record: AlertRecord, message: Tag) -> Tag:
        alert, now = record.alert, self._parts.alerting.records.now()
        names = await self._parts.alerting.delivery.target_names(alert)
        current = await read_current(self._archive, alert, now)
        path = f"/alerts/{alert.id}"
        return frame(
            f"Alert on {alert.stat_name}",
            tags.p(tags.a("← Alerts", href="/alerts"), class_="back"),
            tags.h1("Alert on ", isolated(alert.stat_name)),
            message,
            tags.div(
                _state(record, now)(_current(alert, current, now)),
                _targets(alert, names),
                _last_error(record, now),
                id="alert-state",
                class_="live",
            ),
            _buttons(record, path, now),
            tags.p(
                tags.a("The stat", href=f"/stats/{alert.stat_id}"),
                tags.a("Edit this alert", href=f"{path}/edit"),
                confirmation_link("Delete this alert", path, delete="yes"),
                class_="actions",
            ),
            tags.h2("Episodes"),
            tags.div(_episodes(record.episodes, now), id="episodes", class_="live"),
            section="/alerts",
            files=TENDING_FILES,
        )

    async def take(self, request: Request, form: Form) -> Done | Tag:
        """
        Silence, acknowledge, test or delete the alert.
        """
        records, action = self._parts.alerting.records, form["action"]
        path = f"/alerts/{self._id}"
        if action == "silence":
            if form["seconds"] not in SILENCES:
                raise Refusal(400, "choose from the list for how long to silence it")
            await records.silence(self._id, float(form["seconds"]))
            return Done(path, f"Silenced the alert for {SILENCES[form['seconds']]}")
        if action == "end-silence":
            await records.silence(self._id, None)
            return Done(path, "Ended the silence")
        if action == "acknowledge":
            await records.acknowledge(self._id)
            return Done(path, "Acknowledged the alert")
        if action == "delete":
            name = (await records.get(self._id)).alert.stat_name
            await records.delete(self._id)
            return Done("/alerts", "Deleted the alert on", name)
        if action != "test":
            raise unknown_form()
        return await self._test()

    async def _test(self) -> Tag:
        results = await self._parts.alerting.delivery.test(self._id)
        record = await self._parts.alerting.records.get(self._id)
        return await self._page(record, _results(results))


def _ask(form: Form, alert: AlertDefinition) -> Tag:
    path = f"/alerts/{alert.id}"
    return confirmation(
        form,
        ("Delete the alert on ", isolated(alert.stat_name)),
        "Its episodes are deleted too; the stat stays. This cannot be undone.",
        "Delete the alert",
        "delete",
        path=path,
        back=("The alert", path),
        section="/alerts",
    )


def _state(record: AlertRecord, now: float) -> Tag:
    fires = f" Fires when {condition(record.alert)}."
    line = tags.p(badge(state_of(record, now)), fires)
    until = record.silenced_until(now)
    if until is not None:
        line(f" Silenced until {minute(until)}.")
    acknowledged_at = record.state.acknowledged_at
    if record.is_acknowledged and acknowledged_at is not None:
        line(f" Acknowledged {ago(acknowledged_at, now)}.")
    return line


def _current(alert: AlertDefinition, compared: float | None, now: float) -> str:
    """
    What the alert compares now, as a sentence.
    """
    if compared is None or not isfinite(compared):
        return ""
    if alert.kind == "data":
        return f" The last point came {ago(now - compared, now)}."
    if alert.kind == "value":
        return f" Now it is {number(compared)}."
    return f" Now the change is {percent(compared)}."


def _targets(alert: AlertDefinition, names: tuple[str, ...]) -> Tag:
    if not names:
        return tags.p(
            "Nobody will be notified: no channel is set up for this alert. ",
            tags.a("Add a channel", href="/channels/new"),
            class_="message",
        )
    titles = [
        f"{target_title(name)} ({alert.webhook_host})"
        if name == WEBHOOK and alert.webhook_host
        else target_title(name)
        for name in names
    ]
    return tags.p("Notices go to: ", ", ".join(titles), ".")


def _last_error(record: AlertRecord, now: float) -> Tag:
    error = record.last_error
    if error is None:
        return tags.transparent()
    return tags.p(
        f"The last notice to {target_title(error.channel)} was not delivered "
        f"{ago(error.at, now)}: ",
        tags.bdi(sentence(printable(error.why))),
        class_="message",
    )


def _buttons(record: AlertRecord, path: str, now: float) -> Tag:
    row = tags.div(class_="row-actions")
    if record.state.firing and not record.is_acknowledged:
        row(button_form(path, "acknowledge", "Acknowledge"))
    if record.silenced_until(now) is not None:
        row(button_form(path, "end-silence", "End the silence"))
    else:
        row(_silence_form(path))
    return row(button_form(path, "test", "Send a test"))


def _silence_form(path: str) -> Tag:
    options = [tags.option(text, value=value) for value, text in SILENCES.items()]
    return tags.form(
        tags.select(*options, name="seconds", **{"aria-label": "For how long"}),
        tags.button(
            "Silence", type="submit", name="action", value="silence", class_="quiet"
        ),
        method="post",
        action=path,
        class_="joined",
    )


def _results(results: dict[str, str]) -> Tag:
    if not results:
        return tags.p(
            "There is nowhere to send a test: no channel is set up for this alert.",
            role="alert",
            class_="message",
        )
    items = []
    for name, error in results.items():
        words = sentence(printable(error)) if error else "Delivered."
        items.append(tags.li(f"{target_title(name)}: ", tags.bdi(words)))
    kind = "message" if any(results.values()) else "message good"
    return tags.div("Test:", tags.ul(*items), role="alert", class_=kind)


def _episodes(episodes: tuple[Episode, ...], now: float) -> Tag:
    if not episodes:
        return tags.p("It has not fired yet.", class_="hint")
    rows = [
        tags.tr(
            tags.th(minute(each.began), scope="row"),
            tags.td("goes on" if each.ended is None else minute(each.ended)),
            tags.td(number(each.compared), class_="figure"),
            tags.td(
                "no" if each.acknowledged_at is None else minute(each.acknowledged_at),
                class_="wide",
            ),
        )
        for each in episodes
    ]
    return tags.div(
        table(
            "Episodes",
            ("Began", "Ended", "Number", "Acknowledged"),
            rows,
            wide="Acknowledged",
        ),
        tags.p(f"The last {MAX_EPISODES} are stored.", class_="hint"),
    )
