"""
The account of a spool file, and the safety of a spool folder.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import uuid4

__all__ = ["SpoolOwner", "check_folder", "is_plain_file"]


class SpoolOwner:
    """
    Names spool files, and recognizes them.

    The name of a file ends with a fingerprint of the account that its batches belong
    to: the kind of client, the URL and the key, salted with the rest of the name. A
    file whose content is damaged can still be recognized.

    :param fingerprint: returns a fingerprint of the account for a salt: ASCII letters
        and digits. It may be slow.
    """

    def __init__(self, fingerprint: Callable[[bytes], str]) -> None:
        self._fingerprint = fingerprint
        self._known: dict[str, bool] = {}

    def new_stem(self) -> str:
        """
        Return a file name that no other process uses, without an extension.
        """
        # The time in the name is for people; batches know their own age.
        salt = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex}"
        return f"{salt}-{self._fingerprint(salt.encode())}"

    def owns(self, stem: str) -> bool:
        """
        Whether a file belongs to this account.

        :param stem: the file's name without a folder and an extension.
        """
        if stem not in self._known:
            salt, _, fingerprint = stem.rpartition("-")
            expected = self._fingerprint(salt.encode(errors="replace"))
            self._known[stem] = bool(salt) and fingerprint == expected
        return self._known[stem]

    def forget_others(self, stems: set[str]) -> None:
        """
        Forget the files that no longer exist.

        :param stems: those that exist.
        """
        self._known = {
            stem: known for stem, known in self._known.items() if stem in stems
        }


def check_folder(path: str) -> None:
    """
    Check that nobody else may write to a folder: whoever can plant a batch there could
    have it sent with the key.

    :raises PermissionError: if somebody else may; the message says what to do.
    """
    if not hasattr(os, "geteuid"):
        return
    found = os.stat(path)
    if found.st_uid not in (os.geteuid(), 0):
        raise PermissionError(
            f"the spool folder {path} belongs to another user (uid {found.st_uid}): "
            "use a folder of your own"
        )
    mode = stat.S_IMODE(found.st_mode)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(
            f"other users may write to the spool folder {path} (its mode is {mode:o}): "
            f"run chmod 700 {path}"
        )


def is_plain_file(path: str) -> bool:
    """
    Whether a path is a regular file, and no symbolic link.
    """
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False
