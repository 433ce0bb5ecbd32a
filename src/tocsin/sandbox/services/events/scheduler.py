# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""Amazon EventBridge Scheduler: one-time and recurring schedules, flexible windows, and what is done afterwards.

ministack keeps schedules and groups. When one is due, and what is done then, is Tocsin's.
https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tocsin.sandbox.metrics import Scope
from tocsin.sandbox.service import ReliedOn
from tocsin.sandbox.services.awslambda.asynchronous import Asynchronous
from tocsin.sandbox.services.events import permissions, plans, targets
from tocsin.sandbox.services.events.clockwork import SHORTEST_TICK_S
from tocsin.sandbox.services.events.delivery import deliver
from tocsin.sandbox.services.events.due import Calendar, Due, at_wall
from tocsin.sandbox.services.events.invocations import Invocation, Reach
from tocsin.sandbox.services.events.service import Events
from tocsin.sandbox.world import World

_ON = "ENABLED"
_DELETE = "DELETE"
_logger = logging.getLogger("tocsin.sandbox")


@dataclass
class _Plan:
    """A schedule as it was last read."""

    read: tuple[Any, ...]
    due: Due | None
    """None for a one-time schedule."""
    at: float | None
    """Wall-clock epoch seconds of a one-time schedule that has not been invoked yet."""


class Scheduler:
    """The schedules of one sandbox."""

    RELIED_ON: ClassVar[ReliedOn] = {
        **permissions.RELIED_ON,
        **targets.RELIED_ON,
        "services.scheduler": {
            "_schedules": "",
            "_tags": "",
            "_create_schedule": "name, body",
            "_update_schedule": "name, body",
            "_error": "status, code, message",
            "_to_epoch": "value",
        },
    }

    def adapt(self, world: World) -> None:
        """Refuse what the sandbox cannot invoke."""
        self._world = world
        self._events = world.service(Events)
        self._scheduler = world.ministack.module("services.scheduler")
        allowed = permissions.Permissions(world.ministack, world.keys)
        reached = targets.Targets(world.ministack, allowed, world.service(Asynchronous))
        self._reach = Reach(world, reached, allowed, self._events)
        self._calendar = Calendar(world.time)
        self._plans: dict[tuple[str, str, str], _Plan] = {}
        for name in ("_create_schedule", "_update_schedule"):
            original = getattr(self._scheduler, name)
            world.ministack.replace(
                self._scheduler,
                name,
                lambda name, body, original=original: self._refused(body) or original(name, body),
            )

    def start(self) -> None:
        """Begin to look at schedules."""
        self._world.ministack.in_background(self._tick_for_ever())

    def _refused(self, body: Mapping[str, Any]) -> Any:
        found = plans.problem(body, self._events.is_cron, self._reach.services)
        return None if found is None else self._scheduler._error(400, "ValidationException", found)

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(max(SHORTEST_TICK_S, self._world.clock.wall(1)))
            try:
                self._tick()
            except Exception:  # one schedule that cannot be looked at must not end all others
                _logger.exception("schedules of EventBridge Scheduler")

    def _tick(self) -> None:
        found = dict(list(self._scheduler._schedules._data.items()))
        self._plans = {key: plan for key, plan in self._plans.items() if key in found}
        for key, schedule in found.items():
            self._look_at(key, schedule, time.time())

    def _look_at(self, key: tuple[str, str, str], schedule: Mapping[str, Any], now: float) -> None:
        ends, starts = (self._scheduler._to_epoch(schedule.get(name)) for name in ("EndDate", "StartDate"))
        plan = self._of(key, schedule, starts)
        if plan.due is not None and ends is not None and now > ends:
            self._completed(key, schedule)
            return
        due = self._taken(plan, schedule, now)
        begun = plan.due is None or starts is None or now >= starts
        if due is not None and begun and schedule.get("State") == _ON:
            self._world.ministack.in_background(self._invoke(key, schedule, due, once=plan.due is None))

    def _of(self, key: tuple[str, str, str], schedule: Mapping[str, Any], starts: float | None) -> _Plan:
        read = tuple(schedule.get(name) for name in ("CreationDate", "ScheduleExpression", "StartDate", "State"))
        known = self._plans.get(key)
        if known is not None and known.read == read:
            return known
        expression, zone = schedule["ScheduleExpression"], plans.zone(schedule)
        at = at_wall(expression, zone)
        due = None
        if at is None:
            # Without a start date a rate begins at once.
            first_s = self._world.time.at(starts if starts is not None else time.time())
            due = Due.recurring(expression, first_s, self._calendar, self._events.next_date, zone)
            if known is not None and known.due is not None and known.due.expression == expression:
                # Only switched on or off: it keeps its rhythm.
                due = known.due
        if known is not None and known.read[:2] == read[:2]:
            at = known.at
        plan = self._plans[key] = _Plan(read, due, at)
        return plan

    def _taken(self, plan: _Plan, schedule: Mapping[str, Any], now: float) -> float | None:
        """Wall-clock time at which it was due, None when it was not."""
        if plan.due is not None:
            due_s = plan.due.take(
                self._world.time.at(now), self._calendar, self._events.next_date, plans.zone(schedule)
            )
            return None if due_s is None else self._world.time.wall(due_s)
        if plan.at is None or now < plan.at or schedule.get("State") != _ON:
            return None
        at, plan.at = plan.at, None
        return at

    async def _invoke(self, key: tuple[str, str, str], schedule: Mapping[str, Any], due: float, *, once: bool) -> None:
        window = self._world.clock.wall(plans.window_s(schedule))
        if window:
            await asyncio.sleep(random.random() * window)
        scope: Scope = (key[0], key[1])
        await deliver(Invocation(self._reach, dict(schedule), scope, due), self._world.clock)
        if once:
            self._completed(key, schedule)

    def _completed(self, key: tuple[str, str, str], schedule: Mapping[str, Any]) -> None:
        """It has been invoked for the last time.

        https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-delete.html
        """
        present = self._scheduler._schedules._data.get(key)
        same = present is not None and present.get("CreationDate") == schedule.get("CreationDate")
        if same and schedule.get("ActionAfterCompletion") == _DELETE:
            del self._scheduler._schedules._data[key]
            with self._world.ministack.scope((key[0], key[1])):
                self._scheduler._tags.pop(schedule["Arn"], None)
