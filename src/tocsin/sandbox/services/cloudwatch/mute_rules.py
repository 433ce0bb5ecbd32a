"""Alarm mute rules: kept, answered for, and asked by the actions of alarms.

A `cron(...)` is read on the calendar of production time, an `at(...)` is wall-clock time, a duration production time:
as everywhere in the sandbox.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tocsin.alarms.mutes import Schedule
from tocsin.errors import InvalidInput
from tocsin.model.alarm_limits import MUTE_TARGETS
from tocsin.sandbox.metrics import Scope, SystemTime
from tocsin.sandbox.services.events.due import Calendar

_A_PAGE = 50
_KEPT_FIELDS = ("Name", "Description", "Rule", "MuteTargets", "StartDate", "ExpireDate")


@dataclass(frozen=True)
class _Rule:
    definition: Mapping[str, Any]
    schedule: Schedule
    arn: str
    updated: float

    @property
    def targets(self) -> list[str]:
        """The names of the alarms that it mutes."""
        return list((self.definition.get("MuteTargets") or {}).get("AlarmNames") or ())


class MuteRules:
    """The mute rules of all accounts and regions of one sandbox."""

    def __init__(self, system_time: SystemTime, current_scope: Callable[[], Scope], has: Callable[[str], bool]) -> None:
        """`has` tells whether the account and region of the present request have an alarm of a name."""
        self._time = system_time
        self._calendar = Calendar(system_time)
        self._current_scope = current_scope
        self._has = has
        self._rules: dict[tuple[Scope, str], _Rule] = {}

    def muted(self, scope: Scope, alarm_name: str, now_s: float) -> bool:
        """Whether a rule holds the actions of an alarm back at a system second."""
        return any(
            self._active(rule, now_s)
            for (where, _), rule in self._rules.items()
            if where == scope and alarm_name in rule.targets
        )

    def put(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """PutAlarmMuteRule."""
        schedule = request["Rule"]["Schedule"]
        read = Schedule.of(schedule["Expression"], schedule["Duration"], schedule.get("Timezone"))
        name, scope = request["Name"], self._current_scope()
        definition = {field: request[field] for field in _KEPT_FIELDS if request.get(field) is not None}
        arn = f"arn:aws:cloudwatch:{scope[1]}:{scope[0]}:alarm-mute-rule:{name}"
        rule = _Rule(definition, read, arn, time.time())
        if len(rule.targets) > MUTE_TARGETS.most:
            raise InvalidInput(f"MuteTargets: expected at most {MUTE_TARGETS.most} alarms, found {len(rule.targets)}")
        unknown = [target for target in rule.targets if not self._has(target)]
        if unknown:
            raise InvalidInput(f"MuteTargets: expected names of alarms, found none of {', '.join(unknown)}")
        self._rules[scope, name] = rule
        return {}

    def get(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """GetAlarmMuteRule."""
        name = request["AlarmMuteRuleName"]
        rule = self._rules.get((self._current_scope(), name))
        if rule is None:
            raise InvalidInput(f"expected an alarm mute rule, found none of the name {name}")
        return {**rule.definition, **self._summary(rule)}

    def list(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """ListAlarmMuteRules."""
        scope, alarm, statuses = self._current_scope(), request.get("AlarmName"), request.get("Statuses")
        summaries = [
            self._summary(rule)
            for (where, _), rule in sorted(self._rules.items())
            if where == scope and (alarm is None or alarm in rule.targets)
        ]
        found = [one for one in summaries if not statuses or one["Status"] in statuses]
        first, most = int(request.get("NextToken") or 0), int(request.get("MaxRecords") or _A_PAGE)
        more = {"NextToken": str(first + most)} if len(found) > first + most else {}
        return {"AlarmMuteRuleSummaries": found[first : first + most], **more}

    def delete(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """DeleteAlarmMuteRule: no error where there is none."""
        self._rules.pop((self._current_scope(), request["AlarmMuteRuleName"]), None)
        return {}

    def _summary(self, rule: _Rule) -> dict[str, Any]:
        expires = rule.definition.get("ExpireDate")
        return {
            "AlarmMuteRuleArn": rule.arn,
            "Status": self._status(rule),
            "MuteType": "RECURRING" if rule.schedule.at is None else "ONE_TIME",
            "LastUpdatedTimestamp": rule.updated,
        } | ({} if expires is None else {"ExpireDate": expires})

    def _status(self, rule: _Rule) -> str:
        now_s = self._time.now()
        if self._active(rule, now_s):
            return "ACTIVE"
        expires = rule.definition.get("ExpireDate")
        if expires is not None and time.time() >= float(expires):
            return "EXPIRED"
        over = rule.schedule.at is not None and self._date(rule, now_s) >= rule.schedule.at
        return "EXPIRED" if over else "SCHEDULED"

    def _active(self, rule: _Rule, now_s: float) -> bool:
        wall = self._time.wall(now_s)
        starts, expires = rule.definition.get("StartDate"), rule.definition.get("ExpireDate")
        if (starts is not None and wall < float(starts)) or (expires is not None and wall >= float(expires)):
            return False
        date = self._date(rule, now_s)
        return bool(rule.schedule.windows(date, date))

    def _date(self, rule: _Rule, now_s: float) -> datetime:
        """The date on the calendar that the schedule of a rule is read on."""
        at = rule.schedule.at
        if at is None:
            return self._calendar.date(now_s, rule.schedule.zone)
        return at + timedelta(seconds=now_s - self._time.at(at.timestamp()))
