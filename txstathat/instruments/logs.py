"""
Logs: counts of events by level and namespace, and of failures by class.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import ILogObserver, LogEvent, LogLevel
from twisted.python import threadable
from twisted.python.failure import Failure
from zope.interface import implementer

from txstathat.instruments.labels import Labels, StatName, class_label
from txstathat.instruments.losses import Losses
from txstathat.interfaces import IStatHat

__all__ = ["IGNORED", "MAX_NAMESPACES", "LogCounter"]

#: How many namespaces, and how many exception classes, have stats of their own by
#: default.
MAX_NAMESPACES = 200
#: The namespaces that are not counted by default. They log while points are sent, so
#: counting their events would never end.
IGNORED = (
    "txstathat",
    "treq",
    "twisted.web.client",
    "twisted.web._newclient",
)


@implementer(ILogObserver)
class LogCounter:
    """
    A log observer that counts events::

        globalLogPublisher.addObserver(LogCounter(stats))

    Events that are logged while it sends a point are not counted. Events of other
    threads are counted in the reactor's thread.

    :param stats: where to count.
    :param event_name: the name of the stat that counts an event; it can contain
        ``{level}`` and ``{namespace}``.
    :param failure_name: the name of the stat that counts an event with a failure; it
        can contain ``{exception}``, the class. ``None`` counts no failures.
    :param minimum: the lowest level to count.
    :param ignore: namespaces not to count, including those below them.
    :param max_namespaces: how many namespaces, and how many exception classes, have
        stats of their own; the others share ``other``.
    :raises ValueError: if a template of a name is not valid.
    :ivar losses: the points that were lost.
    """

    def __init__(
        self,
        stats: IStatHat,
        *,
        event_name: str = "log {level} {namespace}",
        failure_name: str | None = "log failure {exception}",
        minimum: LogLevel = LogLevel.info,
        ignore: Iterable[str] = IGNORED,
        max_namespaces: int = MAX_NAMESPACES,
    ) -> None:
        self.losses = Losses("logs")
        self._stats = stats
        self._event_name = StatName(event_name, ("level", "namespace"))
        self._failure_name = (
            None if failure_name is None else StatName(failure_name, ("exception",))
        )
        self._minimum = minimum
        self._ignored = tuple(ignore)
        self._namespaces = Labels(max_namespaces)
        self._exceptions = Labels(max_namespaces)
        self._counting = False

    def __call__(self, event: LogEvent) -> None:
        """
        Count an event. This can be called in any thread.

        :param event: the event.
        """
        level = event.get("log_level") or LogLevel.info
        namespace = str(event.get("log_namespace") or "unknown")
        if level < self._minimum or self._ignores(namespace):
            return
        failure = event.get("log_failure")
        # Without a running reactor, count in this thread.
        if threadable.ioThread is None or threadable.isInIOThread():
            self._count(level, namespace, failure)
        else:
            from twisted.internet import reactor

            cast(IReactorFromThreads, reactor).callFromThread(
                self._count, level, namespace, failure
            )

    def _count(self, level: LogLevel, namespace: str, failure: object) -> None:
        if self._counting:
            return
        self._counting = True
        try:
            name = self._event_name.of(
                level=level.name, namespace=self._namespaces[namespace]
            )
            self.losses.send(self._stats.count, name)
            if self._failure_name is not None and isinstance(failure, Failure):
                exception = self._exceptions[class_label(type(failure.value))]
                name = self._failure_name.of(exception=exception)
                self.losses.send(self._stats.count, name)
        finally:
            self._counting = False

    def _ignores(self, namespace: str) -> bool:
        return any(
            namespace == ignored or namespace.startswith(f"{ignored}.")
            for ignored in self._ignored
        )
