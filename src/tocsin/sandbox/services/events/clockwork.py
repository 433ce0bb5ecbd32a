# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""Rules with a schedule, in production time.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-rule-schedule.html
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar

from tocsin.sandbox.metrics import Scope
from tocsin.sandbox.services.events.due import Calendar, Due, rate_s
from tocsin.sandbox.world import World

Run = Callable[[str, Mapping[str, Any], dict[str, Any], Scope], None]
"""(key, rule, event, account and region): deliver the event to all targets of the rule."""

SHORTEST_TICK_S = 0.05
"""Wall seconds between two looks at the schedules, at least; else a second of production time."""
_OFF = "DISABLED"
_logger = logging.getLogger("tocsin.sandbox")


class Clockwork:
    """The schedules of rules."""

    RELIED_ON: ClassVar[Mapping[str, str]] = {
        "_rules": "",
        "_parse_cron_fields": "expr",
        "_cron_next_fire": "fields, after_dt",
    }

    def __init__(self, world: World, run: Run) -> None:
        self._world = world
        self._run = run
        self._events = world.ministack.module("services.eventbridge")
        self._calendar = Calendar(world.time)
        self._due: dict[tuple[str, str, str], Due] = {}

    async def tick_for_ever(self) -> None:
        """Look at the schedules until the sandbox ends."""
        while True:
            await asyncio.sleep(max(SHORTEST_TICK_S, self._world.clock.wall(1)))
            try:
                self.tick()
            except Exception:  # one rule that cannot be looked at must not end the schedules of all
                _logger.exception("schedules of rules")

    def tick(self) -> None:
        """Run every rule that is due."""
        now_s = self._world.time.now()
        rules = {key: rule for key, rule in list(self._events._rules._data.items()) if rule.get("ScheduleExpression")}
        self._due = {key: due for key, due in self._due.items() if key in rules}
        for key, rule in rules.items():
            taken = self._of(key, rule, now_s).take(now_s, self._calendar, self.next_date)
            # A rule that is off keeps its rhythm, and runs at none of its times.
            if taken is not None and rule.get("State") != _OFF:
                account, region, name = key
                self._run(name, rule, self._event(rule, (account, region), taken), (account, region))

    def next_date(self, expression: str, after: datetime) -> datetime | None:
        """The first date after another one at which a `cron(...)` is due; None: never, or it is no valid one."""
        fields = self._events._parse_cron_fields(expression)
        found: datetime | None = None if fields is None else self._events._cron_next_fire(fields, after)
        return found

    def _of(self, key: tuple[str, str, str], rule: Mapping[str, Any], now_s: float) -> Due:
        expression, due = rule["ScheduleExpression"], self._due.get(key)
        if due is None or due.expression != expression:
            # The countdown of a rate begins when the rule is created, or gets another one.
            created = rule.get("CreationTime") if due is None else None
            begins_s = now_s if created is None else self._world.time.at(created)
            first_s = begins_s + (rate_s(expression) or 0)
            due = self._due[key] = Due.recurring(expression, first_s, self._calendar, self.next_date)
        return due

    def _event(self, rule: Mapping[str, Any], scope: Scope, due_s: float) -> dict[str, Any]:
        return {
            "EventId": str(uuid.uuid4()),
            "Source": "aws.events",
            "DetailType": "Scheduled Event",
            "Detail": "{}",
            "EventBusName": rule["EventBusName"],
            "Time": int(self._world.time.wall(due_s)),
            "TakenIn": time.time(),
            "Resources": [rule["Arn"]],
            "Account": scope[0],
            "Region": scope[1],
        }
