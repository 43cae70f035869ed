"""
All commands, under one name.
"""

from __future__ import annotations

import click

from txstathat import __version__
from txstathat.cli.alerts import alerts
from txstathat.cli.backup import backup
from txstathat.cli.demo import demo
from txstathat.cli.export import export
from txstathat.cli.importing import import_file
from txstathat.cli.migas import migas
from txstathat.cli.post import post
from txstathat.cli.read import dataset, delete, list_stats, search, summary
from txstathat.cli.send import check, count, value
from txstathat.cli.serve import keys, serve, stats
from txstathat.cli.timing import time_command
from txstathat.cli.top import top

__all__ = ["txstathat"]

#: The commands as the help shows them.
_SECTIONS = {
    "Begin": (demo, check),
    "Send": (count, value, time_command, post, import_file),
    "Read": (list_stats, search, summary, dataset, top, alerts, delete),
    "Your own server": (serve, keys, stats, backup, export),
    "Telemetry": (migas,),
}


class _Sections(click.Group):
    """
    A group whose help shows its commands in sections, in the order of their use.
    """

    def format_commands(
        self, context: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """
        Write the list of commands.
        """
        longest = max(map(len, self.commands))
        width = formatter.width - longest - 6
        for title, commands in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [
                        (f"{each.name:{longest}}", each.get_short_help_str(width))
                        for each in commands
                    ]
                )


@click.group(cls=_Sections)
@click.version_option(__version__, prog_name="txstathat")
def txstathat() -> None:
    """
    Count and measure, on StatHat or on a server of your own.

    To send, set TXSTATHAT_EZKEY; to read, TXSTATHAT_TOKEN. TXSTATHAT_URL names a server
    other than StatHat's. "txstathat demo" needs nothing.
    """


for section in _SECTIONS.values():
    for command in section:
        txstathat.add_command(command)
