"""
The pseudonymous user id, and the file that keeps it from one run to the next.

The id is random: it says nothing about the person or the machine. The file is the one
that the published Python client uses too, so that a person counts once with both.
"""

from __future__ import annotations

import os
import stat
import uuid
from contextlib import suppress

from txstathat.migas.settings import Settings

__all__ = ["clear_user_id", "load_user_id", "user_id_path"]

_TOO_LONG = 100


def user_id_path(settings: Settings) -> str | None:
    """
    Where the id is kept: ``$XDG_CONFIG_HOME/migas/user_id``, by default in
    ``~/.config``; ``None`` where there is no home.

    :param settings: whose environment to look at.
    """
    config = settings.environ.get("XDG_CONFIG_HOME", "")
    # The XDG Base Directory Specification: relative paths are to be ignored.
    if not os.path.isabs(config):
        home = settings.environ.get("HOME") or os.path.expanduser("~")
        if not os.path.isabs(home):
            return None
        config = os.path.join(home, ".config")
    return os.path.join(config, "migas", "user_id")


def load_user_id(settings: Settings) -> str:
    """
    Read the user id, or make one and keep it.

    A file that is a symbolic link, somebody else's, unreadable or without a UUID is
    left as it is and ignored; the id then lasts as long as the process.

    :returns: a UUID.
    """
    made = str(uuid.uuid4())
    path = user_id_path(settings)
    if path is None:
        return made
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        settings.info("the user id in {path} is ignored: {e}", path=path, e=error)
        return made
    try:
        _create(path, made)
    except FileExistsError:
        # Another process was faster.
        with suppress(OSError, ValueError):
            return _read(path)
    except OSError as error:
        settings.info("the user id is not kept in {path}: {e}", path=path, e=error)
    return made


def clear_user_id(settings: Settings) -> bool:
    """
    Remove the file with the user id.

    :returns: whether there was one, and it is gone.
    """
    path = user_id_path(settings)
    if path is not None:
        try:
            os.unlink(path)
            return True
        except FileNotFoundError:
            pass
        except OSError as error:
            settings.warn("{path} cannot be removed: {e}", path=path, e=error)
    return False


def _read(path: str) -> str:
    # Not blocking: a pipe in the file's place must not hold up the program.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise ValueError("not a file of this user's")
        text = os.read(descriptor, _TOO_LONG)
    finally:
        os.close(descriptor)
    return str(uuid.UUID(text.decode("ascii").strip()))


def _create(path: str, text: str) -> None:
    """
    Create the file whole or not at all, and never over another.
    """
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    temporary = os.path.join(folder, f".user_id-{uuid.uuid4()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    try:
        try:
            os.write(descriptor, text.encode("ascii"))
        finally:
            os.close(descriptor)
        os.link(temporary, path)
    finally:
        os.unlink(temporary)
