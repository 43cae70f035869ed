"""
The pseudonymous user id, and the file that stores it.

The id is random: it reveals nothing about the person or the machine. The published
Python client uses the same file, so that a person with both counts once.
"""

from __future__ import annotations

import os
import stat
import uuid
from contextlib import suppress

from txstathat.migas.settings import Settings

__all__ = ["clear_user_id", "load_user_id", "user_id_path"]

_MAX_FILE = 100


def user_id_path(settings: Settings) -> str | None:
    """
    The path of the user id file: ``$XDG_CONFIG_HOME/migas/user_id``, by default in
    ``~/.config``.

    :param settings: has the environment.
    :returns: the path; ``None`` if the user has no home folder.
    """
    config = settings.environ.get("XDG_CONFIG_HOME", "")
    # The XDG Base Directory Specification: relative paths are ignored.
    if not os.path.isabs(config):
        home = settings.environ.get("HOME") or os.path.expanduser("~")
        if not os.path.isabs(home):
            return None
        config = os.path.join(home, ".config")
    return os.path.join(config, "migas", "user_id")


def load_user_id(settings: Settings) -> str:
    """
    Read the user id, or make and store a new one.

    A file that is a symbolic link, belongs to another user, cannot be read or holds no
    UUID is ignored and not changed; the new id is then not stored.

    :param settings: has the environment.

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
        # Another process has just created it.
        with suppress(OSError, ValueError):
            return _read(path)
    except OSError as error:
        settings.info("the user id cannot be stored in {path}: {e}", path=path, e=error)
    return made


def clear_user_id(settings: Settings) -> bool:
    """
    Remove the user id file.

    :param settings: has the environment.
    :returns: whether this removed it.
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
    # Not blocking: a pipe at this path must not block the program.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise ValueError("not a regular file of this user")
        text = os.read(descriptor, _MAX_FILE)
    finally:
        os.close(descriptor)
    return str(uuid.UUID(text.decode("ascii").strip()))


def _create(path: str, text: str) -> None:
    """
    Create the file atomically; an existing one is not replaced.
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
