"""
Which objects a service accepts as its client.
"""

from __future__ import annotations

__all__ = ["check_client"]

#: What the service uses of a client.
_NEEDED = ("encode", "decode", "check_stat", "send_payload", "close")


def check_client(client: object) -> None:
    """
    Check that a service can deliver with an object.

    :raises TypeError: if it cannot; the message says what is wanted, and holds no part
        of the object, which may be a key.
    """
    has_all = all(callable(getattr(client, name, None)) for name in _NEEDED)
    if has_all and not isinstance(client, type):
        return
    if isinstance(client, type):
        kind = f"the class {client.__name__}"
    elif client is None:
        kind = "None"
    else:
        kind = f"an object of type {type(client).__name__}"
    hint = ": make a client with the key first" if isinstance(client, str) else ""
    raise TypeError(
        "client must be a txStatHat, a txStatHatClassic, or what stathat_from_env() "
        f"returns, not {kind}{hint}"
    )
