"""
Locks on files, which the kernel releases when their holder dies.
"""

from __future__ import annotations

import fcntl
import os
import weakref

__all__ = ["FileLock"]

_held: weakref.WeakSet[FileLock] = weakref.WeakSet()
_hooked = False


class FileLock:
    """
    A lock that is held; made by :meth:`acquire`.

    A child that the process forks does not hold it.
    """

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self._fd = fd

    @classmethod
    def acquire(cls, path: str) -> FileLock | None:
        """
        Take the lock on a file, which is made when it is not there.

        :returns: ``None`` if somebody holds it.
        :raises OSError: if the file cannot be opened or the file system has no locks.
        """
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last holder may have removed it before this one had the lock.
            current = os.path.samestat(os.fstat(fd), os.stat(path))
        except (BlockingIOError, FileNotFoundError):
            current = False
        except BaseException:
            os.close(fd)
            raise
        if not current:
            os.close(fd)
            return None
        lock = cls(path, fd)
        _remember(lock)
        return lock

    def release(self, remove: bool = False) -> None:
        """
        Give the lock back.

        :param remove: whether to remove the file too.
        """
        _held.discard(self)
        if self._fd >= 0:
            if remove:
                os.unlink(self.path)
            os.close(self._fd)
            self._fd = -1

    def _forget(self) -> None:
        os.close(self._fd)
        self._fd = -1


def _remember(lock: FileLock) -> None:
    # A lock belongs to the open file, which a forked child shares: a child that lives
    # on would keep the lock of a parent that has died.
    global _hooked
    if not _hooked:
        _hooked = True
        os.register_at_fork(after_in_child=_forget_all)
    _held.add(lock)


def _forget_all() -> None:
    for lock in list(_held):
        lock._forget()
    _held.clear()
