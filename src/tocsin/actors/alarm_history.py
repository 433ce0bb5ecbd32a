"""The history of alarms: each transition told once, and looked up until the history explains the state seen."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tocsin.aws.cloudwatch import alarm_history
from tocsin.aws.target import Target, aws_errors
from tocsin.errors import TargetError
from tocsin.model.system import AlarmState

_MANY = 10
"""Of more alarms the histories are read as one, the account's: a call a hundred items, not a call an alarm."""
_APART_PRODUCTION_S = 5.0
"""How far the times of one transition may be apart in an alarm and in its history. An alarm is evaluated every ten
seconds at most: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
"""
_WHOLE_SECOND_S = 1.0
"""The same in wall seconds, where one of the two is told in whole seconds."""


@dataclass(frozen=True)
class Update:
    """One StateUpdate of an alarm's history. `at` is the time CloudWatch gives it, in epoch seconds."""

    alarm_name: str
    at: float
    data: Mapping[str, Any]

    @property
    def before(self) -> AlarmState:
        """The state that the alarm left."""
        state: AlarmState = self.data["oldState"]["stateValue"]
        return state

    @property
    def after(self) -> AlarmState:
        """The state that it went to; the same one when only its reason changed."""
        state: AlarmState = self.data["newState"]["stateValue"]
        return state


class Histories:
    """StateUpdates of some alarms from a wall-clock time on.

    What DescribeAlarms tells may be ahead of the history, and a history may not be readable for a while: an alarm is
    looked up again until the last transition found is the one that its state comes from.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarmHistory.html
    """

    def __init__(self, target: Target, since: float) -> None:
        self._target = target
        self._since = since
        self._explained: dict[str, datetime] = {}
        """StateUpdatedTimestamp of each alarm when its history had explained it."""
        self._last: dict[str, tuple[str, float]] = {}
        """The state that the history leaves each alarm in, and since when."""
        self._told: set[tuple[str, float, str, int]] = set()

    def begin(self, described: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the alarms, by AlarmName, as they are now: what they come from is nothing of this drill."""
        for name, alarm in described.items():
            self._explained[name] = alarm["StateUpdatedTimestamp"]
            self._last[name] = (alarm["StateValue"], _changed(alarm).timestamp())

    def unexplained(self, described: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Those of the alarms whose state has been updated since their history explained it."""
        return [
            name for name, alarm in described.items() if alarm["StateUpdatedTimestamp"] != self._explained.get(name)
        ]

    def news(self, described: Mapping[str, Mapping[str, Any]]) -> Iterator[Update]:
        """Every StateUpdate of the unexplained alarms that was not told before, in the order of the history.

        Raises:
            TargetError: a history could not be read; those of the others were. It is asked for again the next time.
        """
        failed: TargetError | None = None
        names = self.unexplained(described)
        for some in [names] if len(names) > _MANY else [[name] for name in names]:
            try:
                items = self._read(some)
            except TargetError as error:
                failed = error
                continue
            yield from self._untold(items, described)
            for name in some:
                if self._explains(name, described[name]):
                    self._explained[name] = described[name]["StateUpdatedTimestamp"]
        if failed is not None:
            raise failed

    def _read(self, names: Sequence[str]) -> list[Mapping[str, Any]]:
        one = len(names) == 1
        with aws_errors(f"reading the history of {names[0] if one else f'{len(names)} alarms'}"):
            return alarm_history(self._target, "StateUpdate", names[0] if one else None, self._since)

    def _untold(
        self, items: Sequence[Mapping[str, Any]], described: Mapping[str, Mapping[str, Any]]
    ) -> Iterator[Update]:
        # Of two items that are alike in all they say, as where times are whole seconds, each is one.
        seen: Counter[tuple[str, float, str]] = Counter()
        for item in items:
            name, at, data = item["AlarmName"], item["Timestamp"].timestamp(), item["HistoryData"]
            seen[name, at, data] += 1
            which = (name, at, data, seen[name, at, data])
            if name not in described or at < self._since or which in self._told:
                continue
            self._told.add(which)
            update = Update(name, at, json.loads(data))
            self._last[name] = (update.after, at)
            yield update

    def _explains(self, name: str, alarm: Mapping[str, Any]) -> bool:
        """Whether the last transition that was found led to the state that DescribeAlarms tells, and not an earlier."""
        if name not in self._last:
            return False
        state, at = self._last[name]
        changed = _changed(alarm)
        whole = not changed.microsecond or at == int(at)
        apart = max(_APART_PRODUCTION_S / self._target.scale, _WHOLE_SECOND_S if whole else 0.0)
        return state == alarm["StateValue"] and at >= changed.timestamp() - apart


def _changed(alarm: Mapping[str, Any]) -> datetime:
    """When an alarm went to its state. StateUpdatedTimestamp also moves when only its evaluation changed."""
    when: datetime = alarm.get("StateTransitionedTimestamp") or alarm["StateUpdatedTimestamp"]
    return when
