"""
Alerts: definitions, evaluation, stored records, notices, and webhooks.
"""

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
from txstathat.collector.alerts.model import (
    KINDS,
    MARGIN,
    WINDOWS,
    AlertDefinition,
    choose_step,
    parse_alert,
)
from txstathat.collector.alerts.monitor import (
    CELLS_AT_ONCE,
    EVALUATE_EVERY,
    MAX_UNDER_WAY,
    NOTIFY_EVERY,
    AlertMonitor,
)
from txstathat.collector.alerts.notices import (
    ATTEMPTS,
    FIRED,
    LEASE,
    RECOVERED,
    AlertNotice,
    retry_delay,
)
from txstathat.collector.alerts.outages import (
    GAP_SECONDS,
    MAX_OUTAGES,
    NOTE_EVERY,
    RETURN_SECONDS,
    OutageRecords,
    Outages,
)
from txstathat.collector.alerts.records import (
    MAX_ALERTS,
    MAX_NOTICES,
    AlertRecord,
    AlertRecords,
)
from txstathat.collector.alerts.webhooks import (
    MAX_URL,
    TIMEOUT,
    WebhookFailed,
    Webhooks,
    check_webhook,
    origin_of,
)

__all__ = [
    "ATTEMPTS",
    "CELLS_AT_ONCE",
    "EVALUATE_EVERY",
    "FIRED",
    "GAP_SECONDS",
    "KINDS",
    "LEASE",
    "LOST_BAND",
    "MARGIN",
    "MAX_ALERTS",
    "MAX_LOST",
    "MAX_NOTICES",
    "MAX_OUTAGES",
    "MAX_UNDER_WAY",
    "MAX_URL",
    "NOTE_EVERY",
    "NOTIFY_EVERY",
    "RECOVERED",
    "RECOVERY_BAND",
    "RECOVERY_SECONDS",
    "RETURN_SECONDS",
    "TIMEOUT",
    "WINDOWS",
    "AlertDefinition",
    "AlertMonitor",
    "AlertNotice",
    "AlertRecord",
    "AlertRecords",
    "AlertState",
    "AlertWindow",
    "Evaluation",
    "OutageRecords",
    "Outages",
    "WebhookFailed",
    "Webhooks",
    "WindowReading",
    "check_webhook",
    "choose_step",
    "evaluate",
    "next_state",
    "origin_of",
    "parse_alert",
    "retry_delay",
    "windows_to_read",
]
