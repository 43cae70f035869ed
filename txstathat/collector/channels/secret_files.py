"""
The secrets of channels: files that the operator names, by host.

The secret NAME of a channel that goes to HOST is the first line of the file
``DIRECTORY/HOST/NAME``. So whoever can create channels can have a secret sent only to
the host that it is for, and secrets are neither stored nor shown.
"""

from __future__ import annotations

import os
import re
import stat

from txstathat.collector.channels.message import DeliveryFailed

__all__ = ["MAX_SECRET", "SecretFiles", "check_secret_name"]

#: The largest file of a secret that is read, in bytes.
MAX_SECRET = 4_096

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


def check_secret_name(name: str) -> str:
    """
    Check the name of a secret's file.

    :returns: the name.
    :raises ValueError: if it is not valid.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            "must name a file in the folder of the channel's host, at most 64 "
            f"letters, digits, dots, hyphens and underscores, not {name[:40]!r}"
        )
    return name


class SecretFiles:
    """
    Reads secrets.

    :param directory: the directory; ``''`` if there is none.
    :raises ValueError: if the directory does not exist.
    """

    def __init__(self, directory: str = "") -> None:
        if directory and not os.path.isdir(directory):
            raise ValueError(f"{directory!r} is not a directory")
        self._directory = directory

    def names(self, host: str) -> list[str]:
        """
        Return the names of the secrets for a host, sorted.
        """
        if not self._directory or not _is_folder_name(host):
            return []
        try:
            found = os.listdir(os.path.join(self._directory, host))
        except OSError:
            return []
        return sorted(name for name in found if _NAME.fullmatch(name))

    def read(self, host: str, name: str) -> str:
        """
        Read a secret.

        :param host: the host to which it is sent.
        :param name: its name.
        :raises DeliveryFailed: if it cannot be read, or other users can read it.
        """
        if not self._directory:
            raise DeliveryFailed(
                f"there is no directory for the secret {name!r}; the operator names it "
                "with --secrets",
                permanent=True,
            )
        if not _is_folder_name(host) or not _NAME.fullmatch(name):
            raise DeliveryFailed("the secret's name is not valid", permanent=True)
        where = f"the secret {name!r} for {host}"
        try:
            with open(os.path.join(self._directory, host, name), "rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                text = file.read(MAX_SECRET + 1)
        except OSError as error:
            raise DeliveryFailed(f"{where}: {error.strerror}", True) from None
        if os.name == "posix" and mode & 0o007:
            raise DeliveryFailed(
                f"{where}: other users can read or change the file (mode {mode:04o}); "
                "run chmod o-rwx on it",
                permanent=True,
            )
        return _first_line(text, where)


def _first_line(text: bytes, where: str) -> str:
    line = text.split(b"\n", 1)[0].strip()
    if len(text) > MAX_SECRET or not line:
        problem = "is too long" if line else "is empty"
        raise DeliveryFailed(f"{where}: the file {problem}", True)
    if not line.isascii() or not line.decode("ascii").isprintable():
        raise DeliveryFailed(f"{where}: must be printable ASCII characters", True)
    return line.decode("ascii")


def _is_folder_name(host: str) -> bool:
    return bool(host) and not host.startswith(".") and not {"/", "\\", "\0"} & {*host}
