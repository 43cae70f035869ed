"""
The calls for the trash: ``/x/TOKEN/trash`` and ``/a1/trash``.

They are this package's own; StatHat's API has none.
"""

from __future__ import annotations

from typing import Any

from twisted.web.server import Request

from txstathat.collector.api.parameters import Parameters, no_path, one_part
from txstathat.collector.archive.archive import Archive

__all__ = ["TrashApi"]


class TrashApi:
    """
    The calls at ``trash``.

    :param archive: the stats.

    :ivar methods: for :meth:`txstathat.collector.api.export.ExportApi.add`.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self.methods = {"GET": self._get, "POST": self._post, "DELETE": self._delete}

    async def _get(self, request: Request) -> Any:
        Parameters(request, ())
        no_path(request, "read /trash")
        return [
            {
                "id": each.id,
                "name": each.name,
                "deleted_at": each.deleted_at,
                "until": each.until,
            }
            for each in await self._archive.trash()
        ]

    async def _post(self, request: Request) -> Any:
        stat = await self._archive.restore_id(_only(request))
        return {"msg": "stat restored.", "name": stat.name}

    async def _delete(self, request: Request) -> Any:
        name = await self._archive.purge(_only(request))
        return {"msg": "stat deleted for good.", "name": name}


def _only(request: Request) -> str:
    Parameters(request, ())
    return one_part(request, "a stat in the trash is at /trash/ID")
