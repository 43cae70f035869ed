"""
The record of an alert: its definition and state, what it remembers, and the notices
that wait to be delivered.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from txstathat.collector.alerts.conditions.evaluation import AlertState
from txstathat.collector.alerts.history import (
    MAX_EPISODES,
    WEBHOOK,
    DeliveryError,
    Episode,
    Silence,
    is_compared,
)
from txstathat.collector.alerts.model import AlertDefinition, check_definition
from txstathat.collector.alerts.notices import FIRED, RECOVERED, AlertNotice
from txstathat.collector.alerts.operator_webhooks import check_webhook
from txstathat.collector.errors import Refusal
from txstathat.collector.records import (
    BadRecord,
    check_fields,
    is_integer,
    is_number,
    load_fields,
)

__all__ = ["MAX_NOTICES", "AlertRecord"]

#: The largest number of undelivered notices of an alert for each channel. One more
#: drops the oldest.
MAX_NOTICES = 20


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """
    All that a store has of an alert.

    :ivar alert: its definition.
    :ivar state: its state.
    :ivar notices: the notices to deliver, the oldest first.
    :ivar history: its episodes, the oldest first, also the current one.
    :ivar silence: the last silence; ``None`` without one.
    :ivar last_error: the last failed delivery, if nothing was delivered there since.
    :ivar stored: the text from which the record was read.
    """

    alert: AlertDefinition
    state: AlertState = field(default_factory=AlertState)
    notices: tuple[AlertNotice, ...] = ()
    history: tuple[Episode, ...] = ()
    silence: Silence | None = None
    last_error: DeliveryError | None = None
    stored: str = field(default="", repr=False, compare=False)

    @classmethod
    def read(cls, id: str, text: str) -> AlertRecord:
        """
        Parse a record.

        :param id: its id.
        :param text: its text.
        :raises BadRecord: if it is not valid, or a newer version wrote it.
        """
        parts = load_fields(
            text, ("alert", "state", "notices"), ("history", "silence", "last_error")
        )
        made = cls(
            _read_alert(id, parts["alert"]),
            _read_state(parts["state"]),
            tuple(_read_notice(each) for each in _array(parts, "notices")),
            tuple(Episode.read(each) for each in _array(parts, "history")),
            _read_silence(parts.get("silence")),
            _read_error(parts.get("last_error")),
            text,
        )
        return made

    @property
    def text(self) -> str:
        """
        The text to store.
        """
        parts = asdict(self)
        del parts["stored"]
        parts["history"] = [episode.to_list() for episode in self.history]
        return json.dumps(parts)

    def silenced_until(self, now: float) -> float | None:
        """
        Return until when it sends no notice that it fires, in Unix seconds; ``None`` if
        it is not silenced.

        :param now: Unix seconds.
        """
        if self.silence is None or not self.silence.holds(now):
            return None
        return self.silence.until

    @property
    def is_acknowledged(self) -> bool:
        """
        Whether it fires, and somebody has acknowledged that.
        """
        return self.state.firing and self.state.acknowledged_at is not None

    def advanced(
        self, state: AlertState, compared: int | float | None, now: float
    ) -> AlertRecord:
        """
        Return the record with a new state, and the episode that begins or ends with it.

        :param state: the new state.
        :param compared: what was compared.
        :param now: Unix seconds.
        """
        history = self.history
        if state.firing and not self.state.firing:
            history = (*history, Episode(state.episode, now, None, compared))
        elif self.state.firing and not state.firing:
            current = self._current_episode()
            history = (*(each for each in history if each.number != current.number),)
            history = (*history, replace(current, ended=now))
        return replace(self, state=state, history=history[-MAX_EPISODES:])

    def acknowledged(self, now: float) -> AlertRecord:
        """
        Return the record with its current episode acknowledged.

        :param now: Unix seconds.
        :raises Refusal: 409 if it does not fire.
        """
        if not self.state.firing:
            raise Refusal(
                409, "the alert does not fire: there is nothing to acknowledge"
            )
        if self.state.acknowledged_at is not None:
            return self
        return replace(self, state=replace(self.state, acknowledged_at=now))

    def _current_episode(self) -> Episode:
        acknowledged_at = self.state.acknowledged_at
        if self.history and self.history[-1].number == self.state.episode:
            return replace(self.history[-1], acknowledged_at=acknowledged_at)
        # An older version, which remembered no episodes, wrote the record.
        began = self.state.since or 0.0
        return Episode(self.state.episode, began, None, None, acknowledged_at)

    @property
    def episodes(self) -> tuple[Episode, ...]:
        """
        The episodes, the newest first.
        """
        past = self.history
        if self.state.firing:
            current = self._current_episode()
            past = (*(each for each in past if each.number != current.number), current)
        return past[::-1]

    def with_error(self, channel: str, why: str, now: float) -> AlertRecord:
        """
        Return the record after an attempt to deliver a notice.

        :param channel: where it was to go.
        :param why: why it failed; ``''`` if it was delivered.
        :param now: Unix seconds.
        """
        if why:
            return replace(self, last_error=DeliveryError.of(now, channel, why))
        if self.last_error is not None and self.last_error.channel == channel:
            return replace(self, last_error=None)
        return self

    def add_notices(
        self, notices: Iterable[AlertNotice]
    ) -> tuple[AlertRecord, list[AlertNotice]]:
        """
        Return the record with more notices, and those that it dropped for them.

        :param notices: the notices to add.
        """
        after = [*self.notices, *notices]
        dropped: list[AlertNotice] = []
        for channel in dict.fromkeys(notice.channel for notice in after):
            waiting = [each for each in after if each.channel == channel]
            dropped += waiting[: max(0, len(waiting) - MAX_NOTICES)]
        remaining = tuple(each for each in after if each not in dropped)
        return replace(self, notices=remaining), dropped


def _array(parts: dict[str, Any], name: str) -> list[Any]:
    found = parts.get(name, [])
    if not isinstance(found, list):
        raise BadRecord(f"is not valid: its {name} are no JSON array")
    return found


def _read_alert(id: str, parts: Any) -> AlertDefinition:
    found = dict(_check_names(AlertDefinition, parts, ("channels",)))
    channels = found.get("channels", [])
    found["channels"] = tuple(channels) if isinstance(channels, list) else channels
    alert = AlertDefinition(**found)
    if alert.id != id:
        raise BadRecord("is not valid: it has another id")
    check_definition(alert)
    if alert.webhook != "":
        check_webhook(alert.webhook)
    return alert


def _read_state(parts: Any) -> AlertState:
    optional = ("notified", "acknowledged_at")
    found = dict(_check_names(AlertState, parts, optional))
    # Older versions had no channels but the webhook.
    notified = found.get("notified", [WEBHOOK] if found["firing"] is True else [])
    if not isinstance(notified, list):
        raise BadRecord("is not valid: its state has a field of the wrong type")
    found["notified"] = tuple(notified)
    state = AlertState(**found)
    _check_state(state)
    return state


def _read_notice(parts: Any) -> AlertNotice:
    notice = AlertNotice(**_check_names(AlertNotice, parts, ("channel", "failed")))
    _check_notice(notice)
    return notice


def _read_silence(parts: Any) -> Silence | None:
    if parts is None:
        return None
    silence = Silence(**_check_names(Silence, parts))
    if not (is_number(silence.since, math.inf) and is_number(silence.until, math.inf)):
        raise BadRecord("is not valid: its silence has a field of the wrong type")
    return silence


def _read_error(parts: Any) -> DeliveryError | None:
    if parts is None:
        return None
    error = DeliveryError(**_check_names(DeliveryError, parts))
    if not (
        is_number(error.at, math.inf)
        and isinstance(error.channel, str)
        and isinstance(error.why, str)
    ):
        raise BadRecord("is not valid: its error has a field of the wrong type")
    return error


def _check_names(
    kind: type, parts: Any, optional: tuple[str, ...] = ()
) -> dict[str, Any]:
    names = [each.name for each in fields(kind)]
    required = [name for name in names if name not in optional]
    return check_fields(parts, required, optional)


def _check_state(state: AlertState) -> None:
    if not (
        is_integer(state.episode)
        and isinstance(state.firing, bool)
        and (state.since is None or is_number(state.since, math.inf))
        and (state.clear_since is None or is_number(state.clear_since, math.inf))
        and all(isinstance(name, str) for name in state.notified)
        and (
            state.acknowledged_at is None or is_number(state.acknowledged_at, math.inf)
        )
    ):
        raise BadRecord("is not valid: its state has a field of the wrong type")


def _check_notice(notice: AlertNotice) -> None:
    if not (
        notice.event in (FIRED, RECOVERED)
        and is_integer(notice.episode)
        and is_number(notice.at, math.inf)
        and (notice.number is None or is_compared(notice.number))
        and is_integer(notice.attempts)
        and is_number(notice.next_at, math.inf)
        and isinstance(notice.channel, str)
        and isinstance(notice.failed, bool)
    ):
        raise BadRecord("is not valid: a notice has a field of the wrong type")
