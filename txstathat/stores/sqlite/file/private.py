"""
Creates files that contain secrets, where no other user can replace or read them.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

__all__ = ["check_folder", "new_file"]


def check_folder(path: str) -> None:
    """
    Check that no other user can plant or replace a file.

    :param path: the file.
    :raises PermissionError: if any user may write to its folder, and the folder is not
        *sticky* (like ``/tmp``); or if it is, and the file belongs to another user.
    :raises OSError: if the folder cannot be examined.
    """
    if os.name != "posix":
        return
    folder = os.path.dirname(os.path.abspath(path))
    try:
        mode = os.stat(folder).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"the folder {folder} does not exist") from None
    if not mode & stat.S_IWOTH:
        return
    if not mode & stat.S_ISVTX:
        raise PermissionError(
            f"any user may write to the folder {folder}, and so replace {path}; "
            f"use another folder, or run: chmod o-w {folder}"
        )
    with suppress(FileNotFoundError):
        # A link of another user could lead to any file.
        if os.lstat(path).st_uid not in (os.geteuid(), 0):
            raise PermissionError(
                f"{path} belongs to another user, in a folder that any user may write "
                f"to; use another folder"
            )


@contextmanager
def new_file(
    path: str, random_text: Callable[[int], str] = secrets.token_hex
) -> Iterator[str]:
    """
    Create a file that appears only when it is complete. Only its owner can read it.

    :param path: the file.
    :param random_text: returns text of some random bytes.
    :returns: a context manager that gives the path of a temporary file. Write and close
        that file in the body. If the body succeeds, the file is synced to disk and gets
        its final name; else it is removed.
    :raises FileExistsError: if the file exists.
    :raises PermissionError: see :func:`check_folder`.
    :raises OSError: if it cannot be written.
    """
    if os.path.lexists(path):
        raise FileExistsError(f"{path} exists already")
    check_folder(path)
    # Nobody can guess the name, and so nobody can plant a link there.
    unfinished = f"{path}.{random_text(8)}.unfinished"
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
    os.close(os.open(unfinished, flags, 0o600))
    try:
        yield unfinished
        _sync(unfinished)
        _publish(unfinished, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(unfinished)
    _sync(os.path.dirname(os.path.abspath(path)))


def _publish(unfinished: str, path: str) -> None:
    try:
        # Unlike a rename, this never replaces a file.
        os.link(unfinished, path, follow_symlinks=False)
    except FileExistsError:
        raise FileExistsError(f"{path} exists already") from None
    except (OSError, NotImplementedError):
        # The file system has no hard links.
        if os.path.lexists(path):
            raise FileExistsError(f"{path} exists already") from None
        os.rename(unfinished, path)


def _sync(path: str) -> None:
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
