"""
The settings of the user: environment variables, read at each use.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from twisted.logger import Logger, LogLevel

__all__ = ["DEFAULT_TIMEOUT", "MAX_TIMEOUT", "Settings"]

#: Seconds to wait for the server if ``MIGAS_TIMEOUT`` is not set.
DEFAULT_TIMEOUT = 5.0
#: The maximum of ``MIGAS_TIMEOUT``, in seconds.
MAX_TIMEOUT = 3600.0

# The levels of MIGAS_LOG_LEVEL: the names and numbers of the logging module.
_LEVELS = {
    "NOTSET": 0,
    "DEBUG": 10,
    "INFO": 20,
    "WARN": 30,
    "WARNING": 30,
    "ERROR": 40,
    "CRITICAL": 50,
    "FATAL": 50,
}
_DEFAULT_LEVEL = "WARNING"


class Settings:
    """
    The settings of the environment, and a log that respects them.

    A variable with a bad value is logged once, as a warning, and its default is used.

    :param environ: the environment variables; ``os.environ`` by default.
    """

    _log = Logger(namespace="txstathat.migas")

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = environ
        self._reported: set[tuple[str, str]] = set()

    @property
    def environ(self) -> Mapping[str, str]:
        """
        The environment variables.
        """
        return os.environ if self._environ is None else self._environ

    @property
    def opted_out(self) -> bool:
        """
        Whether the user has opted out, so that nothing is collected or sent:
        ``MIGAS_OPTOUT`` is set to any value, or ``DO_NOT_TRACK`` to a value that is not
        empty and not ``0`` (https://consoledonottrack.com).
        """
        return "MIGAS_OPTOUT" in self.environ or (
            self.environ.get("DO_NOT_TRACK", "") not in ("", "0")
        )

    @property
    def timeout(self) -> float:
        """
        ``MIGAS_TIMEOUT``: seconds to wait for the server, from 0 to
        :data:`MAX_TIMEOUT`.
        """
        text = self.environ.get("MIGAS_TIMEOUT", "")
        if not text:
            return DEFAULT_TIMEOUT
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if 0 <= seconds <= MAX_TIMEOUT:
            return seconds
        self._report(
            "MIGAS_TIMEOUT", text, f"a number of seconds from 0 to {MAX_TIMEOUT:g}"
        )
        return DEFAULT_TIMEOUT

    @property
    def log_level(self) -> str:
        """
        ``MIGAS_LOG_LEVEL``: the name of a level of the :mod:`logging` module.
        """
        text = self.environ.get("MIGAS_LOG_LEVEL", "")
        if not text or text.upper() in _LEVELS:
            return text.upper() or _DEFAULT_LEVEL
        self._report("MIGAS_LOG_LEVEL", text, f"one of {', '.join(_LEVELS)}")
        return _DEFAULT_LEVEL

    def debug(self, text: str, **values: object) -> None:
        """
        Log what is sent and answered.
        """
        self._emit("DEBUG", text, values)

    def info(self, text: str, **values: object) -> None:
        """
        Log a failure. Users of the program need not see it.
        """
        self._emit("INFO", text, values)

    def warn(self, text: str, **values: object) -> None:
        """
        Log a problem that somebody should fix.
        """
        self._emit("WARNING", text, values)

    def _emit(self, level: str, text: str, values: dict[str, object]) -> None:
        if _LEVELS[level] >= _LEVELS[self.log_level]:
            name = level.lower().removesuffix("ing")
            self._log.emit(LogLevel.levelWithName(name), text, **values)

    def _report(self, variable: str, value: str, wanted: str) -> None:
        if (variable, value) not in self._reported:
            # Added first, because warn() reads a bad MIGAS_LOG_LEVEL again.
            self._reported.add((variable, value))
            self.warn(
                "{variable} is {value!r}, which is not {wanted}; the default is used",
                variable=variable,
                value=value[:80],
                wanted=wanted,
            )
