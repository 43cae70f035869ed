"""
The page that changes a stat: its name, unit and description; and deletes it.
"""

from __future__ import annotations

from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.archive.records.details import (
    MAX_DESCRIPTION,
    MAX_UNIT,
    Details,
    check_details,
)
from txstathat.collector.archive.records.trash import TRASH_SECONDS
from txstathat.collector.archive.stats import Stat
from txstathat.collector.errors import Refusal
from txstathat.collector.pages.forms.forms import (
    Form,
    FormPage,
    WrongField,
    button_form,
    labelled,
    message_of,
    unknown_form,
)
from txstathat.collector.pages.frame.flash import Done
from txstathat.collector.pages.frame.formatting import isolated
from txstathat.collector.pages.frame.layout import TENDING_FILES, frame
from txstathat.errors import InvalidPoint
from txstathat.points.names import MAX_NAME, check_name

__all__ = ["StatEdit"]


class StatEdit(FormPage):
    """
    The page at ``/stats/ID/edit``.
    """

    error_title = "Can't change this stat"

    async def show(self, request: Request, form: Form) -> Tag:
        (stat,) = await self._archive.find([self._id])
        if "name" not in form.values:
            details = await self._archive.details.read(stat)
            form = Form(
                {
                    "name": stat.name,
                    "unit": details.unit,
                    "description": details.description,
                },
                form.error,
            )
        path = f"/stats/{stat.id}"
        return frame(
            f"Edit {stat.name}",
            tags.p(tags.a("← ", isolated(stat.name), href=path), class_="back"),
            tags.h1("Edit this stat"),
            message_of(form),
            _details_form(form, f"{path}/edit"),
            _delete_form(stat, f"{path}/edit"),
            section="/",
            files=TENDING_FILES,
        )

    async def take(self, request: Request, form: Form) -> Done:
        """
        Change the stat, or put it in the trash.
        """
        if form["action"] == "delete":
            stat = await self._archive.delete(self._id)
            return Done("/trash", "Moved", stat.name, " to the trash.")
        if form["action"] != "save":
            raise unknown_form()
        (stat,) = await self._archive.find([self._id])
        details = Details(form["unit"].strip(), form["description"].strip())
        try:
            check_details(details)
            name = check_name(form["name"], "name")
            if name != stat.name:
                stat = await self._archive.rename(stat.id, name)
        except InvalidPoint as error:
            raise WrongField(error.field, str(error)) from None
        except Refusal as error:
            if error.status == 409:
                raise WrongField("name", error.msg) from None
            raise
        await self._archive.details.change(
            stat, unit=details.unit, description=details.description
        )
        return Done(f"/stats/{stat.id}", "Saved", stat.name)


def _details_form(form: Form, path: str) -> Tag:
    return tags.form(
        labelled(
            form,
            "name",
            "Name",
            hint="A point that is sent under the old name makes a new stat. Boards, "
            "alerts, notes and links show the new name.",
            longest=MAX_NAME,
            required=True,
            spellcheck="false",
        ),
        labelled(
            form,
            "unit",
            "Unit",
            hint="Such as ms, GB or EUR.",
            longest=MAX_UNIT,
            spellcheck="false",
            class_="short",
        ),
        labelled(
            form,
            "description",
            "Description",
            hint="What it counts or measures.",
            longest=MAX_DESCRIPTION,
        ),
        tags.button("Save", type="submit", name="action", value="save"),
        method="post",
        action=path,
        class_="panel",
    )


def _delete_form(stat: Stat, path: str) -> Tag:
    return tags.section(
        tags.h2("Delete"),
        tags.p(
            "It goes to the trash, where it can be restored for "
            f"{TRASH_SECONDS // 3600} hours. A point that is sent under its name "
            "restores it, too."
        ),
        button_form(path, "delete", "Move to the trash", stat.name),
        class_="panel",
    )
