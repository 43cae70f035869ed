"""
Alerts: definitions, evaluation, stored records, notices, and webhooks.
"""

from txstathat.collector.alerts.alert_record import MAX_NOTICES, AlertRecord
from txstathat.collector.alerts.delivery import MAX_UNDER_WAY, NoticeDelivery
from txstathat.collector.alerts.evaluation import (
    LOST_BAND,
    MAX_LOST,
    RECOVERY_BAND,
    RECOVERY_SECONDS,
    AlertState,
    AlertWindow,
    Evaluation,
    WindowReading,
    evaluate,
    next_state,
    windows_to_read,
)
from txstathat.collector.alerts.history import (
    MAX_EPISODES,
    MAX_SILENCE,
    WEBHOOK,
    DeliveryError,
    Episode,
    Silence,
)
from txstathat.collector.alerts.model import (
    KINDS,
    MARGIN,
    MAX_ALERT_CHANNELS,
    WINDOWS,
    AlertDefinition,
    choose_step,
    edit_alert,
    parse_alert,
)
from txstathat.collector.alerts.monitor import (
    CELLS_AT_ONCE,
    EVALUATE_EVERY,
    NOTIFY_EVERY,
    AlertMonitor,
)
from txstathat.collector.alerts.notices import (
    ATTEMPTS,
    FIRED,
    GIVE_UP_SECONDS,
    LEASE,
    LONGEST_DELAY,
    RECOVERED,
    AlertNotice,
    notice_retry_delay,
)
from txstathat.collector.alerts.operator_webhooks import Webhooks, check_webhook
from txstathat.collector.alerts.outages import (
    GAP_SECONDS,
    MAX_OUTAGES,
    NOTE_EVERY,
    RETURN_SECONDS,
    OutageRecords,
    Outages,
)
from txstathat.collector.alerts.records import MAX_ALERTS, AlertRecords
from txstathat.collector.alerts.targets import KnownTargets, Targets

__all__ = [
    "ATTEMPTS",
    "AlertDefinition",
    "AlertMonitor",
    "AlertNotice",
    "AlertRecord",
    "AlertRecords",
    "AlertState",
    "AlertWindow",
    "CELLS_AT_ONCE",
    "DeliveryError",
    "EVALUATE_EVERY",
    "Episode",
    "Evaluation",
    "FIRED",
    "GAP_SECONDS",
    "GIVE_UP_SECONDS",
    "KINDS",
    "KnownTargets",
    "LEASE",
    "LONGEST_DELAY",
    "LOST_BAND",
    "MARGIN",
    "MAX_ALERTS",
    "MAX_ALERT_CHANNELS",
    "MAX_EPISODES",
    "MAX_LOST",
    "MAX_NOTICES",
    "MAX_OUTAGES",
    "MAX_SILENCE",
    "MAX_UNDER_WAY",
    "NOTE_EVERY",
    "NOTIFY_EVERY",
    "NoticeDelivery",
    "OutageRecords",
    "Outages",
    "RECOVERED",
    "RECOVERY_BAND",
    "RECOVERY_SECONDS",
    "RETURN_SECONDS",
    "Silence",
    "Targets",
    "WEBHOOK",
    "WINDOWS",
    "Webhooks",
    "WindowReading",
    "check_webhook",
    "choose_step",
    "edit_alert",
    "evaluate",
    "next_state",
    "parse_alert",
    "notice_retry_delay",
    "windows_to_read",
]
