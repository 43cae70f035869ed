"""
The calls for alerts, as in StatHat's API: ``/x/TOKEN/alerts`` and ``/a1/alerts``.

StatHat has no calls to edit, silence, acknowledge and test an alert, and no history.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.web.server import Request

from txstathat.collector.alerts.alert_record import AlertRecord
from txstathat.collector.alerts.history import MAX_SILENCE, target_title
from txstathat.collector.alerts.parts import AlertParts
from txstathat.collector.api.parameters import Parameters, one_part, path_of
from txstathat.collector.errors import Refusal

__all__ = ["NO_TARGET", "AlertsApi"]

#: The warning about an alert whose notices reach nobody.
NO_TARGET = (
    "nobody will be notified: no channel is set up for this alert; add one with "
    "txstathat channels add"
)


class AlertsApi:
    """
    The calls at ``alerts``.

    :param parts: the stats, the alerts, and where their notices go.

    :ivar methods: for :meth:`txstathat.collector.api.export.ExportApi.add`.
    """

    def __init__(self, parts: AlertParts) -> None:
        self._parts = parts
        self._records = parts.records
        self._delivery = parts.delivery
        self.methods = {"GET": self._get, "POST": self._post, "DELETE": self._delete}
        self._verbs: dict[str, Callable[[Request, str], Awaitable[Any]]] = {
            "silence": self._silence,
            "acknowledge": self._acknowledge,
            "test": self._test,
        }

    async def _get(self, request: Request) -> Any:
        Parameters(request, ())
        path = path_of(request)
        if len(path) == 2 and path[1] == "history":
            record = await self._records.get(path[0])
            return [episode.to_json() for episode in record.episodes]
        if path:
            return self._to_json(await self._records.get(_id(request)))
        found = (await self._records.all()).values()
        return [self._to_json(record) for record in found]

    async def _post(self, request: Request) -> Any:
        path = path_of(request)
        if not path:
            return await self._create(request)
        if len(path) == 1:
            return await self._edit(request, path[0])
        if len(path) != 2 or path[1] not in self._verbs:
            raise Refusal(
                404,
                "post to /alerts, /alerts/ID, or /alerts/ID/ and one of "
                f"{', '.join(self._verbs)}",
            )
        return await self._verbs[path[1]](request, path[0])

    async def _create(self, request: Request) -> Any:
        fields = Parameters(request, None).fields
        if "stat_id" not in fields:
            raise Refusal(400, "stat_id: is missing; send the fields as a form")
        (stat,) = await self._parts.archive.find([fields["stat_id"]])
        alert = await self._parts.create(fields, stat)
        return await self._warned(AlertRecord(alert))

    async def _edit(self, request: Request, id: str) -> Any:
        fields = Parameters(request, None).fields
        return await self._warned(await self._parts.edit(id, fields))

    async def _warned(self, record: AlertRecord) -> dict[str, Any]:
        answer = self._to_json(record)
        if not await self._delivery.target_names(record.alert):
            answer["warning"] = NO_TARGET
        return answer

    async def _silence(self, request: Request, id: str) -> Any:
        seconds = Parameters(request, ("seconds",)).number(
            "seconds", int(MAX_SILENCE) + 1
        )
        if seconds is None:
            raise Refusal(400, "seconds: is missing; 0 ends a silence")
        return self._to_json(await self._records.silence(id, seconds or None))

    async def _acknowledge(self, request: Request, id: str) -> Any:
        Parameters(request, ())
        return self._to_json(await self._records.acknowledge(id))

    async def _test(self, request: Request, id: str) -> Any:
        Parameters(request, ())
        results = await self._delivery.test(id)
        return [
            {"channel": target_title(name), "error": error or None}
            for name, error in results.items()
        ]

    async def _delete(self, request: Request) -> Any:
        Parameters(request, ())
        await self._records.delete(_id(request))
        return {"msg": "alert deleted."}

    def _to_json(self, record: AlertRecord) -> dict[str, Any]:
        until, error = record.silenced_until(self._records.now()), record.last_error
        return {
            **record.alert.to_json(),
            "firing": record.state.firing,
            "acknowledged": record.is_acknowledged,
            "silenced_until": None if until is None else int(until),
            "channels": list(record.alert.channels),
            "last_error": None if error is None else str(error),
            "webhook": record.alert.webhook_host or None,
        }


def _id(request: Request) -> str:
    return one_part(request, "an alert is at /alerts/ID")
