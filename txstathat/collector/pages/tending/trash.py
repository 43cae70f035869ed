"""
The page of the trash: stats that can be restored, or deleted for good.
"""

from __future__ import annotations

from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.archive.records.trash import TRASH_SECONDS, DeletedStat
from txstathat.collector.errors import Refusal
from txstathat.collector.pages.forms.confirmation import confirmation, confirmation_link
from txstathat.collector.pages.forms.forms import (
    Form,
    FormPage,
    button_form,
    message_of,
    unknown_form,
)
from txstathat.collector.pages.frame.flash import Done
from txstathat.collector.pages.frame.formatting import ago, isolated, minute
from txstathat.collector.pages.frame.layout import TENDING_FILES, frame
from txstathat.collector.pages.frame.tables import ACTIONS, table

__all__ = ["TrashPage"]

_TRASH = "/trash"


class TrashPage(FormPage):
    """
    The page at ``/trash``.
    """

    error_title = "Can't show the trash"

    def getChild(self, path: bytes, request: Request) -> Resource:
        """
        Find the page that deletes a stat for good, by the stat's id.
        """
        if path:
            id = path.decode("ascii", "replace")
            return _Purge(self._parts, id)
        return super().getChild(path, request)

    async def show(self, request: Request, form: Form) -> Tag:
        now = self._archive.store.clock.seconds()
        rows = [_row(each, now) for each in await self._archive.trash()]
        deleted = table(
            "Deleted stats",
            ("Name", "Deleted", "Gone for good", ACTIONS),
            rows,
            wide="Gone for good",
            kind="stacked",
        )
        return frame(
            "Trash",
            tags.h1("Trash"),
            message_of(form),
            tags.p(
                f"A deleted stat stays here for {TRASH_SECONDS // 3600} hours. A point "
                "that is sent under its name restores it, with all its data."
            ),
            deleted if rows else tags.p("The trash is empty.", class_="hint"),
            section=_TRASH,
            files=TENDING_FILES,
        )

    async def take(self, request: Request, form: Form) -> Done:
        if form["action"] != "restore":
            raise unknown_form()
        stat = await self._archive.restore_id(form["id"])
        return Done(f"/stats/{stat.id}", "Restored", stat.name)


class _Purge(FormPage):
    """
    The page that deletes a stat for good, at ``/trash/ID``.
    """

    error_title = "Can't delete this stat"

    async def show(self, request: Request, form: Form) -> Tag:
        found = [each for each in await self._archive.trash() if each.id == self._id]
        if not found:
            raise form.error or Refusal(404, "this stat is not in the trash")
        name = found[0].name
        return confirmation(
            form,
            ("Delete ", isolated(name), " for good"),
            "Nothing of it stays in the store, nor in exports and backups that are "
            "made from then on: no data, notes, alerts, tiles or stat keys. A new "
            "stat with its name may be of another kind.",
            "Delete for good",
            "purge",
            path=f"{_TRASH}/{self._id}",
            back=("Trash", _TRASH),
            section=_TRASH,
        )

    async def take(self, request: Request, form: Form) -> Done:
        if form["action"] != "purge":
            raise unknown_form()
        name = await self._archive.purge(self._id)
        return Done(_TRASH, "Deleted", name, " for good.")


def _row(stat: DeletedStat, now: float) -> Tag:
    purge = confirmation_link("Delete for good", f"{_TRASH}/{stat.id}", stat.name)
    return tags.tr(
        tags.th(isolated(stat.name), scope="row"),
        tags.td(
            tags.span(ago(stat.deleted_at, now), title=minute(stat.deleted_at)),
            class_="when",
        ),
        tags.td(minute(stat.until), class_="wide"),
        tags.td(
            tags.div(
                button_form(_TRASH, "restore", "Restore", stat.name, id=stat.id),
                purge,
                class_="row-actions",
            )
        ),
    )
