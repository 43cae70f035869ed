"""
The server that a client uses when the program names none.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from twisted.logger import Logger

from txstathat.http.urls import check_url

__all__ = ["API_URL", "EXPORT_URL", "URL_SETTING", "server_url"]

#: The URL of StatHat's API.
API_URL = "https://api.stathat.com"
#: The URL of StatHat's export API.
EXPORT_URL = "https://www.stathat.com"
#: The environment variable with the server's URL.
URL_SETTING = "TXSTATHAT_URL"


class _ClosureNotice:
    """
    Logs, once in a process, that StatHat.com appears to have closed.
    """

    _log = Logger()

    def __init__(self) -> None:
        self._logged = False

    def log(self, address: str) -> None:
        if self._logged:
            return
        self._logged = True
        self._log.warn(
            "no server is set, so the client uses {address}; StatHat.com appears to "
            "have closed in April 2026. Pass url= or set {setting} for another server.",
            address=address,
            setting=URL_SETTING,
        )


_notice = _ClosureNotice()


def server_url(
    url: str | None, address: str, environ: Mapping[str, str] | None = None
) -> str:
    """
    The URL that a client uses: the ``url`` argument, else ``TXSTATHAT_URL``, else
    StatHat's address.

    A collector has all its APIs at one URL, so ``TXSTATHAT_URL`` is for sending and for
    reading. StatHat has two URLs: if the variable is one of them, each client uses the
    one that it needs.

    :param url: the ``url`` argument of the client; ``None`` if there was none.
    :param address: StatHat's address of the API: :data:`API_URL` or :data:`EXPORT_URL`.
    :param environ: the environment; by default the process's own, read now.
    :raises ValueError: if ``TXSTATHAT_URL`` is used and is not valid. The message
        quotes no part of it.
    """
    if url is not None:
        return url
    named = (os.environ if environ is None else environ).get(URL_SETTING)
    if not named:
        _notice.log(address)
        return address
    try:
        checked = check_url(named)
    except ValueError as error:
        raise ValueError(f"{URL_SETTING}: {error}") from None
    return address if checked in (API_URL, EXPORT_URL) else checked
