"""
What tracking needs of a client.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import Deferred

from txstathat.migas.settings import Settings

__all__ = ["BreadcrumbSender"]


class BreadcrumbSender(Protocol):
    """
    Sends breadcrumbs to a server: a :class:`~txstathat.migas.client.MigasClient`.
    """

    @property
    def endpoint(self) -> str:
        """
        The URL of the server.
        """

    @property
    def reactor(self) -> Any:
        """
        The reactor that sends.
        """

    @property
    def settings(self) -> Settings:
        """
        The settings of the environment.
        """

    def add_breadcrumb(
        self,
        project: str,
        version: str,
        wait: bool = False,
        status: str = "R",
        **fields: Any,
    ) -> Deferred[Any]:
        """
        Send a breadcrumb through the reactor.
        """

    def breadcrumb_body(self, project: str, version: str, **fields: Any) -> bytes:
        """
        Encode a breadcrumb.
        """
