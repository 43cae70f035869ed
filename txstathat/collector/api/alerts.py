"""
The calls for alerts, as in StatHat's API: ``/x/TOKEN/alerts`` and ``/a1/alerts``.
"""

from __future__ import annotations

from typing import Any

from twisted.web.server import Request

from txstathat.collector.alerts.model import parse_alert
from txstathat.collector.alerts.records import AlertRecord, AlertRecords
from txstathat.collector.alerts.webhooks import Webhooks
from txstathat.collector.api.parameters import Parameters, path_of
from txstathat.collector.archive.archive import Archive
from txstathat.collector.errors import Refusal

__all__ = ["AlertsApi"]


class AlertsApi:
    """
    The calls at ``alerts``.

    :param archive: the stats.
    :param records: the alerts.
    :param webhooks: checks the webhooks of new alerts.

    :ivar methods: for :meth:`txstathat.collector.api.export.ExportApi.add`.
    """

    def __init__(
        self, archive: Archive, records: AlertRecords, webhooks: Webhooks
    ) -> None:
        self._archive = archive
        self._records = records
        self._webhooks = webhooks
        self.methods = {"GET": self._get, "POST": self._post, "DELETE": self._delete}

    async def _get(self, request: Request) -> Any:
        Parameters(request, ())
        path = path_of(request)
        if path:
            return _to_json(await self._records.get(_only(path)))
        return [_to_json(record) for record in (await self._records.all()).values()]

    async def _post(self, request: Request) -> Any:
        if path_of(request):
            raise Refusal(404, "post to /alerts")
        fields = Parameters(request, None).fields
        if "stat_id" not in fields:
            raise Refusal(400, "stat_id: is missing; send the fields as a form")
        (stat,) = await self._archive.find([fields["stat_id"]])
        alert = parse_alert(fields, stat, self._archive.retention, self._webhooks.check)
        await self._records.create(alert)
        return _to_json(AlertRecord(alert))

    async def _delete(self, request: Request) -> Any:
        Parameters(request, ())
        await self._records.delete(_only(path_of(request)))
        return {"msg": "alert deleted."}


def _to_json(record: AlertRecord) -> dict[str, Any]:
    return {**record.alert.to_json(), "firing": record.state.firing}


def _only(path: list[str]) -> str:
    if len(path) != 1:
        raise Refusal(404, "an alert is at /alerts/ID")
    return path[0]
