"""
The calls for channels, which a collector has and StatHat has not.
"""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred

from txstathat.export.answers import each_of, read_channel, read_delivery
from txstathat.export.models import ChannelInfo, DeliveryResult
from txstathat.export.requests import ExportCalls

__all__ = ["ChannelCalls"]


class ChannelCalls(ExportCalls):
    """
    The calls for channels.
    """

    def channels(self) -> Deferred[list[ChannelInfo]]:
        """
        List the channels of a collector.

        :returns: a Deferred that fires with a list of
            :class:`~txstathat.export.models.ChannelInfo`.
        """
        return self._get(each_of(read_channel), "channels")

    def create_channel(
        self, name: str, kind: str, settings: Mapping[str, str], secret: str = ""
    ) -> Deferred[ChannelInfo]:
        """
        Create a channel of a collector.

        :param name: its name.
        :param kind: ``'webhook'``, ``'email'``, ``'ntfy'`` or ``'pagerduty'``.
        :param settings: the settings of the kind.
        :param secret: the name of the file with its secret, in the operator's directory
            for secrets.
        :returns: a Deferred that fires with the new
            :class:`~txstathat.export.models.ChannelInfo`.
        """
        fields = {**settings, "name": name, "kind": kind, "secret": secret}
        return self._post(read_channel, fields, "channels")

    def edit_channel(
        self, name: str, settings: Mapping[str, str], secret: str | None = None
    ) -> Deferred[ChannelInfo]:
        """
        Change a channel of a collector. Its name and its kind stay the same.

        :param name: its name.
        :param settings: the settings to change. If the host changes, the URL, headers,
            body or topic, which may be secrets, must be among them.
        :param secret: the name of the file with its secret; ``''`` for no secret,
            ``None`` to change nothing.
        :returns: a Deferred that fires with the changed
            :class:`~txstathat.export.models.ChannelInfo`.
        """
        fields = dict(settings) if secret is None else {**settings, "secret": secret}
        return self._post(read_channel, fields, "channels", name)

    def test_channel(self, name: str) -> Deferred[DeliveryResult]:
        """
        Send a test message through a channel of a collector.

        :param name: its name.
        :returns: a Deferred that fires with the
            :class:`~txstathat.export.models.DeliveryResult`.
        """
        return self._post(read_delivery, {}, "channels", name, "test")

    def delete_channel(self, name: str) -> Deferred[None]:
        """
        Delete a channel of a collector. Notices that wait for it are dropped.

        :param name: its name.
        :returns: a Deferred that fires with ``None``.
        """
        return self._delete("channels", name)
