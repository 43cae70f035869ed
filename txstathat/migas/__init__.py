"""
Usage telemetry: a client for migas servers (https://github.com/nipreps/migas-server).
"""

from txstathat.migas.client import MigasClient
from txstathat.migas.process import (
    add_breadcrumb,
    add_project,
    check_project,
    clear_user_id,
    get_usage,
    print_config,
    setup,
    track,
    track_exit,
)
from txstathat.migas.runs.tracking import Tracker

__all__ = [
    "MigasClient",
    "Tracker",
    "add_breadcrumb",
    "add_project",
    "check_project",
    "clear_user_id",
    "get_usage",
    "print_config",
    "setup",
    "track",
    "track_exit",
]
