"""
All commands, under one name.
"""

from __future__ import annotations

import click

from txstathat import __version__
from txstathat.cli.backup import backup
from txstathat.cli.demo import demo
from txstathat.cli.migas import migas
from txstathat.cli.post import post
from txstathat.cli.read import dataset, delete, list_stats, search, summary
from txstathat.cli.send import check, count, value
from txstathat.cli.serve import keys, serve, stats
from txstathat.cli.timing import time_command
from txstathat.cli.top import top

__all__ = ["txstathat"]


@click.group()
@click.version_option(__version__, prog_name="txstathat")
def txstathat() -> None:
    """
    Count and measure, on StatHat or on a server of your own.
    """


for command in (
    *(count, value, time_command, post, check),
    *(list_stats, search, summary, dataset, delete, top),
    *(serve, keys, stats, backup, demo, migas),
):
    txstathat.add_command(command)
