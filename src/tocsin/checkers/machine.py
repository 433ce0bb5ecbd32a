"""Could this machine keep up? Where it could not, what hangs on time or share is not known.

A slow machine makes everything later, and lets requests run into their time-outs. It makes nothing whole broken: it
loses no message, changes no definition, breaks no contract. `TABLE` says which answers it may have made, and how that
is found out; what is not in it stands, and `STANDS` says why.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import accumulate
from typing import Generic, TypeVar

from tocsin.alarms.delivery import obstacle
from tocsin.checkers.alarm_causes import are_held
from tocsin.checkers.answers import Answer, Checker
from tocsin.checkers.contract import runs_of
from tocsin.checkers.gathering import CanaryRun
from tocsin.checkers.timeline import Span, Timeline
from tocsin.model.duration import format_duration
from tocsin.model.events import (
    Act,
    AlarmActed,
    AlarmPath,
    HypothesisChecked,
    LoadSecond,
    MachineLagged,
)
from tocsin.model.system import MetricAlarm
from tocsin.model.verdict import Judgement, Outcome, Reason

STARVED_WALL_S = 0.25
"""Wall seconds by which a timer must be late before anything is put down to the machine: at scale 60 15 s of
production time, which is how often the watchers look, and from where on a second of the load counts as late.

Measured on two processors at scale 60, in drills of a system under load. In a preflight in which something waited for a
processor two thirds of the time, timers were at most 0.11 s late and every canary passed. While it waited all the
time (load 10 to 14), those of the harness were up to 0.9 s late and those of the sandbox 1.3 and 4.4 s, and 91 and 99 %
of the answers failed before anything was broken. The harness sleeps most of the time and is woken soon: the sandbox's
own timers tell more.
"""
STARVED_PRODUCTION_S = 15.0
"""The same in production time, for what is judged by deadlines: watchers look every 15 s, and less is not seen."""
REACH_WALL_S = 5.0
"""A request that is under way when the machine stops may wait for its answer so long: the load's own time-out."""
UNMEASURED_WALL_S = 2.0
"""Wall seconds without a measurement, where one was promised, that are no pass."""

NO_ANSWER = "no_answer"
"""The check of the contract that only asks whether an answer came."""


H = TypeVar("H", bound=StrEnum)


class How(StrEnum):
    """How it is found out whether the machine had a part in an answer."""

    WINDOW = "timers were late in its time"
    AGAIN = "judged again without what was seen while timers were late, it is another answer"
    TOO_SOON = "timers were late so shortly before its end that what came late was not seen any more"
    UNANSWERED = "timers were late in its time, and every complaint is that no answer came"
    MEASURES_TIME = "timers were late in its time, and the alarm looks at a time (latency, duration, age)"


@dataclass(frozen=True)
class Row(Generic[H]):
    """Answers to one kind of question that a machine that is too slow may have made."""

    kind: str
    """beginning of the judgement's id: `must:`, `answers`"""
    reasons: tuple[Reason, ...]
    how: H
    why: str


TABLE: tuple[Row[How], ...] = (
    Row(
        "must:",
        (
            *(Reason.DID_NOT_RING, Reason.RANG_LATE, Reason.FLAPPED),
            *(Reason.NOT_NOTIFIED, Reason.NOTIFIED_LATE, Reason.NOT_WATCHED),
        ),
        How.WINDOW,
        "requests, datapoints, evaluations and messages came late or not in time; a period without requests clears it",
    ),
    Row(
        "must:",
        (Reason.AS_EXPECTED,),
        How.MEASURES_TIME,
        "a slow machine breaches such an alarm without any fault; it makes every other one ring later, or not at all",
    ),
    Row(
        "clears:",
        (Reason.DID_NOT_CLEAR, Reason.RANG_AGAIN, Reason.NOT_WATCHED),
        How.WINDOW,
        "datapoints of the fault came late: they keep it ringing, or ring it again",
    ),
    Row(
        "clears:", (Reason.AS_EXPECTED,), How.TOO_SOON, "that it stays clear is silence, and that has to be listened to"
    ),
    Row(
        "all-clear:",
        (Reason.NOT_NOTIFIED, Reason.NOTIFIED_LATE, Reason.NOT_WATCHED),
        How.WINDOW,
        "messages came late or not in time",
    ),
    Row("canary:", (Reason.RANG_LATE, Reason.NOT_WATCHED), How.WINDOW, "its runs came late"),
    Row(
        "canary:",
        (Reason.CANARY_BLIND, Reason.AS_EXPECTED),
        How.AGAIN,
        "it ran less often, and a run that was too slow fails without any fault",
    ),
    *(Row(kind, (Reason.NOT_WATCHED,), How.WINDOW, "the watcher came late") for kind in ("quiet:", "blind:", "gap")),
    *(
        Row(kind, (reason,), How.MEASURES_TIME, "a slow machine breaches such an alarm without any fault")
        for kind, reason in (
            ("quiet:", Reason.RANG_BUT_QUIET),
            ("blind:", Reason.NOT_BLIND),
            ("gap", Reason.GAP_REFUTED),
        )
    ),
    *(
        Row(kind, (Reason.AS_EXPECTED,), How.TOO_SOON, "a bell that comes late is silent until then")
        for kind in ("quiet:", "blind:", "gap")
    ),
    Row("gap", (Reason.AS_EXPECTED,), How.AGAIN, "whoever is answered too late is hurt without any fault"),
    Row(
        "answers",
        (Reason.UNDOCUMENTED_ANSWER, Reason.TOO_MANY_ERRORS),
        How.AGAIN,
        "an answer that is too late is none, and counts as an error",
    ),
    Row("baseline:errors", (Reason.TOO_MANY_ERRORS,), How.AGAIN, "an answer that is too late is none"),
    Row("baseline:latency", (Reason.TOO_SLOW,), How.AGAIN, "latency is measured on this machine's own clock"),
    *(
        Row(kind, (Reason.TOO_FEW_ANSWERS,), How.WINDOW, "answers that come late are slow, or errors, or are missing")
        for kind in ("answers", "baseline:", "recovery")
    ),
    Row("canaries:", (Reason.CANARY_FAILED, Reason.NOT_RECOVERED), How.AGAIN, "a run that is too slow fails"),
    Row("recovery", (Reason.NOT_RECOVERED, Reason.NOT_WATCHED), How.WINDOW, "it is a time"),
    Row("steady-state:", (Reason.HYPOTHESIS_NOT_MET,), How.WINDOW, "a probe that is answered too late is not met"),
    Row("load", (Reason.LOAD_INVALID,), How.WINDOW, "arrivals that leave late, or not at all, are this machine's own"),
    Row("contract:", (Reason.WINDOW_CUT,), How.WINDOW, "the test did not reach its end in the time that it has"),
    Row("contract:", (Reason.CONTRACT_BROKEN,), How.UNANSWERED, "an answer that is too late is none"),
)
"""What a machine that cannot keep up may have made. A pass that is not here was harder to get on it: whoever is slow
answers fewer requests, fails more of them, and does everything later."""

STANDS: dict[str, str] = {
    "undo": "whether a fault is still in place is read, not timed; a fault left behind hurts on any machine",
    "undone:": "the same, of what the method changes beside its faults",
    "residue": "the same, in the ledger",
    "conserved:": "the count waits for what is still to come; what is lost or done twice by then was not slow",
    "contract:": "an answer of the wrong form has come; whoever is late gives none",
    "messages:": "the same, of a message",
    "method": "what an activity did by halves is not known by trying to explain it",
    "rollbacks": "the documented way back was walked and did not bring it back",
    "quiet:": "a bell that rang has woken somebody; only what a slow machine rings by itself is its own",
    "blind:": "the same",
    "gap": "the same",
    "effect": "it is never `fail`",
    "drill": "it is never `fail`",
    "guard:": "it is never `fail`",
    "actor:": "it is never `fail`",
    "checker:": "it is never `fail`",
}
"""Kinds of question of which a fail that is not in `TABLE` stands, and why."""


@dataclass(frozen=True)
class Starved:
    """A stretch of time in which this machine did not keep up, or in which nobody measured whether it did."""

    start: float
    end: float
    lag_s: float
    who: str

    def overlaps(self, start: float, end: float) -> bool:
        """Whether it shares time with another stretch."""
        return self.start <= end and start <= self.end


@dataclass(frozen=True)
class Machine:
    """What the history tells of the machine that it was recorded on."""

    timeline: Timeline

    @cached_property
    def late(self) -> tuple[Starved, ...]:
        """Stretches in which timers were late."""
        return tuple(
            Starved(event.at, event.until, event.longest_s, event.who)
            for event in self.timeline.of_kind(MachineLagged)
            if event.longest_s >= STARVED_WALL_S
        )

    @cached_property
    def late_for_deadlines(self) -> tuple[Starved, ...]:
        """Those that are long enough in production time to count against a deadline."""
        return tuple(one for one in self.late if self.timeline.production(one.lag_s) >= STARVED_PRODUCTION_S)

    @cached_property
    def unmeasured(self) -> tuple[Starved, ...]:
        """Stretches in which nobody measured, in a drill that promised to. Older histories promise nothing."""
        if not self.timeline.started.measures_machine:
            return ()
        acts = self.timeline.acts
        begun = min((span.start for span in acts.values()), default=self.timeline.end)
        marks = [begun, *(end for one in self.timeline.measured for end in (one.since, one.until))]
        begins, ends = marks[::2], [*marks[1::2], self.timeline.watch_end]
        return tuple(
            Starved(start, end, end - start, "nobody")
            for start, end in zip(begins, ends, strict=True)
            if end - start > UNMEASURED_WALL_S
        )

    @cached_property
    def kept_up(self) -> Timeline:
        """The history without the requests and canary runs that late timers may have touched.

        And without the canary runs of the fault before it took effect: without later ones they tell nothing.
        """
        return self.timeline.without(lambda one: self._touched(one) or self._is_early(one))

    def _is_early(self, one: CanaryRun | LoadSecond) -> bool:
        accepted, effective = self.timeline.accepted, self.timeline.effective
        if accepted is None or effective is None or not isinstance(one, CanaryRun):
            return False
        return accepted < one.at < effective

    def _touched(self, one: CanaryRun | LoadSecond) -> bool:
        end = one.at + one.ms / 1000 if isinstance(one, CanaryRun) else one.at + 1 + REACH_WALL_S
        # Of the stretches that began by then, one was not over.
        last = bisect_right(self._disturbances, (end, math.inf)) - 1
        return last >= 0 and one.at <= self._disturbances[last][1]

    @cached_property
    def _disturbances(self) -> list[tuple[float, float]]:
        """(beginning of a stretch, the latest end of it and all before), in the order of their beginnings.

        After a stretch, what waited in it is caught up with: that takes as long as timers were late.
        """
        found = sorted((one.start, one.end + one.lag_s) for one in (*self.late, *self.unmeasured))
        latest = accumulate((end for _, end in found), max)
        return [(start, end) for (start, _), end in zip(found, latest, strict=True)]


def own_doing(machine: Machine, checker: Checker, answers: Sequence[Answer]) -> Iterator[Answer]:
    """The answers of a checker; what a machine that did not keep up may have made is `unknown`, `machine_busy`."""
    if not (machine.late or machine.unmeasured):
        yield from answers
        return
    for answer in answers:
        yield answer if not isinstance(answer, Judgement) else _settled(machine, checker, answer)


def _settled(machine: Machine, checker: Checker, judgement: Judgement) -> Judgement:
    rows = [row for row in TABLE if judgement.id.startswith(row.kind) and judgement.reason in row.reasons]
    if not rows or has_another_cause(machine.timeline, judgement):
        return judgement
    blamed = next((found for row in rows if (found := _BLAME[row.how](machine, checker, judgement))), None)
    return _busy(machine, judgement, blamed) if blamed else judgement


def _in_window(machine: Machine, checker: Checker, judgement: Judgement) -> list[Starved]:
    window = window_of(machine.timeline, judgement)
    return [] if window is None else [one for one in machine.late_for_deadlines if one.overlaps(*window)]


def _again(machine: Machine, checker: Checker, judgement: Judgement) -> list[Starved]:
    """All of them, when the answer rests on what was seen meanwhile."""
    answers = (one for one in checker(machine.kept_up) if isinstance(one, Judgement) and one.id == judgement.id)
    same = any(one.outcome is judgement.outcome for one in answers)
    return [] if same else [*machine.late, *_if_passed(machine, judgement)]


def _too_soon(machine: Machine, checker: Checker, judgement: Judgement) -> list[Starved]:
    """Those after which nobody listened for as long as timers had been late."""
    until = machine.timeline.watch_end
    found = [*machine.late_for_deadlines, *_if_passed(machine, judgement)]
    return [one for one in found if one.start <= until < one.end + one.lag_s]


def _unanswered(machine: Machine, checker: Checker, judgement: Judgement) -> list[Starved]:
    if not only_unanswered(machine.timeline, judgement):
        return []
    act = Act(judgement.id.partition(":")[2])
    return [one for one in machine.late if one.overlaps(*_span(machine.timeline, act))]


def only_unanswered(timeline: Timeline, judgement: Judgement) -> bool:
    """Whether the contract test of an act complains of nothing but that no answer came."""
    act = Act(judgement.id.partition(":")[2])
    return all(failure.check == NO_ANSWER for run in runs_of(timeline, act) for failure in run.failures)


def _span(timeline: Timeline, act: Act) -> tuple[float, float]:
    span = timeline.acts.get(act, Span(timeline.start, timeline.end))
    return span.start, span.end


def _measures_time(machine: Machine, checker: Checker, judgement: Judgement) -> list[Starved]:
    alarms = bells_of(machine.timeline, judgement)
    if not alarms or not all(looks_at_time(machine.timeline, alarm) for alarm in alarms):
        return []
    return [*_in_window(machine, checker, judgement), *_if_passed(machine, judgement)]


def _if_passed(machine: Machine, judgement: Judgement) -> tuple[Starved, ...]:
    """What nobody measured excuses no failure, and makes no pass."""
    return machine.unmeasured if judgement.outcome is Outcome.PASS else ()


_BLAME: dict[How, Callable[[Machine, Checker, Judgement], list[Starved]]] = {
    How.WINDOW: _in_window,
    How.AGAIN: _again,
    How.TOO_SOON: _too_soon,
    How.UNANSWERED: _unanswered,
    How.MEASURES_TIME: _measures_time,
}


def window_of(timeline: Timeline, judgement: Judgement) -> tuple[float, float] | None:
    """The time that an answer is about, wall clock; None where it never began."""
    kind, _, name = judgement.id.partition(":")
    accepted, undone = timeline.accepted, timeline.fault_end
    if kind == "load":
        return (timeline.load[0].at, timeline.traffic_end) if timeline.load else None
    if kind == "contract":
        return _span(timeline, Act(name))
    if kind == "baseline":
        return _span(timeline, Act.BASELINE)
    if kind == "steady-state":
        return _checked(timeline, name)
    if accepted is None:
        return None
    if kind in ("clears", "all-clear", "recovery"):
        return undone, timeline.watch_end
    if kind in ("quiet", "blind", "gap") or judgement.reason in (Reason.NOT_NOTIFIED, Reason.NOTIFIED_LATE):
        return accepted, timeline.watch_end
    return accepted, undone


def _checked(timeline: Timeline, when: str) -> tuple[float, float] | None:
    """From the beginning of the time in which the steady state was asked for to its last answer."""
    before = when == "before"
    checks = [check for check in timeline.of_kind(HypothesisChecked) if (check.act is not Act.RECOVERY) == before]
    return (timeline.start if before else timeline.fault_end, checks[-1].at) if checks else None


def bells_of(timeline: Timeline, judgement: Judgement) -> list[str]:
    """The alarms whose ringing is the answer."""
    name = judgement.id.partition(":")[2]
    if name or timeline.accepted is None:
        return [name]
    expected = {entry.alarm for entry in timeline.expect.must_alarms}
    others = (alarm for alarm in timeline.system.alarms if alarm not in expected)
    return [alarm for alarm in others if timeline.in_alarm(alarm, after=timeline.accepted, until=timeline.end)]


TIMES = ("Age", "Duration", "Latency", "Time")
"""What is in the name of every metric of AWS that is a time: `Duration`, `TargetResponseTime`, `IteratorAge`,
`ApproximateAgeOfOldestMessage` (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/aws-services-cloudwatch-metrics.html)."""


def looks_at_time(timeline: Timeline, alarm: str) -> bool:
    """Whether an alarm looks at a metric that is a time; of one of Prometheus its watcher has read it in its rules."""
    found, seen = timeline.system.cloudwatch_alarms.get(alarm), timeline.first_seen.get(alarm)
    if seen is not None and seen.looks_at_time:
        return True
    if found is None or not isinstance(found.cloudwatch, MetricAlarm):
        return False
    return any(word in metric.metric_name for metric in found.cloudwatch.metric_refs for word in TIMES)


def has_another_cause(timeline: Timeline, judgement: Judgement) -> bool:
    """Whether what was recorded of an alarm explains its failure on any machine."""
    kind, _, alarm = judgement.id.partition(":")
    if kind not in ("must", "clears") or judgement.outcome is not Outcome.FAIL:
        return False
    seen = timeline.first_seen.get(alarm)
    if seen is not None and seen.definition_drift:
        return True
    if judgement.reason is Reason.NOT_NOTIFIED:
        return are_held(timeline, alarm) or _no_way_to_people(timeline, alarm) or _action_failed(timeline, alarm)
    return judgement.reason is Reason.DID_NOT_RING and timeline.has_data(alarm) is False


def _no_way_to_people(timeline: Timeline, alarm: str) -> bool:
    definition, notifications = timeline.system.cloudwatch_alarms.get(alarm), timeline.system.notifications
    paths = [event for event in timeline.of_kind(AlarmPath) if event.alarm == alarm]
    if definition is None or notifications is None:
        return False
    return any(_cut(path, definition.cloudwatch.alarm_name, notifications.queue) for path in paths)


def _action_failed(timeline: Timeline, alarm: str) -> bool:
    """Whether CloudWatch itself says that it could not tell anybody."""
    return any(event.alarm == alarm and not event.succeeded for event in timeline.of_kind(AlarmActed))


def _cut(path: AlarmPath, alarm_name: str, queue: str) -> bool:
    obstacles = [obstacle(topic, alarm_name, queue) for topic in path.topics]
    return not path.actions_enabled or all(one is not None and one.certain for one in obstacles)


def _busy(machine: Machine, judgement: Judgement, blamed: Sequence[Starved]) -> Judgement:
    worst = max(blamed, key=lambda one: one.lag_s)
    lag_s = machine.timeline.production(worst.lag_s)
    message = f"{judgement.message}; but {_told(machine, worst, len(blamed))}"
    return judgement.model_copy(
        update={
            "outcome": Outcome.UNKNOWN,
            "reason": Reason.MACHINE_BUSY,
            "message": message,
            "measured": {**judgement.measured, "machine_lag_s": round(lag_s, 4)},
        }
    )


def _told(machine: Machine, worst: Starved, times: int) -> str:
    timeline = machine.timeline
    if worst.who == "nobody":
        return f"for {worst.lag_s:.1f} s nobody measured whether this machine kept up"
    whose = {"harness": "its own timers", "target": "the timers of the sandbox"}[worst.who]
    often = f", {times} times" if times > 1 else ""
    return (
        f"this machine did not keep up: {whose} were up to {worst.lag_s:.1f} s late{often}, "
        f"{format_duration(timeline.production(worst.lag_s))} of production time{_explained(timeline, worst)}"
    )


def _explained(timeline: Timeline, worst: Starved) -> str:
    """What else was seen around it: late arrivals, and the pressure on the processors."""
    arrivals = [one.lag_ms for one in timeline.load if worst.overlaps(one.at, one.at + 1)]
    pressures = [
        one.cpu_pressure
        for one in timeline.measured
        if one.cpu_pressure is not None and worst.overlaps(one.since, one.until)
    ]
    told = [f"arrivals left up to {max(arrivals):.0f} ms late"] if arrivals else []
    told += [f"something waited for a processor {max(pressures):.0%} of the time"] if pressures else []
    return f" ({', '.join(told)})" if told else ""
