"""
The page that makes, lists and revokes shared links.
"""

from __future__ import annotations

from html import escape

from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.archive.stats import stat_id
from txstathat.collector.auth.shares import Share
from txstathat.collector.errors import Refusal
from txstathat.collector.pages.forms.confirmation import confirmation, confirmation_link
from txstathat.collector.pages.forms.forms import (
    Form,
    FormPage,
    message_of,
    unknown_form,
)
from txstathat.collector.pages.frame.arguments import argument
from txstathat.collector.pages.frame.flash import Done
from txstathat.collector.pages.frame.formatting import day, isolated
from txstathat.collector.pages.frame.layout import frame
from txstathat.collector.pages.frame.paths import public_url
from txstathat.collector.pages.frame.tables import ACTIONS, table
from txstathat.printable import printable

__all__ = ["SharedLinks"]

_LINKS = "/links"


class SharedLinks(FormPage):
    """
    The page at ``/links``.
    """

    error_title = "Can't show the shared links"

    async def show(self, request: Request, form: Form) -> Tag:
        """
        List the links. If the query names a stat or a board, show a button that makes a
        link to it; if it names a link, ask whether to revoke that.
        """
        if revoked := argument(request, "revoke"):
            return await self._ask(form, revoked)
        kind = "board" if argument(request, "board") else "stat"
        id = argument(request, kind)
        new = tags.transparent()
        if id:
            new = _create_form(kind, id, await self._title(kind, id))
        shares = await self._parts.shares.all()
        boards = await self._parts.boards.all() if shares else {}
        titles = {id: board.title for id, board in boards.items()}
        rows = [_row(id, share, titles) for id, share in shares.items()]
        return frame(
            "Shared links",
            tags.h1("Shared links"),
            tags.p(
                "Whoever has such a link sees one stat or one board, and nothing else, "
                "without signing in."
            ),
            message_of(form),
            new,
            table("Shared links", ("What it shows", "Made", ACTIONS), rows)
            if rows
            else tags.p(
                "There are no shared links. ",
                tags.em("Share"),
                " on the page of a stat or a board makes one.",
                class_="hint",
            ),
            section="/boards",
        )

    async def take(self, request: Request, form: Form) -> Done | Tag:
        """
        Make a link, and show it this once; or revoke one.
        """
        if form["action"] == "revoke":
            title = await self._shared_title(form["link"])
            await self._parts.shares.revoke(form["link"])
            return Done(_LINKS, "Revoked the link to", title)
        kind, id = form["kind"], form["id"]
        if form["action"] != "create" or kind not in ("stat", "board"):
            raise unknown_form()
        title = await self._title(kind, id)
        # A stat is named, since its id says nothing to people who read the store.
        secret = await self._parts.shares.create(kind, title if kind == "stat" else id)
        return _made(f"{public_url(request)}/shared/{secret}", title)

    async def _ask(self, form: Form, id: str) -> Tag:
        return confirmation(
            form,
            ("Revoke the link to ", isolated(await self._shared_title(id))),
            "Whoever opens it from then on sees nothing. This cannot be undone.",
            "Revoke the link",
            "revoke",
            path=_LINKS,
            back=("Shared links", _LINKS),
            section="/boards",
            link=id,
        )

    async def _shared_title(self, id: str) -> str:
        """
        Return the title of what a link shows.
        """
        share = (await self._parts.shares.all()).get(id)
        if share is None:
            raise Refusal(404, "there is no such link: it may have been revoked")
        if share.kind != "board":
            return share.target
        board = (await self._parts.boards.all()).get(share.target)
        return "a board that is deleted" if board is None else board.title

    async def _title(self, kind: str, id: str) -> str:
        if kind == "board":
            return (await self._parts.boards.get(id)).title
        (stat,) = await self._archive.find([id])
        return stat.name


def _create_form(kind: str, id: str, title: str) -> Tag:
    return tags.form(
        tags.p("Make a link that shows ", isolated(title), "."),
        tags.input(type="hidden", name="kind", value=kind),
        tags.input(type="hidden", name="id", value=id),
        tags.button("Make a link", type="submit", name="action", value="create"),
        method="post",
        action=_LINKS,
        class_="panel",
    )


def _row(id: str, share: Share, titles: dict[str, str]) -> Tag:
    is_board = share.kind == "board"
    title = titles.get(share.target, "") if is_board else share.target
    path = f"/boards/{share.target}" if is_board else f"/stats/{stat_id(title)}"
    name = tags.a(isolated(title), href=path) if title else "a board that is deleted"
    return tags.tr(
        tags.th(name, " ", tags.small(share.kind), scope="row"),
        tags.td(day(share.created_at)),
        tags.td(confirmation_link("Revoke", _LINKS, f"the link to {title}", revoke=id)),
    )


def _made(url: str, title: str) -> Tag:
    embed = (
        f'<iframe src="{url}/embed" title="{escape(printable(title))}" width="600" '
        'height="400"></iframe>'
    )
    return frame(
        "A shared link",
        tags.h1("A shared link"),
        tags.p("This link shows ", isolated(title), " to everybody who has it:"),
        tags.pre(tags.code(url, id="shared-link"), tabindex="0"),
        tags.p("To show it inside a page of another site:"),
        tags.pre(tags.code(embed, id="shared-embed"), tabindex="0"),
        tags.p(
            "Copy them now: the collector stores only a hash of the link, and cannot "
            "show it again.",
            role="alert",
            class_="message",
        ),
        tags.p(tags.a("All shared links", href=_LINKS)),
        section="/boards",
    )
