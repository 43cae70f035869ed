"""
The command line.
"""

import sys
from typing import TextIO, cast

from txstathat.cli.standard_output import Output

__all__ = ["main"]


def main() -> None:
    """
    Run ``txstathat``; without its libraries, say how to get them.
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
        # While the libraries are read; later each command sees to it.
        sys.exit(130)
