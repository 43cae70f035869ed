"""
File locks, which the kernel releases when their holder dies.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from txstathat.delivery.process.forks import notify_in_child

try:
    import fcntl
except ImportError:
    # Windows: only what opens a lock needs it.
    fcntl = None  # type: ignore[assignment]

__all__ = ["FileLock"]


def _lock_exclusively(fd: int) -> None:
    if fcntl is None:
        raise OSError("this system has no file locks (fcntl.flock)")
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


class FileLock:
    """
    A lock that this process holds. :meth:`acquire` makes it.

    A forked child does not hold it.
    """

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self._fd = fd

    @classmethod
    def acquire(
        cls, path: str, lock: Callable[[int], object] = _lock_exclusively
    ) -> FileLock | None:
        """
        Lock a file, which is created if it does not exist.

        :param path: the file; a symbolic link is not followed.
        :param lock: locks an open file, by its descriptor, without waiting.
        :returns: ``None`` if another process holds the lock.
        :raises OSError: if the file cannot be opened, or the system or the file system
            has no locks.
        """
        flags = os.O_RDWR | os.O_CREAT
        flags |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
        fd = os.open(path, flags, 0o600)
        try:
            lock(fd)
            # The previous holder may have removed the file after it was opened here.
            current = os.path.samestat(os.fstat(fd), os.stat(path))
        except (BlockingIOError, FileNotFoundError):
            current = False
        except BaseException:
            os.close(fd)
            raise
        if not current:
            os.close(fd)
            return None
        held = cls(path, fd)
        # The lock belongs to the open file, which a forked child shares: a child that
        # outlives its parent would hold the lock of a dead process.
        notify_in_child(held)
        return held

    def release(self, remove: bool = False) -> None:
        """
        Release the lock.

        :param remove: whether to remove the file too.
        """
        if self._fd >= 0:
            if remove:
                os.unlink(self.path)
            self.after_fork()

    def after_fork(self) -> None:
        """
        Close the file without removing it.
        """
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
