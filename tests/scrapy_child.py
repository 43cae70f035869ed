"""
A crawl that counts, in a process of its own: ``python -m tests.scrapy_child URL
SETTINGS``, the settings as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import scrapy.crawler

from txstathat import NullStatHat, StatHatService, stathat_from_env, txStatHat


def make_service() -> StatHatService:
    """A service that sends only when it stops."""
    client = stathat_from_env()
    assert isinstance(client, txStatHat)
    return StatHatService(client, interval=3600)


def make_broken() -> Any:
    """Stats that raise, which they must not."""

    class Broken(NullStatHat):
        def count(self, *args: Any, **options: Any) -> Any:
            raise RuntimeError("canary")

        value = count

    return Broken()


class Books(scrapy.Spider):
    """Follows the links of a site."""

    name = "books"

    def __init__(self, url: str) -> None:
        super().__init__()
        self.start_urls = [url]

    async def start(self) -> AsyncIterator[Any]:
        yield scrapy.Request(self.start_urls[0])

    def parse(self, response: Any, **options: Any) -> Iterator[Any]:
        yield {"title": response.css("title::text").get()}
        for link in response.css("a"):
            yield response.follow(link, self.parse)


def main() -> None:
    url, settings = sys.argv[1:]
    # Only this one can do without a reactor.
    name = "Async" * ("TWISTED_REACTOR_ENABLED" in settings) + "CrawlerProcess"
    make = getattr(scrapy.crawler, name)
    process = make(
        {
            "EXTENSIONS": {"txstathat.integrations.scrapy.StatHatExtension": 500},
            "TELNETCONSOLE_ENABLED": False,
            "ROBOTSTXT_OBEY": False,
            "CONCURRENT_REQUESTS": 1,
            "DOWNLOAD_DELAY": 0.1,
            "STATHAT_INTERVAL": 0.1,
            **json.loads(settings),
        }
    )
    process.crawl(Books, url=url)
    process.start()


if __name__ == "__main__":
    main()
