"""A history, indexed by the questions that checkers and reports ask of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

from tocsin.checkers.gathering import CanaryRun, Watched, gathered
from tocsin.checkers.polls import AlarmRecord, Said
from tocsin.errors import InvalidInput
from tocsin.model.events import (
    Act,
    ActEnded,
    ActStarted,
    AlarmChanged,
    AlarmForecast,
    AlarmNotEvaluated,
    AlarmSeen,
    DrillStarted,
    Event,
    FaultChanged,
    FaultStage,
    LoadSecond,
    Stopped,
    WorkCounted,
)
from tocsin.model.experiment import Expect, Experiment
from tocsin.model.system import AlarmState, System
from tocsin.model.traffic import Healthy, Served

E = TypeVar("E")

LONGEST_SILENCE_S = 60.0
"""Production seconds that may pass between two reports of the alarm watcher: CloudWatch's own resolution."""
LONGEST_SILENCE_WALL_S = 2.0
"""Wall seconds on top of it: a busy machine is not a dead watcher."""

CLOSING = (FaultStage.VERIFIED, FaultStage.DRIFTED, FaultStage.UNDO_FAILED)
"""Stages that say how the undo of a fault ended."""


@dataclass(frozen=True)
class Span:
    """A stretch of wall-clock time, both ends included."""

    start: float
    end: float

    def holds(self, start: float, end: float | None = None) -> bool:
        """Whether an instant, or all of `start` to `end`, lies inside."""
        return self.start <= start and (start if end is None else end) <= self.end


@dataclass(frozen=True)
class Timeline:
    """All events of one drill in the order of their time, and what follows from them.

    Every time is wall-clock epoch seconds; `production` turns a difference into production seconds. What comes by the
    hundred thousand (polls, canary runs, seconds of load) is kept as small as it can be asked about:
    `tocsin.checkers.gathering`.
    """

    started: DrillStarted
    events: Mapping[type[object], Sequence[Event]]
    """by kind; without those that have a place of their own below"""
    alarms: AlarmRecord
    canary_runs: Sequence[CanaryRun]
    load: Sequence[LoadSecond]
    """every second of load"""
    measured: Sequence[Watched]
    """every stretch in which the harness measured whether this machine keeps up"""
    rest: tuple[float, float]
    """time of the first and of the last event of all kinds, those of canaries and of load apart"""

    @classmethod
    def of(cls, events: Iterable[Event] | Timeline) -> Timeline:
        """Index a history; its events may come in any order, and are not kept. One that is indexed is taken as it is.

        Raises:
            InvalidInput: there is no `drill_started` event, so nobody knows what was expected.
        """
        if isinstance(events, Timeline):
            return events
        found = gathered(events)
        kinds = found.kinds()
        started = next(iter(kinds.get(DrillStarted, ())), None)
        if not isinstance(started, DrillStarted):
            raise InvalidInput(
                "expected a history that holds 'drill_started', found none: "
                "the drill ended before it began. Run it again."
            )
        return cls(
            started=started,
            events=kinds,
            alarms=found.alarms,
            canary_runs=found.canary_runs(),
            load=found.load(),
            measured=found.measured(),
            rest=(found.first, found.last),
        )

    def without(self, touched: Callable[[CanaryRun | LoadSecond], bool]) -> Timeline:
        """The history without some canary runs and seconds of load."""
        return replace(
            self,
            canary_runs=[run for run in self.canary_runs if not touched(run)],
            load=tuple(second for second in self.load if not touched(second)),
        )

    # -- what was planned ---------------------------------------------------------------------------

    @property
    def experiment(self) -> Experiment:
        """The experiment that was run."""
        return self.started.experiment

    @property
    def expect(self) -> Expect:
        """What it says must be seen."""
        return self.started.experiment.extension.expect

    @property
    def system(self) -> System:
        """The system under test."""
        return self.started.system

    # -- time ---------------------------------------------------------------------------------------

    @property
    def scale(self) -> float:
        """Production seconds per wall second."""
        return self.started.scale

    def production(self, wall_s: float) -> float:
        """Production seconds of a wall-clock difference."""
        return wall_s * self.scale

    def wall(self, production_s: float) -> float:
        """Wall seconds of a production duration."""
        return production_s / self.scale

    @cached_property
    def start(self) -> float:
        """When the drill began."""
        return self.started.at

    @cached_property
    def first(self) -> float:
        """When the first event was written."""
        return min([self.rest[0], *(found[0].at for found in (self.canary_runs, self.load) if found)])

    @cached_property
    def end(self) -> float:
        """When the last event was written."""
        return max([self.rest[1], *(found[-1].at for found in (self.canary_runs, self.load) if found)])

    # -- events -------------------------------------------------------------------------------------

    def of_kind(self, kind: type[E]) -> tuple[E, ...]:
        """All events of one type, in the order of their time; of those that are kept here by kind."""
        return tuple(event for event in self.events.get(kind, ()) if isinstance(event, kind))

    @cached_property
    def runs_by_canary(self) -> dict[str, list[CanaryRun]]:
        """The runs of each canary, in the order in which canaries were first seen."""
        found: dict[str, list[CanaryRun]] = {}
        for run in self.canary_runs:
            found.setdefault(run.canary, []).append(run)
        return found

    @cached_property
    def stopped(self) -> Stopped | None:
        """The first event that ended the drill early."""
        return next(iter(self.of_kind(Stopped)), None)

    @cached_property
    def acts(self) -> dict[Act, Span]:
        """When each act ran; one that never ended runs to the last event."""
        spans: dict[Act, Span] = {}
        ends = {event.act: event.at for event in self.of_kind(ActEnded)}
        for event in self.of_kind(ActStarted):
            spans.setdefault(event.act, Span(event.at, ends.get(event.act, self.end)))
        return spans

    @cached_property
    def watch_end(self) -> float:
        """Until when alarms are watched: the end of the recovery act, or the last event."""
        recovery = self.acts.get(Act.RECOVERY)
        return self.end if recovery is None else recovery.end

    @cached_property
    def traffic_end(self) -> float:
        """Until when load is due: work is counted after it ended, however long that takes."""
        counts = (event.at - event.waited_s for event in self.of_kind(WorkCounted))
        return min(self.watch_end, *counts, self.end)

    @cached_property
    def ended_acts(self) -> frozenset[Act]:
        """Acts that were begun and brought to their end."""
        return frozenset(event.act for event in self.of_kind(ActEnded)) & frozenset(self.acts)

    # -- the fault ----------------------------------------------------------------------------------

    @cached_property
    def fault_changes(self) -> tuple[FaultChanged, ...]:
        """Every stage of every fault."""
        return self.of_kind(FaultChanged)

    @cached_property
    def entries(self) -> dict[str, str]:
        """Ledger entry -> name of its fault, in the order of injection."""
        return {event.entry: event.fault for event in self.fault_changes}

    def first_stage(self, stage: FaultStage) -> float | None:
        """When the first fault reached `stage`."""
        return next((event.at for event in self.fault_changes if event.stage == stage), None)

    @cached_property
    def requested(self) -> float | None:
        """When the first injection was about to be made."""
        return self.first_stage(FaultStage.REQUESTED)

    @cached_property
    def accepted(self) -> float | None:
        """When the first injection was accepted by the API: deadlines count from here."""
        return self.first_stage(FaultStage.ACCEPTED)

    @cached_property
    def effective(self) -> float | None:
        """When evidence of a change was first seen."""
        return self.first_stage(FaultStage.EFFECTIVE)

    @cached_property
    def undo_requested(self) -> float | None:
        """When the first undo was about to be made."""
        return self.first_stage(FaultStage.UNDO_REQUESTED)

    def closing(self, entry: str) -> FaultChanged | None:
        """How the undo of one ledger entry ended: its last closing stage."""
        ends = [event for event in self.fault_changes if event.entry == entry and event.stage in CLOSING]
        return ends[-1] if ends else None

    @cached_property
    def verified(self) -> float | None:
        """When the last fault was read back as undone; None while any of them is not."""
        closings = [self.closing(entry) for entry in self.entries]
        times = [end.at for end in closings if end is not None and end.stage == FaultStage.VERIFIED]
        return max(times) if times and len(times) == len(closings) else None

    @cached_property
    def fault_end(self) -> float:
        """When the fault began to go away: the first sign of it, so that a lost line makes nothing longer."""
        undoing = (FaultStage.UNDO_REQUESTED, FaultStage.UNDONE, FaultStage.VERIFIED)
        signs = [at for stage in undoing if (at := self.first_stage(stage)) is not None]
        acts = [event.at for event in self.of_kind(ActEnded) if event.act is Act.FAULT]
        acts += [event.at for event in self.of_kind(ActStarted) if event.act is Act.RECOVERY]
        return min([*signs, *acts], default=self.end)

    # -- alarms -------------------------------------------------------------------------------------

    @cached_property
    def _changes(self) -> dict[str, tuple[AlarmChanged, ...]]:
        changes: dict[str, list[AlarmChanged]] = {}
        for event in self.of_kind(AlarmChanged):
            own = changes.setdefault(event.alarm, [])
            # One item of CloudWatch's history that was read, or written, twice is one transition.
            if not own or (own[-1].at, own[-1].after) != (event.at, event.after):
                own.append(event)
        return {alarm: tuple(own) for alarm, own in changes.items()}

    def alarm_changes(self, alarm: str) -> tuple[AlarmChanged, ...]:
        """All transitions of one alarm."""
        return self._changes.get(alarm, ())

    def rings(self, alarm: str, after: float, until: float | None = None) -> tuple[AlarmChanged, ...]:
        """Transitions to ALARM strictly after an instant."""
        return tuple(
            event
            for event in self.alarm_changes(alarm)
            if event.after == "ALARM" and event.at > after and (until is None or event.at <= until)
        )

    @cached_property
    def first_seen(self) -> dict[str, AlarmSeen]:
        """The first reading of each alarm."""
        seen: dict[str, AlarmSeen] = {}
        for event in self.of_kind(AlarmSeen):
            seen.setdefault(event.alarm, event)
        return seen

    def has_data(self, alarm: str) -> bool | None:
        """Whether the alarm's metric has ever had a datapoint, as last asked; None if it was not."""
        told = [event.has_data for event in self.of_kind(AlarmSeen) if event.alarm == alarm]
        return next((answer for answer in reversed(told) if answer is not None), None)

    def forecast(self, alarm: str) -> AlarmForecast | None:
        """What preflight expected of the alarm, if it was asked."""
        return next((event for event in self.of_kind(AlarmForecast) if event.alarm == alarm), None)

    def said(self, alarm: str) -> Said:
        """Every statement about an alarm's state, by reading, transition or poll."""
        return self.alarms.said(alarm)

    @cached_property
    def never_evaluated(self) -> dict[str, str]:
        """Alarms that the target does not have, because nobody there could evaluate them, and why."""
        return {event.alarm: event.detail for event in self.of_kind(AlarmNotEvaluated)}

    def not_evaluated(self, alarm: str, start: float, end: float) -> str | None:
        """Why CloudWatch did not evaluate the alarm in a window, as it said itself; None when it did not say so."""
        return self.alarms.unevaluated(alarm, start, end)

    def states_within(self, alarm: str, start: float, end: float) -> frozenset[AlarmState]:
        """Every state that the alarm was in from `start` to `end`; none before it was first seen."""
        first, later = self.state_at(alarm, start), self.said(alarm).within(start, end)
        return later if first is None else later | {first}

    def state_at(self, alarm: str, at: float) -> AlarmState | None:
        """The alarm's state at an instant; None before it was first seen."""
        return self.said(alarm).state_at(at)

    def in_alarm(self, alarm: str, after: float, until: float) -> float | None:
        """First instant in (after, until] at which anything says that the alarm is in ALARM.

        Polled states count too, so that a transition missing from the history is not read as silence.
        """
        return self.said(alarm).first("ALARM", after, until)

    def rang_before_fault(self, alarm: str) -> float | None:
        """When the alarm was in ALARM at any time from the first look at it to the injection."""
        if self.accepted is None:
            return None
        return self.in_alarm(alarm, after=float("-inf"), until=self.accepted)

    def seen_before_fault(self, alarm: str) -> bool:
        """Whether the alarm's state and definition were read before the injection."""
        seen = self.first_seen.get(alarm)
        return seen is not None and self.accepted is not None and seen.at <= self.accepted

    def watch_gap(self, alarm: str, start: float, end: float) -> float:
        """The longest time (production seconds) in a window for which nobody looked at the alarm."""
        return self.production(self.alarms.longest_gap(alarm, start, end))

    def watched(self, alarm: str, start: float, end: float) -> bool:
        """Whether the watcher looked often enough from `start` to `end` to have seen anything there was."""
        longest = LONGEST_SILENCE_S + self.production(LONGEST_SILENCE_WALL_S)
        return self.alarms.was_seen(alarm, end) and self.watch_gap(alarm, start, end) <= longest

    # -- load ---------------------------------------------------------------------------------------

    def load_within(self, start: float, end: float) -> tuple[LoadSecond, ...]:
        """Seconds of load that lie wholly between two instants."""
        return tuple(second for second in self.load if start <= second.at and second.at + 1 <= end)

    @cached_property
    def baseline_load(self) -> tuple[LoadSecond, ...]:
        """Seconds of the baseline act, all of them before the injection was requested; none without a recorded end."""
        span = self.acts.get(Act.BASELINE)
        if span is None or (self.requested is None and Act.BASELINE not in self.ended_acts):
            return ()
        end = span.end if self.requested is None else min(span.end, self.requested)
        return self.load_within(span.start, end)

    @cached_property
    def fault_load(self) -> tuple[LoadSecond, ...]:
        """Seconds from the accepted injection to the request of its undo, those too that either cuts through.

        What fails in them fails by the fault; and where a minute takes a second, an outage may fit into one.
        """
        if self.accepted is None:
            return ()
        return tuple(one for one in self.load if self.accepted < one.at + 1 and one.at < self.fault_end)

    @cached_property
    def recovery_load(self) -> tuple[LoadSecond, ...]:
        """Seconds after the undo was verified."""
        return () if self.verified is None else self.load_within(self.verified, self.end + 1)

    @cached_property
    def healthy(self) -> Healthy:
        """What callers of the healthy system get, as far as the answers before the fault tell."""
        return Healthy.of(self.system.objectives, self.baseline_load)

    @cached_property
    def load_since_undo(self) -> list[LoadSecond]:
        """Seconds with answers, that too which the verified undo cuts through: what is good in it was good at once."""
        verified = self.verified
        return [one for one in self.load if one.answered and verified is not None and verified < one.at + 1]

    @cached_property
    def served(self) -> Served:
        """How callers are served since the verified undo, by the looks that the drill planned."""
        return self.healthy.served(self.load_since_undo, self.scale, self.started.looks)
