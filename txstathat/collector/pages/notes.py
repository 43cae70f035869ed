"""
Notes: comments on stats, and deploy marks, which are notes on no stat.
"""

from __future__ import annotations

from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.archive.records.comments import GENERAL, MAX_TEXT, Comment
from txstathat.collector.archive.stats import Stat
from txstathat.collector.pages.forms.forms import (
    Form,
    FormPage,
    WrongField,
    button_form,
    labelled,
    message_of,
    unknown_form,
)
from txstathat.collector.pages.forms.suggestions import SUGGESTIONS, suggestions
from txstathat.collector.pages.frame.arguments import argument
from txstathat.collector.pages.frame.flash import Done
from txstathat.collector.pages.frame.formatting import isolated, minute
from txstathat.collector.pages.frame.layout import frame
from txstathat.errors import InvalidPoint
from txstathat.points.names import MAX_NAME

__all__ = ["PAGE", "NotesPage"]

#: How many notes the page shows, the newest ones.
PAGE = 200


class NotesPage(FormPage):
    """
    The page at ``/notes``.
    """

    error_title = "Can't show the notes"

    async def show(self, request: Request, form: Form) -> Tag:
        """
        Show the form, and the newest notes.
        """
        if not form.values:
            form = Form({"stat": argument(request, "stat")})
        notes = await self._newest()
        rows = [_row(stat, comment) for stat, comment in notes]
        content: list[Tag] = [
            tags.h1("Notes"),
            tags.p(
                "Charts show them. A note without a stat, such as “version 2.3 "
                "deployed”, is on all charts."
            ),
            _form(form),
            await suggestions(self._archive),
        ]
        content.append(
            tags.ul(*rows, class_="notes")
            if rows
            else tags.p("There are no notes yet.", class_="hint")
        )
        return frame("Notes", *content, section="/notes")

    async def _newest(self) -> list[tuple[Stat | None, Comment]]:
        """
        The newest notes, each with its stat.
        """
        notes = await self._archive.notes.all()
        ids = [id for id in notes if id != GENERAL]
        stats = {stat.id: stat for stat in await self._archive.known(ids)}
        found: list[tuple[Stat | None, Comment]] = []
        for id, comments in notes.items():
            # Those on a stat in the trash come back with it.
            if id == GENERAL or id in stats:
                found += [(stats.get(id), comment) for comment in comments]
        found.sort(key=lambda one: one[1].time, reverse=True)
        return found[:PAGE]

    async def take(self, request: Request, form: Form) -> Done:
        """
        Add a note, or delete one.
        """
        if form["action"] == "delete":
            stat = None
            if form["id"]:
                (stat,) = await self._archive.find([form["id"]])
            await self._archive.notes.delete(stat, form["note"])
            return Done("/notes", "Deleted the note")
        if form["action"] != "add":
            raise unknown_form()
        stat = await self._archive.stat(form["stat"]) if form["stat"] else None
        if form["stat"] and stat is None:
            raise WrongField("stat", f"there is no stat named {form['stat']!r}")
        try:
            await self._archive.comment(stat, form["text"].strip())
        except InvalidPoint as error:
            raise WrongField("text", str(error)) from None
        return Done("/notes", "Added the note")


def _form(form: Form) -> Tag:
    return tags.form(
        message_of(form),
        labelled(form, "text", "Note", longest=MAX_TEXT, required=True),
        labelled(
            form,
            "stat",
            "Stat",
            hint="Optional. Without a stat the note is on all charts.",
            longest=MAX_NAME,
            spellcheck="false",
            list=SUGGESTIONS,
        ),
        tags.button("Add", type="submit", name="action", value="add"),
        method="post",
        action="/notes",
        class_="panel",
    )


def _row(stat: Stat | None, comment: Comment) -> Tag:
    where: Tag = tags.span("all stats")
    if stat is not None:
        where = tags.a(isolated(stat.name), href=f"/stats/{stat.id}")
    id = "" if stat is None else stat.id
    about = f"the note {comment.text}"
    return tags.li(
        tags.div(
            isolated(comment.text),
            tags.div(minute(comment.time), " · ", where, class_="hint"),
            class_="row-title",
        ),
        button_form("/notes", "delete", "Delete", about, id=id, note=comment.id),
    )
