"""What a running drill has seen so far: only to decide how long to hold, never to judge."""

from __future__ import annotations

import threading
import time
from collections import deque

from tocsin.context import RunContext
from tocsin.model.events import (
    Act,
    ActStarted,
    AlarmChanged,
    AlarmNotified,
    AlarmSeen,
    AlarmsPolled,
    CanaryRan,
    Event,
    FaultChanged,
    FaultStage,
    LoadSecond,
)
from tocsin.model.experiment import NOTIFY_GRACE_S
from tocsin.model.system import AlarmState

_STAY_CLEAR_S = 60.0
"""Production seconds for which everything stays as before at the end: one more evaluation of every alarm."""
_GOOD_SECONDS = 3
_LOAD_STARTS_WITHIN_S = 20.0
"""Wall seconds after which load that has not begun will not come; starting Locust takes seconds on a busy machine."""
_SLACK_WALL_S = 1.0
"""Polling and delivery take real time on every clock."""


class LiveView:
    """Listens to the history of one drill."""

    def __init__(self, ctx: RunContext) -> None:
        self._ctx = ctx
        self._expect = ctx.experiment.extension.expect
        self._lock = threading.Lock()
        self.started_at = time.time()
        self.accepted_at: float | None = None
        self.undo_requested_at: float | None = None
        self._verified_at: float | None = None
        self._states: dict[str, AlarmState] = {}
        self._rang: dict[str, float] = {}
        self._notified: set[str] = set()
        self._canary_failed: set[str] = set()
        self._canary_ok_since: dict[str, float] = {}
        self._canaries: set[str] = set()
        self._seconds: deque[LoadSecond] = deque(maxlen=_GOOD_SECONDS)
        self._clear_since: float | None = None
        self._has_load = ctx.system.load is not None and ctx.experiment.extension.load is not None
        self._baseline_at = self.started_at
        self._load_since: float | None = None

    def see(self, event: Event) -> None:
        """Take note of one event; called from whichever thread recorded it."""
        with self._lock:
            self._note(event)

    def _note(self, event: Event) -> None:
        match event:
            case FaultChanged():
                self._note_fault(event)
            case AlarmSeen(alarm=alarm, state=state):
                self._states[alarm] = state
            case AlarmsPolled(states=states):
                self._states.update(states)
            case AlarmChanged():
                self._note_transition(event)
            case AlarmNotified(alarm=alarm, state="ALARM"):
                self._notified.add(alarm)
            case CanaryRan():
                self._note_canary(event)
            case LoadSecond():
                self._load_since = self._load_since or event.at
                self._seconds.append(event)
            case ActStarted(act=Act.BASELINE):
                self._baseline_at = event.at

    def _note_fault(self, event: FaultChanged) -> None:
        if event.stage is FaultStage.ACCEPTED and self.accepted_at is None:
            self.accepted_at = event.at
        if event.stage is FaultStage.UNDO_REQUESTED and self.undo_requested_at is None:
            self.undo_requested_at = event.at
        if event.stage is FaultStage.VERIFIED:
            self._verified_at = event.at

    def _note_transition(self, event: AlarmChanged) -> None:
        self._states[event.alarm] = event.after
        if event.after == "ALARM" and self.accepted_at is not None and event.at > self.accepted_at:
            self._rang.setdefault(event.alarm, event.at)

    def _note_canary(self, event: CanaryRan) -> None:
        self._canaries.add(event.canary)
        if event.ok_after_retry:
            self._canary_ok_since[event.canary] = event.at
            return
        self._canary_ok_since.pop(event.canary, None)
        if self.accepted_at is not None and event.at > self.accepted_at:
            self._canary_failed.add(event.canary)

    # --- the baseline act -----------------------------------------------------------------------------------

    def baseline_seen(self) -> bool:
        """The healthy system was watched under load for as long as planned, or the load did not come."""
        with self._lock:
            now, planned = self._ctx.now(), self._ctx.wall(self._ctx.experiment.extension.baseline)
            if not self._has_load:
                return now - self._baseline_at >= planned
            if self._load_since is None:
                return now - self._baseline_at >= planned + _LOAD_STARTS_WITHIN_S
            return now - self._load_since >= planned

    # --- the fault act --------------------------------------------------------------------------------------

    def fault_seen(self) -> bool:
        """Every bell rang or had its time, every quiet window closed, the least duration is over."""
        with self._lock:
            if self.accepted_at is None:
                return True
            passed = self._ctx.now() - self.accepted_at
            return (
                self._production_passed(passed, self._ctx.experiment.extension.fault_for or 0.0)
                and all(self._production_passed(passed, window) for window in self._expect.silences)
                and all(self._alarm_done(m.alarm, m.within, passed) for m in self._expect.must_alarms)
                and all(
                    m.canary in self._canary_failed or self._production_passed(passed, m.within)
                    for m in self._expect.must_canaries
                )
            )

    def longest_fault(self) -> float:
        """Wall seconds that the fault act may wait for its bells, from the last injection on."""
        return self._ctx.wall(self._ctx.experiment.extension.longest_hold_s) + _SLACK_WALL_S

    def _alarm_done(self, alarm: str, within: float, passed_wall: float) -> bool:
        told = alarm in self._notified or not self._ctx.system.can_tell(alarm)
        if alarm in self._rang and told:
            return True
        grace = NOTIFY_GRACE_S if alarm in self._rang else 0.0
        return self._production_passed(passed_wall, within + grace)

    def _production_passed(self, wall_s: float, production_s: float) -> bool:
        return wall_s >= self._ctx.wall(production_s) + _SLACK_WALL_S

    # --- the recovery act -----------------------------------------------------------------------------------

    def recovery_deadline(self) -> float:
        """Wall-clock time at which waiting for recovery ends."""
        since = self._verified_at or self.accepted_at or self.started_at
        longest = max([self._expect.recovery.within, *(m.clears_within for m in self._expect.must_alarms)])
        return since + self._ctx.wall(longest) + 2 * _SLACK_WALL_S

    def service_back(self) -> bool:
        """Callers are served again: canaries passed since the undo, and the load meets its objective."""
        with self._lock:
            return self._service_back() or self._ctx.now() > self.recovery_deadline()

    def all_clear(self) -> bool:
        """The service is back and no alarm rings, or the time for it is over."""
        with self._lock:
            clear = self._service_back() and self._alarms_clear()
            return clear or self._ctx.now() > self.recovery_deadline()

    def stayed_clear(self) -> bool:
        """Everything stayed as before for one more evaluation, or the time for it is over."""
        with self._lock:
            now = self._ctx.now()
            if not (self._service_back() and self._alarms_clear()):
                self._clear_since = None
                return now > self.recovery_deadline()
            self._clear_since = self._clear_since or now
            return now - self._clear_since >= self._ctx.wall(_STAY_CLEAR_S) + _SLACK_WALL_S

    def _alarms_clear(self) -> bool:
        return "ALARM" not in self._states.values()

    def _service_back(self) -> bool:
        if self._verified_at is None:
            return False
        since = self._verified_at
        canaries = all(self._canary_ok_since.get(name, 0.0) > since for name in self._canaries)
        return canaries and self._load_good(since)

    def _load_good(self, since: float) -> bool:
        if not self._has_load:
            return True
        recent = [second for second in self._seconds if second.at >= since - 1]
        limit = self._ctx.system.objectives.max_error_share
        return len(recent) == _GOOD_SECONDS and all(_error_share(second) <= limit for second in recent)


def _error_share(second: LoadSecond) -> float:
    return second.failed / second.answered if second.answered else 1.0
