"""
The calls that rename, describe, restore and purge stats, which a collector has and
StatHat has not.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail

from txstathat.errors import InvalidPoint
from txstathat.export.answers import each_of, read_nothing, read_stat, read_trashed
from txstathat.export.models import StatInfo, TrashedStat
from txstathat.export.requests import ExportCalls
from txstathat.points.names import check_name

__all__ = ["TendingCalls"]


class TendingCalls(ExportCalls):
    """
    The calls that change stats, and those for the trash.
    """

    def change_stat(
        self,
        id: str,
        *,
        name: str | None = None,
        unit: str | None = None,
        description: str | None = None,
    ) -> Deferred[StatInfo]:
        """
        Rename a stat of a collector, or change its unit or its description.

        :param id: the stat's id. A renamed stat has another one.
        :param name: its new name, which no other stat has.
        :param unit: the unit of its amounts, such as ``'ms'``; empty for none.
        :param description: what it counts or measures; empty for none.
        :returns: a Deferred that fires with the
            :class:`~txstathat.export.models.StatInfo` of the changed stat.
        """
        fields = {"name": name, "unit": unit, "description": description}
        try:
            if name is not None:
                check_name(name, "name")
        except InvalidPoint:
            return fail()
        given = {key: text for key, text in fields.items() if text is not None}
        return self._post(read_stat, given, "stats", id)

    def trash(self) -> Deferred[list[TrashedStat]]:
        """
        List the stats in the trash of a collector.

        :returns: a Deferred that fires with a list of
            :class:`~txstathat.export.models.TrashedStat`.
        """
        return self._get(each_of(read_trashed), "trash")

    def restore(self, id: str) -> Deferred[None]:
        """
        Take a stat out of the trash of a collector.

        :param id: the stat's id.
        :returns: a Deferred that fires with ``None``.
        """
        return self._post(read_nothing, {}, "trash", id)

    def purge(self, id: str) -> Deferred[None]:
        """
        Delete a stat in the trash of a collector for good.

        :param id: the stat's id.
        :returns: a Deferred that fires with ``None``.
        """
        return self._delete("trash", id)
