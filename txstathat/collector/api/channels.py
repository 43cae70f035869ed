"""
The calls for channels: ``/x/TOKEN/channels``. StatHat has none.
"""

from __future__ import annotations

from typing import Any

from twisted.web.server import Request

from txstathat.collector.api.parameters import Parameters, one_part, path_of
from txstathat.collector.channels.channels import Channels
from txstathat.collector.channels.message import DeliveryFailed
from txstathat.collector.errors import Refusal

__all__ = ["ChannelsApi"]


class ChannelsApi:
    """
    The calls at ``channels``.

    :param channels: the channels.

    :ivar methods: for :meth:`txstathat.collector.api.export.ExportApi.add`.
    """

    def __init__(self, channels: Channels) -> None:
        self._channels = channels
        self.methods = {"GET": self._get, "POST": self._post, "DELETE": self._delete}

    async def _get(self, request: Request) -> Any:
        Parameters(request, ())
        if not path_of(request):
            return await self._channels.list()
        return await self._channels.show(_name(request))

    async def _post(self, request: Request) -> Any:
        path = path_of(request)
        if len(path) == 2 and path[1] == "test":
            Parameters(request, ())
            return await self._test(path[0])
        if len(path) > 1:
            raise Refusal(404, "post to /channels, /channels/NAME or its /test")
        fields = Parameters(request, None).fields
        if path:
            await self._channels.edit(path[0], fields)
            return await self._channels.show(path[0])
        made = await self._channels.create(fields)
        return await self._channels.show(made.name)

    async def _test(self, name: str) -> Any:
        try:
            await self._channels.test(name)
        except DeliveryFailed as error:
            return {"channel": name, "error": str(error)}
        return {"channel": name, "error": None}

    async def _delete(self, request: Request) -> Any:
        Parameters(request, ())
        await self._channels.delete(_name(request))
        return {"msg": "channel deleted."}


def _name(request: Request) -> str:
    return one_part(request, "a channel is at /channels/NAME")
