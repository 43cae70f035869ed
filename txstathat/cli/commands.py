"""
The command ``txstathat`` and its subcommands.
"""

from __future__ import annotations

import sys
from importlib import import_module

import click

from txstathat import __version__
from txstathat.cli.suggestions import SuggestingGroup

__all__ = ["txstathat"]

#: The sections of the help; the module and the short help of each command. Only the
#: module of the command that runs is imported, so that it starts fast.
_SECTIONS = {
    "Begin": {
        "serve": ("server.serve:serve", "Run a StatHat server of your own."),
        "demo": (
            "demo:demo",
            "Run a sample bookshop that sends stats to its own server.",
        ),
        "check": (
            "send.check:check",
            "Send one test point; say which step fails, and what to do.",
        ),
    },
    "Send": {
        "count": ("send.count:count", "Add N (1 by default) to the counter NAME."),
        "value": ("send.count:value", "Send the measurement V of the value stat NAME."),
        "time": (
            "send.time_command:time_command",
            "Run a COMMAND; send how long it took, and whether it failed.",
        ),
        "post": (
            "send.post:post",
            "Send the points on standard input, one on each line.",
        ),
        "import": (
            "send.import_points:import_file",
            "Send the points in FILE, each with its time, and each only once.",
        ),
    },
    "Read": {
        "list": ("read.stats:list_stats", "List all stats."),
        "search": (
            "read.stats:search",
            "List the stats with TEXT in their names, in upper or lower case.",
        ),
        "summary": ("read.stats:summary", "Summarize STAT, a name or an id."),
        "dataset": ("read.stats:dataset", "Show the steps of STAT, a name or an id."),
        "top": ("read.top:top", "Watch the busiest stats, until Ctrl-C."),
        "alerts": (
            "read.alerts:alerts",
            "Create, edit, silence, acknowledge and test alerts on stats.",
        ),
        "delete": ("read.stats:delete", "Delete STAT, a name or an id."),
        "note": ("read.note:note", "Add a note: charts show TEXT at the present time."),
    },
    "Your own server": {
        "rename": (
            "read.tending:rename",
            "Rename STAT, a name or an id, to NEW, with its history.",
        ),
        "describe": (
            "read.tending:describe",
            "Set the unit or the description of STAT, a name or an id.",
        ),
        "trash": (
            "read.tending:trash",
            "List or restore deleted stats, or delete them for good.",
        ),
        "channels": (
            "read.channels:channels",
            "Set up how alerts reach people: e-mail, web hooks and others.",
        ),
        "keys": (
            "server.manage:keys",
            "Create, list and revoke the keys of your own server.",
        ),
        "sessions": (
            "server.sessions:sessions",
            "List and end the sessions of the pages of your own server.",
        ),
        "stats": (
            "server.manage:stats",
            "Create stats on your own server, for the Classic API.",
        ),
        "backup": (
            "server.backup:backup",
            "Copy the SQLite store of a collector to FILE, while it runs.",
        ),
        "restore": (
            "server.restore:restore",
            "Replace all in a SQLite store by what is in FILE, a backup.",
        ),
        "export": (
            "server.export:export",
            "Write everything that a collector stores to FILE.",
        ),
    },
    "Telemetry": {
        "migas": (
            "migas:migas",
            "Usage telemetry: query a migas server, or send to it.",
        )
    },
}
_MODULES = {
    name: at for section in _SECTIONS.values() for name, (at, _) in section.items()
}


class _Sections(SuggestingGroup):
    """
    A group whose help shows its commands in sections, in the order of their use.
    """

    def list_commands(self, context: click.Context) -> list[str]:
        """
        The names of all commands.
        """
        return [*_MODULES]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """
        A command by its name.
        """
        if name not in _MODULES:
            return None
        module, _, attribute = _MODULES[name].partition(":")
        try:
            found = import_module(f"txstathat.cli.{module}")
        except KeyboardInterrupt:
            # click would print "Aborted", and exit with another status.
            sys.exit(130)
        command: click.Command = getattr(found, attribute)
        return command

    def format_commands(
        self, context: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """
        Write the list of commands.
        """
        longest = max(map(len, _MODULES))
        for title, commands in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [
                        (f"{name:{longest}}", help)
                        for name, (_, help) in commands.items()
                    ]
                )


@click.group(cls=_Sections)
@click.version_option(__version__, prog_name="txstathat")
def txstathat() -> None:
    """
    Count and measure, on a StatHat server of your own.

    Start "txstathat serve"; then "txstathat count signups" in another terminal works.
    For another server set TXSTATHAT_URL, and TXSTATHAT_EZKEY to send or TXSTATHAT_TOKEN
    to read. "txstathat demo" needs no server and no settings.
    """
