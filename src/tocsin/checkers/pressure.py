"""Were the processors of this machine taken? Where the run drills once more, a failure of that time says nothing yet.

Late timers show that nothing could run (`tocsin.checkers.machine`). Whoever works for long may wait where whoever
sleeps is woken in time: that is the pressure, the share of the time in which something waited for a processor. It is
the weaker witness, because what waits may be no part of the drill, at a lower priority. So it takes no pass away, it
speaks only for what slowness makes, and only where a second try follows that is judged without it: it puts a failure
off, and never ends it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

from tocsin.checkers.answers import Answer, Checker
from tocsin.checkers.gathering import CanaryRun, Watched
from tocsin.checkers.machine import (
    Machine,
    Row,
    bells_of,
    has_another_cause,
    looks_at_time,
    only_unanswered,
    window_of,
)
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import LoadSecond, is_error
from tocsin.model.histogram import without_slow
from tocsin.model.verdict import Judgement, Outcome, Reason

PRESSED = 0.75
"""Share of a summary (some seconds) in which something waits for a processor, from which on the processors are taken.

Measured on two processors: at two thirds timers were in time and every canary passed; at 84 % a drill beside others had
a p95 above its objective and a 500, both gone when it ran alone. This is in the middle between them."""
MOSTLY = 0.5
"""Share of a question's time for which the processors must have been taken: a moment delays nothing for long."""


class How(StrEnum):
    """How it is found out whether taken processors may have made a failure."""

    MOSTLY = "the processors were taken for half of its time or more"
    UNANSWERED = "the processors were taken for half of its time or more, and every complaint is that no answer came"
    MEASURES_TIME = "the processors were taken for half of its time or more, and the alarm looks at a time"
    EASED = "judged again without what slowness made while the processors were taken, it is another answer"


_LATE_OR_MISSING = "a function that has no processor answers late: datapoints, rings and messages come late"

TABLE: tuple[Row[How], ...] = (
    Row(
        "must:",
        (
            *(Reason.DID_NOT_RING, Reason.RANG_LATE, Reason.NOT_NOTIFIED),
            *(Reason.NOTIFIED_LATE, Reason.NOT_WATCHED),
        ),
        How.MOSTLY,
        _LATE_OR_MISSING,
    ),
    Row("clears:", (Reason.DID_NOT_CLEAR, Reason.NOT_WATCHED), How.MOSTLY, _LATE_OR_MISSING),
    Row("all-clear:", (Reason.NOT_NOTIFIED, Reason.NOTIFIED_LATE, Reason.NOT_WATCHED), How.MOSTLY, _LATE_OR_MISSING),
    Row("canary:", (Reason.RANG_LATE, Reason.NOT_WATCHED), How.MOSTLY, "its runs took long"),
    *(Row(kind, (Reason.NOT_WATCHED,), How.MOSTLY, "the watcher took long") for kind in ("quiet:", "blind:", "gap")),
    *(
        Row(kind, (reason,), How.MEASURES_TIME, "whoever waits for a processor breaches such an alarm")
        for kind, reason in (
            ("quiet:", Reason.RANG_BUT_QUIET),
            ("blind:", Reason.NOT_BLIND),
            ("gap", Reason.GAP_REFUTED),
        )
    ),
    Row(
        "answers",
        (Reason.UNDOCUMENTED_ANSWER, Reason.TOO_MANY_ERRORS),
        How.EASED,
        "who runs out of time gives a 5xx, or no answer",
    ),
    Row("baseline:errors", (Reason.TOO_MANY_ERRORS,), How.EASED, "the same"),
    Row("baseline:latency", (Reason.TOO_SLOW,), How.EASED, "waiting for a processor is part of the latency"),
    Row("canaries:", (Reason.CANARY_FAILED, Reason.NOT_RECOVERED), How.EASED, "a run without an answer, or with a 5xx"),
    Row("recovery", (Reason.NOT_RECOVERED,), How.EASED, "all of these"),
    *(
        Row(kind, (Reason.TOO_FEW_ANSWERS,), How.MOSTLY, "answers that come late are slow, or errors, or are missing")
        for kind in ("answers", "baseline:", "recovery")
    ),
    Row("load", (Reason.LOAD_INVALID,), How.MOSTLY, "arrivals left late, or not at all"),
    Row("contract:", (Reason.WINDOW_CUT,), How.MOSTLY, "the test did not reach its end in the time that it has"),
    Row("contract:", (Reason.CONTRACT_BROKEN,), How.UNANSWERED, "an answer that is too late is none"),
)
"""What taken processors may have made. Whatever is not here stands: a wrong body or a 403 has come in time, and what
was lost, left behind or rung twice was not slow."""

_UNANSWERED = re.compile(r"no answer: |found 5\d\d ")
"""How a canary tells that no answer came, or that somebody on its way ran out of time (`tocsin.canary`)."""


@dataclass(frozen=True)
class Pressure:
    """What the history tells of how taken the processors were."""

    machine: Machine

    @property
    def timeline(self) -> Timeline:
        """The history."""
        return self.machine.timeline

    @cached_property
    def stretches(self) -> tuple[Watched, ...]:
        """Summaries in which the processors were taken."""
        return tuple(one for one in self.timeline.measured if (one.cpu_pressure or 0.0) >= PRESSED)

    def within(self, start: float, end: float) -> list[Watched]:
        """Those that share time with another stretch."""
        return [one for one in self.stretches if one.since < end and start < one.until]

    def mostly(self, start: float, end: float) -> list[Watched]:
        """Those that share time with another stretch; none where that is less than `MOSTLY` of it."""
        found = self.within(start, end)
        taken_s = sum(min(one.until, end) - max(one.since, start) for one in found)
        return found if taken_s >= MOSTLY * (end - start) else []

    @cached_property
    def eased(self) -> Timeline:
        """The history without what slowness made while the processors were taken: answers that did not come, were 5xx
        or slower than the objective, and runs of canaries that failed for want of an answer. What else came stays."""
        kept_up, limit_ms = self.machine.kept_up, self.timeline.system.objectives.p95_ms
        runs = [run for run in kept_up.canary_runs if not (_unanswered(run) and self.within(run.at, run.known_at))]
        load = (
            _at_ease(second, limit_ms) if self.within(second.at, second.at + 1) else second for second in kept_up.load
        )
        return replace(kept_up, canary_runs=runs, load=tuple(load))


def put_off(pressure: Pressure, checker: Checker, answers: Sequence[Answer]) -> Iterator[Answer]:
    """The answers of a checker; what taken processors may have made is `unknown`, `machine_busy`, and tried again."""
    if not (pressure.timeline.started.tries_again and pressure.stretches):
        yield from answers
        return
    for answer in answers:
        yield answer if not isinstance(answer, Judgement) else _settled(pressure, checker, answer)


def _settled(pressure: Pressure, checker: Checker, judgement: Judgement) -> Judgement:
    rows = [row for row in TABLE if judgement.id.startswith(row.kind) and judgement.reason in row.reasons]
    if not rows or has_another_cause(pressure.timeline, judgement):
        return judgement
    blamed = next((found for row in rows if (found := _BLAME[row.how](pressure, checker, judgement))), None)
    return _busy(judgement, blamed) if blamed else judgement


def _mostly(pressure: Pressure, checker: Checker, judgement: Judgement) -> list[Watched]:
    window = window_of(pressure.timeline, judgement)
    return [] if window is None else pressure.mostly(*window)


def _only_unanswered(pressure: Pressure, checker: Checker, judgement: Judgement) -> list[Watched]:
    return _mostly(pressure, checker, judgement) if only_unanswered(pressure.timeline, judgement) else []


def _measures_time(pressure: Pressure, checker: Checker, judgement: Judgement) -> list[Watched]:
    alarms = bells_of(pressure.timeline, judgement)
    slow = alarms and all(looks_at_time(pressure.timeline, alarm) for alarm in alarms)
    return _mostly(pressure, checker, judgement) if slow else []


def _eased(pressure: Pressure, checker: Checker, judgement: Judgement) -> list[Watched]:
    answers = (one for one in checker(pressure.eased) if isinstance(one, Judgement) and one.id == judgement.id)
    same = any(one.outcome is judgement.outcome for one in answers)
    return [] if same else list(pressure.stretches)


_BLAME: dict[How, Callable[[Pressure, Checker, Judgement], list[Watched]]] = {
    How.MOSTLY: _mostly,
    How.UNANSWERED: _only_unanswered,
    How.MEASURES_TIME: _measures_time,
    How.EASED: _eased,
}


def _unanswered(run: CanaryRun) -> bool:
    return not run.ok and not run.broken and _UNANSWERED.search(run.detail) is not None


def _at_ease(second: LoadSecond, limit_ms: float) -> LoadSecond:
    """A second of load without answers that failed or were too slow; of an older history, which does not tell how long
    each took, with the slow ones."""
    histogram = second.histogram and second.histogram.model_copy(
        update={"good": without_slow(second.histogram.good, limit_ms), "failed": {}}
    )
    by_name = {name: _served(counts) for name, counts in second.by_name.items()}
    return second.model_copy(update={"statuses": _served(second.statuses), "by_name": by_name, "histogram": histogram})


def _served(counts: dict[str, int]) -> dict[str, int]:
    return {status: count for status, count in counts.items() if not is_error(status)}


def _busy(judgement: Judgement, blamed: Sequence[Watched]) -> Judgement:
    highest = max(one.cpu_pressure or 0.0 for one in blamed)
    seconds = sum(one.until - one.since for one in blamed)
    told = f"the processors of this machine were taken: for {seconds:.0f} s something waited for one, up to"
    return judgement.model_copy(
        update={
            "outcome": Outcome.UNKNOWN,
            "reason": Reason.MACHINE_BUSY,
            "message": f"{judgement.message}; but {told} {highest:.0%} of the time. The second try tells",
            "measured": {**judgement.measured, "cpu_pressure": highest},
        }
    )
