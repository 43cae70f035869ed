"""
The last breadcrumb of a program whose reactor does not run any more, or never did.

A reactor cannot be started twice, and one that this package started would be one that
the program can no longer start. So a Python process of its own sends the breadcrumb
(:mod:`txstathat.migas.__main__`), and the program waits for it, no longer than for an
answer of the server.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from txstathat.migas.client import MigasClient

__all__ = ["send_in_child"]


def send_in_child(
    client: MigasClient, project: str, version: str, fields: dict[str, Any]
) -> None:
    """
    Send a breadcrumb from a process of its own, and wait for it.

    :param client: says what is sent where, and for how long to wait.
    :raises Exception: whatever goes wrong; the caller swallows.
    """
    if client.settings.opted_out or not _is_python(sys.executable):
        return
    body = client.breadcrumb_body(project, version, **fields)
    # -P: nothing in the current folder may pass for a module. The module search path
    # is this program's, which may have found this package in a place of its own.
    environ = dict(client.settings.environ)
    environ["PYTHONPATH"] = os.pathsep.join(filter(os.path.isabs, sys.path))
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "txstathat.migas", client.endpoint],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environ,
        # A second Ctrl-C ends the program, not this.
        start_new_session=True,
    )
    try:
        child.communicate(body, timeout=client.settings.timeout)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _is_python(executable: str | None) -> bool:
    """
    Whether that is a Python, and not a program with one inside, which would start
    itself a second time.
    """
    if getattr(sys, "frozen", False):
        return False
    return os.path.basename(executable or "").startswith(("python", "pypy"))
