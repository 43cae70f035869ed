"""
How to use a new key: the commands and the programs that a page shows with it.
"""

from __future__ import annotations

from json import dumps
from shlex import quote

__all__ = ["snippets"]


def snippets(kind: str, key: str, url: str) -> dict[str, str]:
    """
    Return examples with a key filled in.

    :param kind: the kind of the key: ``'ez'``, ``'user'``, ``'access'`` or ``'read'``.
    :param key: the key.
    :param url: the URL of the collector.
    :returns: the examples by their titles.
    """
    makers = {"ez": _ez, "user": _user, "access": _reading, "read": _reading}
    return makers[kind](key, url)


def _ez(key: str, url: str) -> dict[str, str]:
    return {
        "Python": (
            "from txstathat.blocking import txStatHat\n"
            "# In a Twisted program: from txstathat import txStatHat\n\n"
            f"stats = txStatHat({dumps(key)}, url={dumps(url)})\n"
            'stats.count("first light")\n'
            'stats.value("response time ms", 12.5)'
        ),
        "curl": (
            f"curl {quote(url + '/ez')} -d ezkey={quote(key)} "
            "-d stat='first light' -d count=1"
        ),
        "Shell": (
            f"export TXSTATHAT_URL={quote(url)} TXSTATHAT_EZKEY={quote(key)}\n"
            "txstathat count 'first light'\n"
            "txstathat value 'response time ms' 12.5"
        ),
    }


def _user(key: str, url: str) -> dict[str, str]:
    return {
        "Python": (
            "from txstathat.blocking import txStatHatClassic\n"
            "# In a Twisted program: from txstathat import txStatHatClassic\n\n"
            f"stats = txStatHatClassic({dumps(key)}, url={dumps(url)})\n"
            'stats.count("YOUR-STAT-KEY")'
        ),
        "curl": (
            f"curl {quote(url + '/c')} -d ukey={quote(key)} "
            "-d key=YOUR-STAT-KEY -d count=1"
        ),
        "Shell": (
            "# On the server: make a stat with a key of its own.\n"
            "txstathat stats add 'first light'"
        ),
    }


def _reading(key: str, url: str) -> dict[str, str]:
    return {
        "Python": (
            "from twisted.internet.task import react\n"
            "from txstathat import StatHatExport\n\n\n"
            "async def main(reactor):\n"
            f"    async with StatHatExport({dumps(key)}, url={dumps(url)}) as export:\n"
            "        for stat in await export.stats():\n"
            "            print(stat.name)\n\n\n"
            "react(main)"
        ),
        "curl": f"curl {quote(f'{url}/x/{key}/statlist')}",
        "Shell": (
            f"export TXSTATHAT_URL={quote(url)} TXSTATHAT_TOKEN={quote(key)}\n"
            "txstathat list"
        ),
    }
