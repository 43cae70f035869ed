"""
The alerts of a stat on its page: their badges, and their limits on its chart.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.web.template import Tag, tags

from txstathat.charts.table import Level
from txstathat.collector.alerts.alert_record import AlertRecord
from txstathat.collector.alerts.conditions.words import WINDOW_TITLES, condition
from txstathat.collector.alerts.model import WINDOWS
from txstathat.collector.alerts.records import AlertRecords
from txstathat.collector.archive.series import Series
from txstathat.collector.number_text import number
from txstathat.collector.pages.alerting.states import badge, state_of
from txstathat.collector.pages.stat.chart import LevelsOf

__all__ = ["MAX_LEVELS", "alert_lines", "levels_of", "limits_of"]

#: How many limits a chart shows.
MAX_LEVELS = 5


def alert_lines(alerts: Sequence[AlertRecord], now: float) -> Tag:
    """
    List the alerts of a stat.

    :param alerts: the alerts.
    :param now: Unix seconds.
    """
    items = [
        tags.li(
            badge(state_of(record, now)),
            " ",
            tags.a("Alert", href=f"/alerts/{record.alert.id}"),
            f" when {condition(record.alert)}",
        )
        for record in alerts
    ]
    listed = tags.ul(*items, class_="stat-alerts") if items else tags.transparent()
    return tags.div(listed, id="stat-alerts", class_="live")


def limits_of(records: AlertRecords) -> LevelsOf:
    """
    Return what reads the limits of a stat's alerts for its chart.

    :param records: the alerts.
    """

    async def levels(series: Series) -> Sequence[Level]:
        return levels_of(await records.of_stat(series.stat.name), series)

    return levels


def levels_of(alerts: Sequence[AlertRecord], series: Series) -> list[Level]:
    """
    Return the limits of a stat's alerts as lines on its chart. That of a counter is its
    share of the window of the alert: a limit of 600 in an hour is 50 in five minutes.

    :param alerts: the alerts of the stat.
    :param series: what the chart shows.
    """
    levels = []
    step = series.timeframe.interval
    for record in alerts:
        alert = record.alert
        if alert.threshold is None:
            continue
        # The chart writes the height of the line after the text.
        limit, window = alert.threshold, WINDOWS[alert.time_window]
        title = WINDOW_TITLES[alert.time_window]
        text = f"alert over {title}: {alert.operator}"
        if series.stat.counter and step != window:
            limit = limit * step.longest / window.longest
            operator = "more than" if alert.operator == "greater than" else "less than"
            text = (
                f"alert: {operator} {number(alert.threshold)} in {title}; in "
                f"{step.title} that is"
            )
        levels.append(Level(limit, text))
    return levels[:MAX_LEVELS]
