"""
The calls for alerts. StatHat has those to list, create and delete them; a collector has
all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred, fail

from txstathat.errors import InvalidPoint
from txstathat.export.answers import each_of, read_alert, read_delivery, read_episode
from txstathat.export.models import Alert, AlertEpisode, DeliveryResult
from txstathat.export.requests import ExportCalls
from txstathat.points.amounts import Amount, amount_text
from txstathat.points.names import check_name

__all__ = ["AlertCalls"]


class AlertCalls(ExportCalls):
    """
    The calls for alerts.
    """

    def alerts(self) -> Deferred[list[Alert]]:
        """
        List the account's alerts.

        :returns: a Deferred that fires with a list of
            :class:`~txstathat.export.models.Alert`.
        """
        return self._get(each_of(read_alert), "alerts")

    def alert(self, id: str) -> Deferred[Alert]:
        """
        Look an alert up.

        :param id: the alert's id.
        :returns: a Deferred that fires with its
            :class:`~txstathat.export.models.Alert`.
        """
        return self._get(read_alert, "alerts", id)

    def create_alert(
        self,
        stat_id: str,
        kind: str,
        time_window: str,
        *,
        operator: str | None = None,
        threshold: Amount | None = None,
        percentage: Amount | None = None,
        time_delta: str | None = None,
        channels: Sequence[str] = (),
    ) -> Deferred[Alert]:
        """
        Create an alert. The server checks which options a kind needs
        (https://www.stathat.com/manual/alerts_api), and refuses with
        :class:`~txstathat.errors.StatHatAPIError`.

        :param stat_id: the stat to watch.
        :param kind: ``'value'`` (needs operator and threshold), ``'delta'`` (needs
            operator, percentage and time_delta) or ``'data'`` (no data arrives).
        :param time_window: one of ``5m 1h 3h 1d 1w 1M 1y``.
        :param operator: ``'greater than'``, ``'less than'``; for kind delta also
            ``'different than'``.
        :param threshold: the value to compare with.
        :param percentage: the size of a change, in percent.
        :param time_delta: how far back to compare; like ``time_window``.
        :param channels: the names of the channels that its notices go through, on a
            collector; by default all of them.
        :returns: a Deferred that fires with the new
            :class:`~txstathat.export.models.Alert`. The client does not repeat
            the request when its answer is lost: list the alerts to see whether it was
            created.
        """
        try:
            fields = {
                "stat_id": check_name(stat_id, "stat_id"),
                "kind": check_name(kind, "kind"),
                "time_window": check_name(time_window, "time_window"),
                **_fields(
                    operator, threshold, percentage, time_delta, channels or None
                ),
            }
        except InvalidPoint:
            return fail()
        return self._post(read_alert, fields, "alerts")

    def edit_alert(
        self,
        id: str,
        *,
        time_window: str | None = None,
        operator: str | None = None,
        threshold: Amount | None = None,
        percentage: Amount | None = None,
        time_delta: str | None = None,
        channels: Sequence[str] | None = None,
    ) -> Deferred[Alert]:
        """
        Change an alert of a collector. What is ``None`` stays as it is.

        :param id: the alert's id.
        :param time_window: as for :meth:`create_alert`, like the following.
        :param operator: the comparison.
        :param threshold: the value to compare with.
        :param percentage: the size of a change, in percent.
        :param time_delta: how far back to compare.
        :param channels: the names of the channels that its notices go through; an empty
            list stands for all of them.
        :returns: a Deferred that fires with the changed
            :class:`~txstathat.export.models.Alert`.
        """
        try:
            fields = _fields(operator, threshold, percentage, time_delta, channels)
            if time_window is not None:
                fields["time_window"] = check_name(time_window, "time_window")
        except InvalidPoint:
            return fail()
        return self._post(read_alert, fields, "alerts", id)

    def silence_alert(self, id: str, seconds: int) -> Deferred[Alert]:
        """
        Silence an alert of a collector: it sends no notice that it fires, until then.

        :param id: the alert's id.
        :param seconds: for how long; 0 ends a silence.
        :returns: a Deferred that fires with the
            :class:`~txstathat.export.models.Alert`.
        """
        fields = {"seconds": str(seconds)}
        return self._post(read_alert, fields, "alerts", id, "silence")

    def acknowledge_alert(self, id: str) -> Deferred[Alert]:
        """
        Acknowledge that an alert of a collector fires.

        :param id: the alert's id.
        :returns: a Deferred that fires with the
            :class:`~txstathat.export.models.Alert`.
        """
        return self._post(read_alert, {}, "alerts", id, "acknowledge")

    def test_alert(self, id: str) -> Deferred[list[DeliveryResult]]:
        """
        Send a test message to wherever the notices of an alert of a collector go.

        :param id: the alert's id.
        :returns: a Deferred that fires with a list of
            :class:`~txstathat.export.models.DeliveryResult`; it is empty if they go
            nowhere.
        """
        return self._post(each_of(read_delivery), {}, "alerts", id, "test")

    def alert_history(self, id: str) -> Deferred[list[AlertEpisode]]:
        """
        List the episodes of an alert of a collector, the newest first.

        :param id: the alert's id.
        :returns: a Deferred that fires with a list of
            :class:`~txstathat.export.models.AlertEpisode`.
        """
        return self._get(each_of(read_episode), "alerts", id, "history")

    def delete_alert(self, id: str) -> Deferred[None]:
        """
        Delete an alert.

        :param id: the alert's id.
        :returns: a Deferred that fires with ``None``.
        """
        return self._delete("alerts", id)


def _fields(
    operator: str | None,
    threshold: Amount | None,
    percentage: Amount | None,
    time_delta: str | None,
    channels: Sequence[str] | None,
) -> dict[str, str]:
    fields = {}
    for name, text in (("operator", operator), ("time_delta", time_delta)):
        if text is not None:
            fields[name] = check_name(text, name)
    for name, number in (("threshold", threshold), ("percentage", percentage)):
        if number is not None:
            fields[name] = amount_text(number, name)
    if channels is not None:
        fields["channels"] = ",".join(channels)
    return fields
