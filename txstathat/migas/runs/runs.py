"""
Runs: from the first entry into something tracked to the last exit from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater

from txstathat.migas.runs.exit_report import send_in_child
from txstathat.migas.runs.sender import BreadcrumbSender

__all__ = ["COMPLETED", "STARTED", "SUSPENDED", "Run", "Runs", "was_signalled"]

#: The last breadcrumb of a run that ended normally.
COMPLETED = {"status": "C", "status_desc": "Completed"}
#: The last breadcrumb of a run that a signal ended.
SUSPENDED = {"status": "S", "status_desc": "Suspended"}
#: The first breadcrumb of a run.
STARTED = {"status": "R", "status_desc": "Started"}


class Run:
    """
    One run of a project: its first and its last breadcrumb.

    :param sender: sends them.
    :param key: the project and its version.
    :param fields: more fields of both breadcrumbs.
    :param outlives_reactor: whether the run can end after the reactor has stopped. A
        run that began before the reactor started does.
    :param init_ping: whether it has a first breadcrumb.

    :ivar entered: how many entries into the run have no exit yet.
    """

    def __init__(
        self,
        sender: BreadcrumbSender,
        key: tuple[str, str],
        fields: Mapping[str, Any],
        outlives_reactor: bool,
        init_ping: bool = True,
    ) -> None:
        self.entered = 0
        self._sender = sender
        self._key = key
        self._fields = fields
        self._outlives_reactor = outlives_reactor
        self._init_ping = init_ping
        self._ended = False
        self._sent: list[Deferred[Any]] = []
        self._trigger: Any = None

    def begin(self) -> None:
        """
        Send the first breadcrumb, now or when the reactor starts, and make the reactor
        wait for the last one when it stops.
        """
        reactor = self._sender.reactor
        self._trigger = reactor.addSystemEventTrigger(
            "before", "shutdown", self._shutting_down
        )
        if self._init_ping:
            reactor.callWhenRunning(self._send_first)

    def end(self, outcome: Mapping[str, Any]) -> None:
        """
        Send the last breadcrumb. Only the first call does so.

        :param outcome: the fields that describe how the run ended.
        """
        if self._ended:
            return
        self._ended = True
        if was_signalled(self._sender.reactor):
            outcome = SUSPENDED
        if self._sender.reactor.running:
            self._send(outcome)
            done = DeferredList(self._sent)
            done.addCallback(lambda _: self._remove_trigger())
        else:
            self._remove_trigger()
            send_in_child(self._sender, *self._key, {**self._fields, **outcome})

    def end_with_reactor(self) -> None:
        """
        End the run when the reactor stops: its own end will not be seen.
        """
        self._outlives_reactor = False

    def settled(self) -> Deferred[Any]:
        """
        Wait for the breadcrumbs that were sent.

        :returns: a new Deferred that fires when each of them was answered or has
            failed. It does not fail.
        """
        # One turn later: the connection still delivers the answer. A reactor that waits
        # only for this Deferred would close the connection beneath TLS.
        return DeferredList(self._sent).addCallback(
            lambda _: deferLater(self._sender.reactor, 0)
        )

    def _send_first(self) -> None:
        if not self._ended:
            self._send(STARTED)

    def _send(self, outcome: Mapping[str, Any]) -> None:
        project, version = self._key
        sent = self._sender.add_breadcrumb(
            project, version, **{**self._fields, **outcome}
        )
        # ignore_errors=False is for the callers of the client, not for tracking.
        self._sent.append(sent.addErrback(lambda _: None))

    def _shutting_down(self) -> Deferred[Any] | None:
        self._trigger = None
        if not self._outlives_reactor or was_signalled(self._sender.reactor):
            self.end(COMPLETED)
        return self.settled() if self._ended else None

    def _remove_trigger(self) -> None:
        if self._trigger is not None:
            self._sender.reactor.removeSystemEventTrigger(self._trigger)
            self._trigger = None


class Runs:
    """
    The runs of a client that have not ended, at most one for each project and version.
    """

    def __init__(self) -> None:
        self._runs: dict[tuple[str, str], Run] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def enter(
        self,
        sender: BreadcrumbSender,
        key: tuple[str, str],
        fields: Mapping[str, Any],
        outlives_reactor: bool,
        init_ping: bool = True,
    ) -> None:
        """
        Enter a run, and begin it if there is none; the parameters are those of
        :class:`Run`.
        """
        run = self._runs.get(key)
        if run is None:
            run = Run(sender, key, fields, outlives_reactor, init_ping)
            run.begin()
            self._runs[key] = run
        run.entered += 1

    def leave(self, key: tuple[str, str]) -> Run | None:
        """
        Leave a run.

        :param key: the project and its version.
        :returns: the run if this was the last exit from it; it is to be ended.
        """
        run = self._runs.get(key)
        if run is None:
            return None
        run.entered -= 1
        if run.entered:
            return None
        return self._runs.pop(key)

    def abandon(self, key: tuple[str, str]) -> None:
        """
        End a run when the reactor stops, because one of its exits will not be seen.

        :param key: the project and its version.
        """
        run = self._runs.get(key)
        if run is not None:
            run.end_with_reactor()


def was_signalled(reactor: object) -> bool:
    """
    Whether a signal stopped the reactor. The reactor knows: its signal handlers are not
    replaced. Twisted's own runners read this attribute too; a reactor without it counts
    as stopped by the program.
    """
    return getattr(reactor, "_exitSignal", None) is not None
