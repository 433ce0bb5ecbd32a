"""The actions of alarms: taken when a state changes, or held back by suppressors and mute rules until they are due."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from tocsin.alarms.suppression import Suppression, Suppressor, step
from tocsin.sandbox.metrics import Scope
from tocsin.sandbox.services.cloudwatch.notification import action_item, notification

_ACTIONS: Mapping[str, str] = {
    "ALARM": "AlarmActions",
    "OK": "OKActions",
    "INSUFFICIENT_DATA": "InsufficientDataActions",
}


class Record(Protocol):
    """What actions need of the alarms of the present account and region."""

    def find(self, alarm_name: str) -> dict[str, Any] | None:
        """The live record of an alarm of either kind."""

    def record_history(
        self,
        alarm_name: str,
        kind: str,
        summary: str,
        data: Mapping[str, Any],
        *,
        wall: float | None = None,
        alarm_type: str = "MetricAlarm",
    ) -> None:
        """Append one item to the history of an alarm."""


Notify = Callable[[str, str, str, str], str | None]
"""Publish to a topic (its ARN, message, subject, ARN of the alarm); answers with what refused it."""
Muted = Callable[[Scope, str, float], bool]
"""Whether a mute rule holds the actions of an alarm back at a system second."""


@dataclass
class _Held:
    """What is held back of one alarm."""

    suppression: Suppression = field(default_factory=Suppression)
    old: str = ""
    """The state before the last change."""
    told: str | None = None
    """The last state whose actions were due before a mute rule began to hold them back."""


class Actions:
    """Runs the actions of alarms, now or when nothing holds them back any more."""

    def __init__(self, record: Record, muted: Muted, notify: Notify) -> None:
        self._record = record
        self._muted = muted
        self._notify = notify
        self._held: dict[tuple[Scope, str], _Held] = {}

    def changed(self, scope: Scope, alarm: dict[str, Any], old: str, now_s: float) -> bool:
        """Take note that an alarm went from `old` to its present state; answers whether its actions are due now."""
        held = self._held.setdefault((scope, alarm["AlarmName"]), _Held())
        held.old = old
        return self._step(alarm, held, now_s, changed=True)

    def run(self, scope: Scope, alarm: dict[str, Any], now_s: float) -> None:
        """Take the actions of an alarm's present state, unless it is muted."""
        held = self._held[scope, alarm["AlarmName"]]
        if self._muted(scope, alarm["AlarmName"], now_s):
            held.told = held.told or held.old
            return
        held.told = None
        self._run(scope, alarm, held.old)

    def look(self, scope: Scope, now_s: float) -> None:
        """Take the actions of the present scope that were held back, and are due now."""
        for key, held in list(self._held.items()):
            alarm = self._record.find(key[1]) if key[0] == scope else None
            if alarm is None:
                if key[0] == scope:
                    del self._held[key]
                continue
            if self._step(alarm, held, now_s, changed=False):
                self.run(scope, alarm, now_s)
            elif held.told is not None and not self._muted(scope, alarm["AlarmName"], now_s):
                told, held.told = held.told, None
                # "because the mute window has ended and the alarm remains in the same state"
                # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-mute-rules-behaviour.html
                if told != alarm["StateValue"]:
                    self._run(scope, alarm, told)

    def _step(self, alarm: dict[str, Any], held: _Held, now_s: float, *, changed: bool) -> bool:
        if "ActionsSuppressor" not in alarm:
            held.suppression = Suppression()
            _show(alarm, held.suppression)
            return changed
        suppressor = self._record.find(str(alarm["ActionsSuppressor"]).rpartition(":alarm:")[2])
        held.suppression, due = step(
            held.suppression,
            Suppressor(
                in_alarm=suppressor is not None and suppressor["StateValue"] == "ALARM",
                wait_s=alarm.get("ActionsSuppressorWaitPeriod", 0),
                extension_s=alarm.get("ActionsSuppressorExtensionPeriod", 0),
            ),
            now_s,
            changed=changed,
        )
        _show(alarm, held.suppression)
        return due

    def _run(self, scope: Scope, alarm: dict[str, Any], old: str) -> None:
        if not alarm.get("ActionsEnabled", True):
            return
        kind = "CompositeAlarm" if "AlarmRule" in alarm else "MetricAlarm"
        changed = float(alarm["StateTransitionedTimestamp"])
        for action in alarm.get(_ACTIONS[alarm["StateValue"]]) or ():
            message = json.dumps(notification(scope, alarm, old, changed))
            error = self._execute(action, alarm, message, scope)
            item = action_item(action, message, error, changed)
            self._record.record_history(alarm["AlarmName"], "Action", item.summary, item.data, alarm_type=kind)

    def _execute(self, action: str, alarm: Mapping[str, Any], message: str, scope: Scope) -> str | None:
        """What was in the way, None when it is done."""
        if ":sns:" not in action:
            return "the sandbox executes actions on SNS topics only"
        subject = f'{alarm["StateValue"]}: "{alarm["AlarmName"]}" in {scope[1]}'[:100]
        return self._notify(action, message, subject, alarm["AlarmArn"])


def _show(alarm: dict[str, Any], suppression: Suppression) -> None:
    """Put into the record what DescribeAlarms says of it."""
    if suppression.by is None:
        alarm.pop("ActionsSuppressedBy", None)
        alarm.pop("ActionsSuppressedReason", None)
    else:
        alarm["ActionsSuppressedBy"] = suppression.by
        alarm["ActionsSuppressedReason"] = f"Actions suppressed by {suppression.by}"
