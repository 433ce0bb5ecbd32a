"""What a running drill has seen so far: only to decide how long to hold, never to judge."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection

from tocsin.actors.canaries import canary_period_s
from tocsin.actors.context import RunContext
from tocsin.drill.answers import enough_before
from tocsin.errors import Refused
from tocsin.model.events import (
    Act,
    ActorDied,
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
from tocsin.model.experiment import MustAlarm
from tocsin.model.looks import LOOKS
from tocsin.model.system import AlarmState
from tocsin.model.traffic import Healthy

_STAY_CLEAR_S = 60.0
"""Production seconds for which everything stays as before at the end: one more evaluation of every alarm."""
_LOAD_STARTS_WITHIN_S = 20.0
"""Wall seconds after which load that has not begun will not come; starting Locust takes seconds on a busy machine."""
_NO_CHANCE = 7.0
"""Planned arrivals of which not one comes once in a thousand times: they come at random (Poisson)."""
_CANARY_RUNS_WITHIN_S = 20.0
"""Wall seconds, after its turn has come, within which a canary has run once, or will not."""
_SLACK_WALL_S = 1.0
"""Polling and delivery take real time on every clock."""


class LiveView:
    """Listens to the history of one drill.

    `canaries` are the names of those that will run.
    """

    def __init__(self, ctx: RunContext, canaries: Collection[str] = ()) -> None:
        self._ctx = ctx
        self._expect = ctx.experiment.extension.expect
        self._lock = threading.Lock()
        self.started_at = time.time()
        self.accepted_at: float | None = None
        self.undo_requested_at: float | None = None
        self._verified_at: float | None = None
        self._states: dict[str, AlarmState] = {}
        self._rang: set[tuple[str, AlarmState]] = set()
        """(alarm, state) of every transition since the injection"""
        self._notified: dict[tuple[str, AlarmState], float] = {}
        self._canary_failed: set[str] = set()
        self._canary_ok_since: dict[str, float] = {}
        self._canaries: set[str] = set(canaries)
        self._have_run: set[str] = set()
        """canaries of which a run is in the history"""
        self.requested_at: float | None = None
        self._before: list[LoadSecond] = []
        self._asked_load = False
        """whether what follows is of the load as it is known now"""
        self._served_since: float | None = None
        self._waits_for_answers = False
        self._seconds: list[LoadSecond] = []
        """since the verified undo, that too which it cuts through"""
        self._clear_since: float | None = None
        self._has_load = ctx.system.load is not None and ctx.experiment.extension.load is not None
        self._enough = enough_before(ctx.experiment, ctx.system, ctx.scale)
        self._longest_before = ctx.wall(ctx.experiment.extension.longest_baseline_s(ctx.scale))
        self._baseline_at = self.started_at
        self._load_since: float | None = None
        self._dead: dict[str, str] = {}

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
            case AlarmNotified(alarm=alarm, state=state):
                self._notified[alarm, state] = event.at
            case CanaryRan():
                self._note_canary(event)
            case LoadSecond():
                self._note_second(event)
            case ActStarted(act=Act.BASELINE):
                self._baseline_at = event.at
            case ActorDied(actor=actor, detail=detail):
                self._dead.setdefault(actor, detail)

    def _note_second(self, event: LoadSecond) -> None:
        self._load_since = self._load_since or event.at
        self._seconds = [*self._seconds[-1:], event] if self._verified_at is None else [*self._seconds, event]
        self._asked_load = False
        if self.requested_at is None or event.at + 1 <= self.requested_at:
            self._before.append(event)

    def _note_fault(self, event: FaultChanged) -> None:
        if event.stage is FaultStage.REQUESTED and self.requested_at is None:
            self.requested_at = event.at
        if event.stage is FaultStage.ACCEPTED and self.accepted_at is None:
            self.accepted_at = event.at
        if event.stage is FaultStage.UNDO_REQUESTED and self.undo_requested_at is None:
            self.undo_requested_at = event.at
        if event.stage is FaultStage.VERIFIED:
            self._verified_at, self._asked_load = event.at, False
            self._seconds = [second for second in self._seconds if second.at + 1 > event.at]

    def _note_transition(self, event: AlarmChanged) -> None:
        self._states[event.alarm] = event.after
        if self.accepted_at is not None and event.at > self.accepted_at:
            self._rang.add((event.alarm, event.after))

    def _note_canary(self, event: CanaryRan) -> None:
        self._canaries.add(event.canary)
        self._have_run.add(event.canary)
        if event.ok_after_retry:
            self._canary_ok_since[event.canary] = event.at
            return
        self._canary_ok_since.pop(event.canary, None)
        if self.accepted_at is not None and event.at > self.accepted_at:
            self._canary_failed.add(event.canary)

    # --- the baseline act -----------------------------------------------------------------------------------

    def baseline_seen(self) -> bool:
        """The healthy system was watched under load for as long as stated, gave enough answers, and each canary ran.

        Or load did not come, or a canary not in time, or somebody died.
        """
        with self._lock:
            if self._dead:
                return True
            now, planned = self._ctx.now(), self._ctx.wall(self._ctx.experiment.extension.baseline)
            return self._loaded_for(planned, now) and self._canaries_ran(planned, now)

    def _loaded_for(self, planned: float, now: float) -> bool:
        if not self._has_load:
            return now - self._baseline_at >= planned
        if self._load_since is None:
            return now - self._baseline_at >= planned + _LOAD_STARTS_WITHIN_S
        return now - self._load_since >= (planned if self._answers_before() >= self._enough else self._longest_before)

    def _answers_before(self) -> int:
        """Of whole seconds before the fault: as many as the judge will count."""
        return sum(second.answered for second in self._before)

    def _canaries_ran(self, planned: float, now: float) -> bool:
        """Whether nothing is to be waited for: without a run before the fault a canary shows nothing of it."""
        plan = self._ctx.system.canaries
        if plan is None or self._canaries <= self._have_run:
            return True
        turn = max(planned, self._ctx.wall(canary_period_s(plan.every, self._ctx.scale)))
        return now - self._baseline_at >= turn + _CANARY_RUNS_WITHIN_S

    def check_actors(self) -> str:
        """Whether everybody who loads or watches lives: what they do not see of a fault, nobody sees.

        Raises:
            Refused: one died, so that a fault would hurt and prove nothing.
        """
        with self._lock:
            dead = "; ".join(f"{actor}: {detail}" for actor, detail in self._dead.items())
        if dead:
            told = f"expected everybody alive who loads or watches, found that somebody died before the fault: {dead}"
            raise Refused("actors", told)
        return "everybody who loads or watches is alive"

    def check_traffic(self) -> str:
        """Whether load has come, where some is planned.

        Raises:
            Refused: none was seen, though so much was planned that it cannot be chance.
        """
        with self._lock:
            seconds, plan = tuple(self._before), self._ctx.experiment.extension.load
        if not self._has_load or plan is None:
            return "no load is planned"
        offered, planned = sum(second.offered for second in seconds), plan.arrivals_per_s * len(seconds)
        if not offered and (not seconds or planned >= _NO_CHANCE):
            seen = f"no arrival in {len(seconds)} s" if seconds else "no second of it"
            told = "without callers a fault shows nothing. What the load said is in load.log of the drill"
            raise Refused("traffic", f"expected load in the baseline, found {seen}: {told}.")
        return f"{offered} arrivals in the baseline"

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
                and all(self._alarm_done(entry, passed) for entry in self._expect.must_alarms)
                and all(
                    m.canary in self._canary_failed or self._production_passed(passed, m.within)
                    for m in self._expect.must_canaries
                )
            )

    def longest_fault(self) -> float:
        """Wall seconds that the fault act may wait for its bells, from the last injection on."""
        return self._ctx.wall(self._ctx.experiment.extension.longest_hold_s) + _SLACK_WALL_S

    def _alarm_done(self, entry: MustAlarm, passed_wall: float) -> bool:
        rang = (entry.alarm, entry.by)
        told = rang in self._notified or not self._ctx.system.can_tell(entry.alarm)
        if rang in self._rang and told:
            return True
        return self._production_passed(passed_wall, entry.told_within if rang in self._rang else entry.within)

    def _production_passed(self, wall_s: float, production_s: float) -> bool:
        return wall_s >= self._ctx.wall(production_s) + _SLACK_WALL_S

    # --- the recovery act -----------------------------------------------------------------------------------

    def recovery_deadline(self) -> float:
        """Wall-clock time at which waiting for recovery ends.

        Where too few answers came to show that callers are served as before, it is waited for more.
        """
        since = self._verified_at or self.accepted_at or self.started_at
        extension = self._ctx.experiment.extension
        waits, scale = self._waits_for_answers, self._ctx.scale
        longest = extension.longest_recovery_s(scale) if waits else extension.recovers_within_s
        return since + self._ctx.wall(longest) + 2 * _SLACK_WALL_S

    def served_since(self) -> float | None:
        """Since when callers get what they got before the fault, shown already or not; without load, since the undo.

        None: they do not, or nobody can tell yet.
        """
        with self._lock:
            return self._served_from() if self._canaries_pass() else None

    def service_back(self) -> bool:
        """Callers are served again: canaries passed since the undo, and the load is shown to get what it got before the
        fault, or no look is left that could show it; or the time for it is over."""
        with self._lock:
            served = self._canaries_pass() and self._served_from() is not None and not self._waits_for_answers
            return served or self._ctx.now() > self.recovery_deadline()

    def stayed_clear(self) -> bool:
        """Callers are served and no alarm rings, for one more evaluation by now; or the time for it is over.

        Asked often: it counts from the first time at which that was so.
        """
        with self._lock:
            now = self._ctx.now()
            if not (self._canaries_pass() and self._served_from() is not None and self._alarms_clear()):
                self._clear_since = None
                return now > self.recovery_deadline()
            self._clear_since = self._clear_since or now
            return now - self._clear_since >= self._ctx.wall(_STAY_CLEAR_S) + _SLACK_WALL_S

    def _alarms_clear(self) -> bool:
        if "ALARM" in self._states.values():
            return False
        must = self._expect.must_alarms
        silent = any(self._states.get(entry.alarm) == entry.by for entry in must)
        return not silent and all(self._all_clear_told(entry.alarm) for entry in must if entry.all_clear)

    def _all_clear_told(self, alarm: str) -> bool:
        """Whether people know that it is OK; of one that did not ring there is nothing to tell."""
        told_at = self._notified.get((alarm, "OK"))
        return (alarm, "OK") not in self._rang or (told_at is not None and told_at > (self.accepted_at or 0.0))

    def _canaries_pass(self) -> bool:
        since = self._verified_at
        return since is not None and all(self._canary_ok_since.get(name, 0.0) > since for name in self._canaries)

    def _served_from(self) -> float | None:
        """Worked out anew for each second of load only, and by the looks that judge it afterwards."""
        if not self._has_load:
            return self._verified_at
        if not self._asked_load:
            seconds = sorted((one for one in self._seconds if one.answered), key=lambda one: one.at)
            healthy = Healthy.of(self._ctx.system.objectives, self._before)
            served = healthy.served(seconds, self._ctx.scale, LOOKS)
            self._waits_for_answers = served.waits
            self._served_since = None if served.well is None else seconds[served.well].at
            self._asked_load = True
        return self._served_since
