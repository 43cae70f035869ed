"""
The page of settings: the version, how long detail is stored, sizes, and sessions.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.alerts.records import MAX_ALERTS
from txstathat.collector.archive.listing import KINDS
from txstathat.collector.auth.key_record import hash_key
from txstathat.collector.auth.keys import MAX_KEYS
from txstathat.collector.auth.sessions import (
    MAX_SESSIONS,
    SESSION_SECONDS,
    Session,
)
from txstathat.collector.errors import Refusal
from txstathat.collector.pages.access.sign_in import ALL_ENDED, OWN_ENDED
from txstathat.collector.pages.forms.confirmation import confirmation, confirmation_link
from txstathat.collector.pages.forms.forms import (
    Form,
    FormPage,
    button_form,
    message_of,
    unknown_form,
)
from txstathat.collector.pages.frame.arguments import argument
from txstathat.collector.pages.frame.cookies import session_of
from txstathat.collector.pages.frame.flash import Done
from txstathat.collector.pages.frame.formatting import (
    ago,
    isolated,
    minute,
    plural,
    size,
)
from txstathat.collector.pages.frame.layout import TENDING_FILES, frame
from txstathat.collector.pages.frame.tables import ACTIONS, table
from txstathat.stores.listing import ListQuery

__all__ = ["SettingsPage"]

_SETTINGS = "/settings"


class SettingsPage(FormPage):
    """
    The page at ``/settings``.
    """

    error_title = "Can't show the settings"

    async def show(self, request: Request, form: Form) -> Tag:
        """
        Show the settings; or ask whether to end all sessions, if the query says so.
        """
        if argument(request, "end"):
            return _ask(form)
        return frame(
            "Settings",
            tags.h1("Settings"),
            message_of(form),
            tags.h2("Server"),
            _facts({"Version": _version(), **await self._sizes()}),
            tags.h2("How long detail is stored"),
            _facts(_retention(self._archive.retention)),
            tags.p(
                "The option --keep of txstathat serve sets it, such as --keep "
                "hour=60d. Totals are stored for ever.",
                class_="hint",
            ),
            tags.h2("Sessions"),
            await self._session_table(hash_key(session_of(request))),
            section=_SETTINGS,
            files=TENDING_FILES,
        )

    async def take(self, request: Request, form: Form) -> Done:
        """
        End a session, or all of them.
        """
        if form["action"] == "end-all":
            await self._parts.sessions.end_all()
            return ALL_ENDED
        if form["action"] != "end":
            raise unknown_form()
        if not await self._parts.sessions.end(form["session"]):
            raise Refusal(404, "there is no such session: it may have ended")
        if form["session"] == hash_key(session_of(request)):
            return OWN_ENDED
        return Done(_SETTINGS, "Ended the session")

    async def _sizes(self) -> dict[str, str]:
        store = self._archive.store
        page = await self._archive.listing.page(ListQuery(KINDS, limit=1))
        keys, alerts = (
            await self._parts.keys.all(),
            await self._parts.alerting.records.all(),
        )
        return {
            "Store": size(await store.size()),
            "Stats": f"{page.total:,} of {self._archive.max_stats:,}",
            "Alerts": f"{len(alerts):,} of {MAX_ALERTS:,}",
            "Keys": f"{len(keys):,} of {MAX_KEYS:,}",
        }

    async def _session_table(self, own: str) -> Tag:
        now = self._archive.store.clock.seconds()
        names = await self._parts.keys.names()
        sessions = await self._parts.sessions.all()
        rows = [
            _session_row(id, each, names, now, is_own=id == own)
            for id, each in sessions.items()
        ]
        return tags.div(
            table(
                "Sessions", ("Signed in", "Token", "Ends", ACTIONS), rows, wide="Ends"
            ),
            tags.div(
                tags.p(
                    f"{plural(len(sessions), 'session')}; there can be "
                    f"{MAX_SESSIONS}. If you end all, yours ends too, and so do links "
                    "that were not used yet.",
                    class_="hint",
                ),
                confirmation_link("End all sessions", _SETTINGS, end="all"),
                class_="below-table",
            ),
        )


def _ask(form: Form) -> Tag:
    return confirmation(
        form,
        ("End all sessions",),
        "Everybody has to sign in again, you too, and links that were not used yet do "
        "not work any more.",
        "End all sessions",
        "end-all",
        path=_SETTINGS,
        back=("Settings", _SETTINGS),
        section=_SETTINGS,
    )


def _version() -> str:
    try:
        return version("txStatHat")
    except PackageNotFoundError:
        return "unknown: the package is not installed"


def _facts(facts: Mapping[str, str]) -> Tag:
    rows = (tags.div(tags.dt(name), tags.dd(text)) for name, text in facts.items())
    return tags.dl(*rows, class_="settings")


def _retention(retention: Mapping[str, float | None]) -> dict[str, str]:
    return {
        f"{scale.capitalize()}s": "for ever" if seconds is None else _duration(seconds)
        for scale, seconds in retention.items()
    }


def _duration(seconds: float) -> str:
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.4g} {unit}s"
    return f"{seconds:,.4g} seconds"


def _session_row(
    id: str, session: Session, names: Mapping[str, str], now: float, *, is_own: bool
) -> Tag:
    began = session.until - SESSION_SECONDS
    known = [names[token] for token in session.tokens if token in names]
    cell = tags.td(isolated(known[0])) if known else tags.td("none")
    if len(known) > 1:
        # It began with a one-time link, and ends with the last of these tokens.
        cell(f" and {plural(len(known) - 1, 'other')}")
    first = tags.th(tags.span(ago(began, now), title=minute(began)), scope="row")
    if is_own:
        first(" ", tags.small("this browser", class_="kind"))
    end = button_form(
        _SETTINGS, "end", "End", f"the session of {minute(began)}", session=id
    )
    return tags.tr(
        first, cell, tags.td(minute(session.until), class_="wide"), tags.td(end)
    )
