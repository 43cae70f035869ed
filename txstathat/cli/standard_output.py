"""
Standard output, and its end: ``txstathat list | head -1``.
"""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn, TextIO

__all__ = ["OUTPUT_CLOSED", "Output"]

#: The exit status when nobody reads standard output any more: a shell's for SIGPIPE,
#: which ends other tools then. (Python ignores that signal, which sockets raise, too.)
OUTPUT_CLOSED = 141


class Output:
    """
    Standard output, for all commands: what cannot be written to it ends the command.

    It does so by ``SystemExit``, which is no ``Exception``: no command takes it for a
    failure of what it does.

    :param stream: what writes.
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
        Hand on what was written.
        """
        try:
            self._stream.flush()
        except OSError as error:
            self._end(error)

    def _end(self, error: OSError) -> NoReturn:
        # What is still to be flushed, and what else is said on the way out, has nowhere
        # to go.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        if isinstance(error, BrokenPipeError):
            sys.exit(OUTPUT_CLOSED)
        sys.exit(f"txstathat: standard output: {error.strerror}")
