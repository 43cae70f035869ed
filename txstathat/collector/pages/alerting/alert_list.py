"""
The list of alerts.
"""

from __future__ import annotations

from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.alerts.alert_record import AlertRecord
from txstathat.collector.alerts.conditions.words import condition
from txstathat.collector.pages.access.guard import GuardedPage
from txstathat.collector.pages.alerting.alert_form import EditAlert, NewAlert
from txstathat.collector.pages.alerting.alert_page import AlertPage
from txstathat.collector.pages.alerting.states import badge, state_of
from txstathat.collector.pages.frame.formatting import ago, isolated, minute, plural
from txstathat.collector.pages.frame.layout import TENDING_FILES, frame
from txstathat.collector.pages.frame.tables import table
from txstathat.collector.pages.parts import PageParts

__all__ = ["MAX_SHOWN", "AlertPages"]

#: How many alerts the page shows, those that fire first. "txstathat alerts list" shows
#: all.
MAX_SHOWN = 200

_ORDER = ("firing", "acknowledged", "silenced", "clear")


class AlertPages(GuardedPage):
    """
    All alerts, at ``/alerts``, and below it the pages of each.

    :param parts: what the pages work with.
    """

    error_title = "Can't show the alerts"

    def __init__(self, parts: PageParts) -> None:
        super().__init__(parts)
        self.putChild(b"new", NewAlert(parts))

    def getChild(self, path: bytes, request: Request) -> Resource:
        if not path:
            return super().getChild(path, request)
        id = path.decode("ascii", "replace")
        page = AlertPage(self._parts, id)
        page.putChild(b"edit", EditAlert(self._parts, id))
        return page

    async def guarded(self, request: Request) -> Tag:
        """
        List the alerts, those that fire first.
        """
        records = list((await self._parts.alerting.records.all()).values())
        now = self._parts.alerting.records.now()
        records.sort(key=lambda record: _ORDER.index(state_of(record, now)))
        firing = sum(record.state.firing for record in records)
        return frame(
            "Alerts",
            tags.div(
                tags.h1("Alerts"),
                tags.p(
                    tags.a("New alert", href="/alerts/new"),
                    tags.a("Channels", href="/channels"),
                    class_="actions",
                ),
                class_="headline",
            ),
            tags.div(*_content(records, firing, now), id="alerts", class_="live"),
            section="/alerts",
            files=TENDING_FILES,
            latest=f"{firing} firing" if firing else "",
        )


def _content(records: list[AlertRecord], firing: int, now: float) -> list[Tag]:
    if not records:
        return [
            tags.p(
                "An alert says when a stat is above or below a limit, changes by a "
                "percentage, or gets no data. There is none yet."
            )
        ]
    content = [
        table(
            "Alerts",
            ("Stat", "Fires when", "State", "Last fired"),
            [_row(record, now) for record in records[:MAX_SHOWN]],
            wide="Last fired",
            kind="alerts",
        )
    ]
    if firing:
        line = f"{plural(firing, 'alert')} firing."
        content.insert(0, tags.p(line, class_="message"))
    more = len(records) - MAX_SHOWN
    if more > 0:
        line = f"{plural(more, 'more alert')}: txstathat alerts list shows all."
        content.append(tags.p(line, class_="hint"))
    return content


def _row(record: AlertRecord, now: float) -> Tag:
    alert, episodes = record.alert, record.episodes
    state = tags.td(badge(state_of(record, now)))
    if record.last_error is not None:
        state(" ", tags.span("Not delivered", class_="badge undelivered"))
    last = tags.td("never", class_="wide")
    if episodes:
        began = episodes[0].began
        last = tags.td(tags.span(ago(began, now), title=minute(began)), class_="wide")
    return tags.tr(
        tags.th(
            tags.a(isolated(alert.stat_name), href=f"/alerts/{alert.id}"), scope="row"
        ),
        tags.td(condition(alert)),
        state,
        last,
    )
