"""
The last breadcrumb of a program after its reactor has stopped, or without a reactor.

A reactor cannot be started twice, so telemetry must not start one that the program may
need. A Python process of its own (:mod:`txstathat.migas.__main__`) sends the
breadcrumb, and the program waits for it, at most as long as for an answer of the
server.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from txstathat.migas.runs.sender import BreadcrumbSender

__all__ = ["send_in_child"]


def send_in_child(
    sender: BreadcrumbSender, project: str, version: str, fields: dict[str, Any]
) -> None:
    """
    Send a breadcrumb from a process of its own, and wait for it. Nothing is sent if the
    user has opted out, or if this program was not started by a Python executable.

    :param sender: encodes the breadcrumb, and has the server's URL and the time limit.
    :param project: ``owner/repo``.
    :param version: the project's version.
    :param fields: more fields of the breadcrumb.
    :raises OSError: if the process cannot be started.
    :raises InvalidTelemetry: if a field is bad.
    """
    if sender.settings.opted_out or not _is_python(sys.executable):
        return
    body = sender.breadcrumb_body(project, version, **fields)
    # -P: files in the current folder must not be imported. The module search path is
    # that of this program, which may have found this package in an unusual place.
    environ = dict(sender.settings.environ)
    environ["PYTHONPATH"] = os.pathsep.join(filter(os.path.isabs, sys.path))
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "txstathat.migas", sender.endpoint],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environ,
        # A second Ctrl-C ends the program, not this process.
        start_new_session=True,
    )
    try:
        child.communicate(body, timeout=sender.settings.timeout)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _is_python(executable: str | None) -> bool:
    """
    Whether an executable is a Python. A frozen or embedding program would start itself
    a second time.
    """
    if getattr(sys, "frozen", False):
        return False
    return os.path.basename(executable or "").startswith(("python", "pypy"))
