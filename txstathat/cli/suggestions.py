"""
Groups of commands that suggest a command for one that does not exist.
"""

from __future__ import annotations

from difflib import get_close_matches

import click

__all__ = ["SuggestingGroup"]


class SuggestingGroup(click.Group):
    """
    A group that names similar commands in the error for an unknown one.
    """

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """
        Find the command that the arguments begin with.
        """
        try:
            return super().resolve_command(context, args)
        except click.UsageError:
            name, known = args[0], self.list_commands(context)
        similar = get_close_matches(name.lower(), known, n=3, cutoff=0.5)
        if similar:
            hint = f"Did you mean {' or '.join(similar)}?"
        else:
            hint = f"See {context.command_path} --help."
        raise click.UsageError(f"No such command {name!r}. {hint}", context)
