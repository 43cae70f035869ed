"""
The command line.
"""

import sys
from typing import TextIO, cast

from txstathat.cli.standard_output import Output

__all__ = ["main"]


def main() -> None:
    """
    Run ``txstathat``. If a library is missing, say how to install it.
    """
    if sys.stdout is not None:
        sys.stdout = cast(TextIO, Output(sys.stdout))
    try:
        from txstathat.cli.commands import txstathat

        txstathat(prog_name="txstathat")
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        sys.exit(
            f"txstathat: the command line needs {error.name}; "
            "install it with: pip install 'txStatHat[cli]'"
        )
    except KeyboardInterrupt:
        # Ctrl-C during imports. Later each command handles it.
        sys.exit(130)
