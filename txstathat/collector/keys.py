"""
Whose points are taken.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable

__all__ = ["Keys", "new_key"]


def new_key() -> str:
    """
    A new key, of 192 random bits.
    """
    return secrets.token_urlsafe(24)


class Keys:
    """
    The keys that are known, kept hashed and compared in constant time.

    A key has 192 random bits, so a plain hash of it cannot be guessed back.

    :param ezkeys: the EZ keys.
    :param ukeys: the user keys of the Classic API.
    """

    def __init__(self, ezkeys: Iterable[str] = (), ukeys: Iterable[str] = ()) -> None:
        self._known = {"ez": _hashed(ezkeys), "classic": _hashed(ukeys)}

    def allow(self, api: str, key: str) -> bool:
        """
        Whether a key is known.

        :param api: ``'ez'`` or ``'classic'``.
        :param key: the key.
        """
        given = _hash(key)
        matches = [hmac.compare_digest(given, known) for known in self._known[api]]
        return any(matches)


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8")).digest()


def _hashed(keys: Iterable[str]) -> list[bytes]:
    return [_hash(key) for key in keys]
