"""
``twist stathat``: the collector, run by Twisted's own command.
"""

from __future__ import annotations

import atexit
import os
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from txstathat.collector.options import (
    STORE,
    default_keep,
    parse_keep,
    read_webhooks,
    write_keys,
)
from txstathat.collector.service import LISTEN, CollectorParts, CollectorService

__all__ = ["Options", "makeService"]

_log = Logger()


class Options(UsageOptions):
    """
    The options of ``twist stathat``.
    """

    synopsis = "[options]"
    longdesc = "A StatHat of your own: takes points, keeps them, and tells them."

    optParameters = [
        ["store", "s", STORE, "Where stats are kept: a SQLite or Redis URL."],
        [
            "keys-file",
            "k",
            "txstathat-keys",
            "Where the first keys are written, readable by you alone.",
        ],
        [
            "proxies",
            None,
            "0",
            "How many reverse proxies stand before it: so many are believed whom they "
            "saw (X-Forwarded-For).",
        ],
        [
            "webhooks",
            None,
            "",
            "A file with the URLs where alerts are told, one a line; the first is for "
            "all that name no other.",
        ],
    ]
    optFlags = [["access-log", None, "Log requests, without what is secret in them."]]

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []
        self["keep"] = []

    def opt_listen(self, endpoint: str) -> None:
        """
        Where to listen: a server endpoint string; may be given more than once.
        [default: tcp:8080:interface=127.0.0.1]
        """
        self["listen"].append(endpoint)

    opt_l = opt_listen

    def opt_keep(self, keep: str) -> None:
        self["keep"].append(keep)

    opt_keep.__doc__ = (
        "How long detail is kept, such as minute=7d or day=forever; may be given more "
        f"than once. [default: {default_keep()}]"
    )

    def postOptions(self) -> None:
        """
        Check what can be checked before the start.
        """
        try:
            self["retention"] = parse_keep(self["keep"])
        except ValueError as error:
            raise UsageError(f"--keep: {error}") from None
        if not (self["proxies"].isascii() and self["proxies"].isdigit()):
            raise UsageError(f"--proxies: {self['proxies']!r} must be a whole number")
        self["proxies"] = int(self["proxies"])
        try:
            self["webhooks"] = read_webhooks(self["webhooks"])
        except ValueError as error:
            raise UsageError(f"--webhooks: {error}") from None


def makeService(options: Options) -> CollectorService:
    """
    The service that the options describe. The process ends when it cannot start.
    """

    def first_keys(keys: dict[str, str]) -> None:
        path = os.path.abspath(options["keys-file"])
        write_keys(path, keys)
        _log.info(
            "the first keys are in {path}: an EZ key and a user key to post with, and "
            "an access token to read and to sign in with",
            path=path,
        )

    service = CollectorService(
        options["store"],
        options["listen"] or LISTEN,
        retention=options["retention"],
        access_log=bool(options["access-log"]),
        proxies=options["proxies"],
        webhooks=options["webhooks"],
        first_keys=first_keys,
    )

    def started(parts: CollectorParts) -> None:
        for url in service.urls:
            _log.info("listening on {url}", url=url)
        _log.info(
            "its pages are there too: sign in with an access token; to make another: "
            "txstathat keys add access NAME"
        )

    def failed(failure: Failure) -> None:
        from twisted.internet import reactor

        running: Any = reactor
        _log.critical("cannot start: {error}", error=failure.getErrorMessage())
        # Twisted's command ends with 0, whatever happened; the log is flushed by then.
        atexit.register(os._exit, 1)
        # It may not run yet.
        running.callWhenRunning(running.stop)

    service.ready().addCallbacks(started, failed)
    return service
