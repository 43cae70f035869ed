"""
The page of the keys: it lists, makes and revokes them.
"""

from __future__ import annotations

from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.auth.key_record import KINDS, Key, KeyRefused
from txstathat.collector.auth.keys import MAX_KEYS, REFRESH_SECONDS
from txstathat.collector.errors import Refusal
from txstathat.collector.pages.forms.confirmation import confirmation, confirmation_link
from txstathat.collector.pages.forms.forms import (
    Form,
    FormPage,
    WrongField,
    choice,
    labelled,
    message_of,
    unknown_form,
)
from txstathat.collector.pages.frame.arguments import argument
from txstathat.collector.pages.frame.flash import Done
from txstathat.collector.pages.frame.formatting import day, isolated, minute, plural
from txstathat.collector.pages.frame.layout import TENDING_FILES, frame
from txstathat.collector.pages.frame.paths import public_url
from txstathat.collector.pages.frame.tables import ACTIONS, table
from txstathat.collector.pages.tending.snippets import snippets
from txstathat.errors import InvalidPoint
from txstathat.points.names import MAX_NAME

__all__ = ["MAX_SHOWN", "KeysPage"]

#: How many keys the page shows. "txstathat keys list" shows all.
MAX_SHOWN = 200

_KEYS = "/keys"
_USES = {
    "ez": "EZ key: to send to any stat",
    "user": "User key: to send with the Classic API",
    "access": "Access token: to read, and to change stats and alerts",
    "read": "Read-only token: to read, and to change nothing",
}


class KeysPage(FormPage):
    """
    The page at ``/keys``.
    """

    error_title = "Can't show the keys"

    async def show(self, request: Request, form: Form) -> Tag:
        """
        List the keys, and show the form that makes one. If the query names a key, ask
        whether to revoke it.
        """
        found = await self._parts.keys.all()
        revoked = argument(request, "revoke")
        if revoked:
            return _ask(form, revoked, found)
        return frame(
            "Keys",
            tags.h1("Keys"),
            tags.p(
                "Who may send points, and who may read stats. Only hashes of keys are "
                "stored: a key is shown once, when it is made."
            ),
            message_of(form),
            _table(found[:MAX_SHOWN]),
            _more(len(found)),
            _new_form(form),
            section=_KEYS,
            files=TENDING_FILES,
        )

    async def take(self, request: Request, form: Form) -> Done | Tag:
        """
        Make a key, and show it this once; or revoke one.
        """
        if form["action"] == "revoke":
            try:
                await self._parts.keys.revoke(form["key"])
            except KeyRefused as error:
                raise Refusal(404, str(error)) from None
            return Done(_KEYS, "Revoked the key", form["key"])
        if form["action"] != "create":
            raise unknown_form()
        kind, name = form["kind"], form["name"].strip()
        if kind not in _USES:
            raise WrongField("kind", "choose a kind from the list")
        try:
            key = await self._parts.keys.add(kind, name)
        except (KeyRefused, InvalidPoint) as error:
            raise WrongField("name", str(error)) from None
        return _made(kind, name, key, public_url(request))


def _ask(form: Form, name: str, keys: list[Key]) -> Tag:
    if name not in {key.name for key in keys}:
        raise Refusal(404, "there is no such key: it may have been revoked")
    return confirmation(
        form,
        ("Revoke the key ", isolated(name)),
        "Programs that use it are refused from then on, and sessions that began with "
        "it end. This cannot be undone.",
        "Revoke the key",
        "revoke",
        path=_KEYS,
        back=("Keys", _KEYS),
        section=_KEYS,
        key=name,
    )


def _table(keys: list[Key]) -> Tag:
    if not keys:
        return tags.p("There are no keys.", class_="hint")
    heads = ("Name", "Kind", "Made", ACTIONS)
    return table("Keys", heads, map(_row, keys), wide="Made")


def _row(key: Key) -> Tag:
    kind: list[Tag | str] = [KINDS[key.kind]]
    if key.stat:
        kind.append(tags.div("of ", isolated(key.stat), class_="hint"))
    made = tags.span(day(key.created_at), title=minute(key.created_at))
    return tags.tr(
        tags.th(isolated(key.name), scope="row"),
        tags.td(*kind),
        tags.td(made, class_="wide"),
        tags.td(confirmation_link("Revoke", _KEYS, key.name, revoke=key.name)),
    )


def _more(number: int) -> Tag:
    if number <= MAX_SHOWN:
        return tags.p(
            "A revoked key works for up to "
            f"{plural(int(REFRESH_SECONDS), 'second')} more. Sessions that began with "
            "a token end when it is revoked.",
            class_="hint",
        )
    return tags.p(
        f"{plural(number - MAX_SHOWN, 'more key')}: txstathat keys list shows all of "
        f"them. There can be {MAX_KEYS:,}.",
        class_="hint",
    )


def _new_form(form: Form) -> Tag:
    return tags.form(
        tags.h2("New key"),
        choice(form, "kind", "Kind", _USES),
        labelled(
            form,
            "name",
            "Name",
            hint="Who or what uses it, such as web servers.",
            longest=MAX_NAME,
            required=True,
        ),
        tags.button("Make the key", type="submit", name="action", value="create"),
        method="post",
        action=_KEYS,
        class_="panel",
    )


def _made(kind: str, name: str, key: str, url: str) -> Tag:
    examples: list[Tag] = []
    for title, text in snippets(kind, key, url).items():
        examples += [tags.h2(title), tags.pre(tags.code(text), tabindex="0")]
    return frame(
        "A new key",
        tags.p(tags.a("← Keys", href=_KEYS), class_="back"),
        tags.h1("A new key"),
        tags.p(f"The {KINDS[kind]} ", isolated(name), ":"),
        tags.pre(tags.code(key, id="new-key"), tabindex="0"),
        tags.p(
            "Copy it now: the collector stores only its hash, and cannot show it "
            "again.",
            role="alert",
            class_="message",
        ),
        *examples,
        section=_KEYS,
        files=TENDING_FILES,
    )
