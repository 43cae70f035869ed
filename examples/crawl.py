"""
A spider whose stats are sent to StatHat while it runs.

    pip install '.[scrapy]'
    export TXSTATHAT_URL=http://127.0.0.1:8080 TXSTATHAT_EZKEY=...
    python examples/crawl.py https://example.com/
"""

import sys

import scrapy
from scrapy.crawler import CrawlerProcess

from txstathat import StatHatService, stathat_from_env


def make_stats():
    # A service sends many points in one request; the extension starts and stops it.
    return StatHatService(stathat_from_env(), interval=10)


class Titles(scrapy.Spider):
    name = "titles"
    custom_settings = {
        "EXTENSIONS": {"txstathat.integrations.scrapy.StatHatExtension": 500},
        "STATHAT_STATS": make_stats,
        "STATHAT_INTERVAL": 10,
    }

    def parse(self, response):
        yield {"title": response.css("title::text").get()}


if __name__ == "__main__":
    process = CrawlerProcess()
    process.crawl(Titles, start_urls=sys.argv[1:])
    process.start()
