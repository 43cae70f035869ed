"""
The collected fields: every field that a breadcrumb can have, with its purpose.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = [
    "CI_VARIABLES",
    "COLLECTED",
    "Collected",
    "in_ci",
    "in_container",
    "environment_fields",
]

#: Environment variables of continuous integration services. The ``ci-info`` package, if
#: installed, knows more of them.
CI_VARIABLES = ("CI", "CONTINUOUS_INTEGRATION", "BUILD_NUMBER", "TF_BUILD")


@dataclass(frozen=True, slots=True)
class Collected:
    """
    One field of a breadcrumb.

    :ivar name: its name in the protocol.
    :ivar what: its content.
    :ivar why: its purpose.
    """

    name: str
    what: str
    why: str


#: Every field that can be in a breadcrumb. Nothing else is sent.
COLLECTED = (
    Collected("project", "owner/repo, set by the program", "to count per project"),
    Collected(
        "project_version",
        "the program's version",
        "to see which versions are still in use",
    ),
    Collected("language", "python", "to distinguish clients in several languages"),
    Collected(
        "language_version",
        "the Python version",
        "to know which versions have to be supported",
    ),
    Collected(
        "user_id",
        "a random UUID, stored in a file of yours",
        "to count a person once, without knowing who it is",
    ),
    Collected(
        "session_id",
        "a UUID, only where the program sets one",
        "to see which breadcrumbs belong to one run",
    ),
    Collected(
        "user_type",
        "general, dev or ci, only where the program sets it",
        "to leave developers and automatic runs out of the count",
    ),
    Collected(
        "platform",
        "the operating system: linux, darwin, ...",
        "to know which systems have to be supported",
    ),
    Collected(
        "container",
        "docker, apptainer or unknown",
        "to know how the program is installed",
    ),
    Collected(
        "is_ci",
        "whether it runs in continuous integration",
        "to distinguish machines from people",
    ),
    Collected(
        "status",
        "R running, C completed, F failed, S suspended",
        "to see how many runs succeed",
    ),
    Collected(
        "status_desc",
        "a short text on the status, without file paths",
        "to see how far a run got",
    ),
    Collected(
        "error_type",
        "the name of the exception that ended the run",
        "to see which errors people meet",
    ),
    Collected(
        "error_desc",
        "the exception's text, shortened, without file paths",
        "to fix those errors",
    ),
)


def environment_fields(environ: Mapping[str, str]) -> dict[str, str | bool | None]:
    """
    Collect the fields that describe where the program runs.

    :param environ: the environment variables.
    """
    return {
        "language": "python",
        "language_version": platform.python_version(),
        "platform": sys.platform,
        "container": in_container(),
        "is_ci": in_ci(environ),
    }


def in_container(root: str = "/") -> str:
    """
    The kind of container that the program runs in: ``'docker'``, ``'apptainer'`` or
    ``'unknown'``, which also means none.

    :param root: the root folder, which has marker files in a container.
    """
    if os.path.exists(os.path.join(root, ".dockerenv")):
        return "docker"
    # Apptainer was called Singularity, and its files still are.
    marks = ("singularity", ".singularity.d")
    if any(os.path.exists(os.path.join(root, mark)) for mark in marks):
        return "apptainer"
    return "unknown"


def in_ci(environ: Mapping[str, str]) -> bool:
    """
    Whether the program runs in continuous integration.

    :param environ: the environment variables.
    """
    if any(environ.get(name, "") not in ("", "false") for name in CI_VARIABLES):
        return True
    try:
        import ci_info
    except ImportError:
        return False
    return bool(ci_info.is_ci(environ))
