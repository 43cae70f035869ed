"""
``twist stathat``: the collector, run by Twisted's ``twist`` command.
"""

from __future__ import annotations

import atexit
import os
from functools import partial
from typing import cast

from twisted.internet.interfaces import IReactorCore
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from txstathat.collector.archive.writing.cardinality import MAX_STATS
from txstathat.collector.options import (
    SERVER_OPTIONS,
    STORE,
    check_options,
    default_retention,
    write_keys,
)
from txstathat.collector.service import LISTEN, CollectorService

__all__ = ["Options", "makeService"]

_log = Logger()

# The options that the service takes as they are.
_PASSED_ON = (
    *("retention", "max-stats", "proxies", "allow-private"),
    *(each.name for each in SERVER_OPTIONS),
)


class Options(UsageOptions):
    """
    The options of ``twist stathat``.
    """

    synopsis = "[options]"
    longdesc = (
        "Run a StatHat of your own: a collector that accepts points, stores them, and "
        "serves them through StatHat's export API and on web pages."
    )

    optParameters = [
        ["store", "s", STORE, "Where to store stats: a SQLite or Redis URL."],
        [
            "keys-file",
            "k",
            "txstathat-keys",
            "The file to write the first keys to. Only its owner can read it.",
        ],
        [
            "proxies",
            None,
            "0",
            "How many reverse proxies in front are trusted to name the client "
            "(X-Forwarded-For).",
        ],
        ["max-stats", None, str(MAX_STATS), "The largest number of stats."],
        *([each.name, None, each.default, each.help] for each in SERVER_OPTIONS),
    ]
    optFlags = [
        ["access-log", None, "Log requests, without the secrets in them."],
        [
            "stathat-statuses",
            None,
            "Answer refused points with HTTP status 200, and their status in the JSON "
            "only, as StatHat did.",
        ],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []
        self["keep"] = []
        self["allow-private"] = []

    def opt_listen(self, endpoint: str) -> None:
        """
        Where to listen: a server endpoint string. Can be repeated.
        [default: tcp:8080:interface=127.0.0.1]
        """
        self["listen"].append(endpoint)

    opt_l = opt_listen

    def opt_allow_private(self, network: str) -> None:
        """
        A private address or network, such as 127.0.0.1 or 10.0.0.0/8, to which channels
        may connect, also without encryption. Can be repeated. [default: none]
        """
        self["allow-private"].append(network)

    def opt_keep(self, keep: str) -> None:
        self["keep"].append(keep)

    opt_keep.__doc__ = (
        "How long to store detail, such as minute=7d or day=forever. Can be repeated. "
        f"[default: {default_retention()}]"
    )

    def postOptions(self) -> None:
        """
        Check the options, and convert them.

        :raises UsageError: if one is not valid.
        """
        if not (self["proxies"].isascii() and self["proxies"].isdigit()):
            raise UsageError(f"--proxies: {self['proxies']!r} must be a whole number")
        self["proxies"] = int(self["proxies"])
        stats = self["max-stats"]
        if not (stats.isascii() and stats.isdigit() and int(stats)):
            raise UsageError(f"--max-stats: {stats!r} must be a positive whole number")
        self["max-stats"] = int(stats)
        try:
            self["retention"], self["webhooks"] = check_options(
                keep=self["keep"],
                public_url=self["public-url"],
                webhooks=self["webhooks"],
                secrets=self["secrets"],
                allow_private=self["allow-private"],
                digest_at=self["digest-at"],
                statsd=self["statsd"],
            )
        except ValueError as error:
            raise UsageError(str(error)) from None


def makeService(options: Options) -> CollectorService:
    """
    Return a collector with these options. The process ends if it cannot start.
    """

    service = CollectorService(
        options["store"],
        options["listen"] or LISTEN,
        access_log=bool(options["access-log"]),
        stathat_statuses=bool(options["stathat-statuses"]),
        first_keys=partial(_write_first_keys, options["keys-file"]),
        **{name.replace("-", "_"): options[name] for name in _PASSED_ON},
    )
    service.ready().addCallbacks(lambda _: _log_start(service), _end_process)
    return service


def _write_first_keys(file: str, keys: dict[str, str]) -> None:
    path = os.path.abspath(file)
    write_keys(path, keys)
    _log.info(
        "the first keys are in {path}: an EZ key and a user key to post with, and an "
        "access token to read and to sign in with",
        path=path,
    )


def _log_start(service: CollectorService) -> None:
    for url in service.urls:
        _log.info("listening on {url}", url=url)
    if service.statsd_address is not None:
        _log.info("receiving statsd at {at}", at=service.statsd_address)
    _log.info(
        "open it in a browser to see the stats: sign in with an access token; to "
        "create another one: txstathat keys add access NAME"
    )


def _end_process(failure: Failure) -> None:
    from twisted.internet import reactor

    core = cast(IReactorCore, reactor)
    _log.critical("cannot start: {error}", error=failure.getErrorMessage())
    # twist exits with status 0 in any case. The log is flushed before atexit runs.
    atexit.register(os._exit, 1)
    # The reactor may not be running yet.
    core.callWhenRunning(core.stop)
