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

#: The sections of the help, and the module of each command. Only the module of the
#: command that runs is imported, so that it starts fast.
_SECTIONS = {
    "Begin": {
        "serve": "server.serve:serve",
        "demo": "demo:demo",
        "check": "send.check:check",
    },
    "Send": {
        "count": "send.count:count",
        "value": "send.count:value",
        "time": "send.time_command:time_command",
        "post": "send.post:post",
        "import": "send.import_points:import_file",
    },
    "Read": {
        "list": "read.stats:list_stats",
        "search": "read.stats:search",
        "summary": "read.stats:summary",
        "dataset": "read.stats:dataset",
        "top": "read.top:top",
        "alerts": "read.alerts:alerts",
        "delete": "read.stats:delete",
        "note": "read.note:note",
    },
    "Your own server": {
        "rename": "read.tending:rename",
        "describe": "read.tending:describe",
        "trash": "read.tending:trash",
        "channels": "read.channels:channels",
        "keys": "server.manage:keys",
        "sessions": "server.sessions:sessions",
        "stats": "server.manage:stats",
        "backup": "server.backup:backup",
        "restore": "server.restore:restore",
        "export": "server.export:export",
    },
    "Telemetry": {"migas": "migas:migas"},
}
_MODULES = {name: at for section in _SECTIONS.values() for name, at in section.items()}


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
        width = formatter.width - longest - 6
        for title, names in _SECTIONS.items():
            rows = []
            for name in names:
                command = self.get_command(context, name)
                assert command is not None
                rows.append((f"{name:{longest}}", command.get_short_help_str(width)))
            with formatter.section(title):
                formatter.write_dl(rows)


@click.group(cls=_Sections)
@click.version_option(__version__, prog_name="txstathat")
def txstathat() -> None:
    """
    Count and measure, on a StatHat server of your own.

    Start "txstathat serve"; then "txstathat count signups" in another terminal works.
    For another server set TXSTATHAT_URL, and TXSTATHAT_EZKEY to send or TXSTATHAT_TOKEN
    to read. "txstathat demo" needs no server and no settings.
    """
