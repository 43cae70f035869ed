"""
End a command when its standard output is closed: ``txstathat list | head -1``.
"""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn, TextIO

__all__ = ["OUTPUT_CLOSED", "Output"]

#: The exit status when standard output is closed: a shell's for SIGPIPE, which ends
#: other tools then. (Python ignores that signal, because sockets raise it too.)
OUTPUT_CLOSED = 141


class Output:
    """
    The standard output of all commands. A failed write ends the command.

    It raises ``SystemExit``, which is not an ``Exception``, so that no command handles
    it as a failure of its own work.

    :param stream: the real standard output.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """
        Write text.
        """
        try:
            return self._stream.write(text)
        except OSError as error:
            self._end(error)

    def flush(self) -> None:
        """
        Flush the stream.
        """
        try:
            self._stream.flush()
        except OSError as error:
            self._end(error)

    def _end(self, error: OSError) -> NoReturn:
        # The interpreter flushes the stream at exit: let that go to /dev/null.
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, self._stream.fileno())
        os.close(devnull)
        if isinstance(error, BrokenPipeError):
            sys.exit(OUTPUT_CLOSED)
        sys.exit(f"txstathat: standard output: {error.strerror}")
