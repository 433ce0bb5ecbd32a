"""The table: a row for each alarm and promise of a system, derived from its experiments and from what drills saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import Field

from tocsin.coverage.results import Latest
from tocsin.errors import InvalidInput
from tocsin.loader import find_experiments, load_experiment, read_yaml
from tocsin.model.base import Model
from tocsin.model.experiment import Experiment
from tocsin.model.system import Alarm, Promise, System
from tocsin.model.verdict import Judgement, Outcome, Verdict
from tocsin.report.words import since_accepted


class State(StrEnum):
    """What is known of a promise."""

    PROVEN = "proven"
    NOT_DRILLED = "not yet drilled"
    UNKNOWN = "unknown"
    FAILED = "failed"
    UNTESTED = "untested"
    WRONG = "wrong"
    OPEN = "open"


class Seen(Model):
    """What the last drill saw of it."""

    experiment: str
    target: str
    at: float = Field(description="when the drill began, wall-clock epoch seconds")
    outcome: Outcome
    rang_s: float | None = Field(default=None, description="alarms: production seconds from injection to ALARM")


Role = Literal["rings", "silent", "blind", "covers", "canary", "judged"]


class Witness(Model):
    """Something that shows a promise: an experiment, or a question that every drill answers."""

    role: Role
    name: str = Field(description="slug of the experiment, name of the canary, or id of the judgement")
    seen: Seen | None = None

    @property
    def proves(self) -> bool:
        """Silence alone proves nothing: a bell that cannot ring is silent too."""
        return self.role not in ("silent", "blind")


class Row(Model):
    """One promise."""

    id: str
    kind: Literal["alarm", "procedure", "check", "figure"]
    title: str
    runbook: str | None
    state: State
    why: str | None = Field(default=None, description="why it is untested, wrong or blind")
    note: str | None = Field(default=None, description="what the system file chose or corrected")
    witnesses: tuple[Witness, ...]

    @property
    def last(self) -> Seen | None:
        """What decides: a failure, else the last drill that proves it, else the last at all."""
        seen = [(witness.proves, witness.seen) for witness in self.witnesses if witness.seen is not None]
        ranked = sorted(seen, key=lambda pair: (pair[1].outcome is Outcome.FAIL, pair[0], pair[1].at))
        return ranked[-1][1] if ranked else None


class Gap(Model):
    """A failure that no alarm tells of, as an experiment says."""

    experiment: str
    says: str
    seen: Seen | None


class Coverage(Model):
    """All of one system."""

    system: str
    title: str
    runbook: str | None
    rows: tuple[Row, ...]
    gaps: tuple[Gap, ...]

    @property
    def counts(self) -> Counter[State]:
        """How many promises are in each state."""
        return Counter(row.state for row in self.rows)

    @property
    def drilled(self) -> bool:
        """Whether there is a result for anything here."""
        return any(row.last is not None for row in self.rows)


def experiments_of(root: Path, system: str) -> list[Experiment]:
    """The experiments of a system among all in `experiments/`.

    Raises:
        InvalidInput: one of the files there cannot be used.
    """
    directory = root / "experiments"
    files = find_experiments([directory]) if directory.is_dir() else []
    experiments = [load_experiment(file).experiment for file in files]
    return [experiment for experiment in experiments if experiment.extension.system == system]


def coverage_of(system: System, experiments: Iterable[Experiment], results: Latest) -> Coverage:
    """The table of one system.

    Args:
        system: its file.
        experiments: all of them.
        results: the last drills; those of other systems are passed over.
    """
    ordered = sorted(experiments, key=lambda experiment: experiment.slug)
    drills = {slug: verdict for (name, slug), verdict in results.items() if name == system.system}
    alarms = [_alarm_row(name, alarm, ordered, drills) for name, alarm in system.alarms.items()]
    promises = [_promise_row(name, promise, ordered, drills) for name, promise in system.promises.items()]
    gaps = [
        Gap(experiment=e.slug, says=" ".join(gap.split()), seen=_judged(drills.get(e.slug), "gap"))
        for e in ordered
        if (gap := e.extension.expect.gap) is not None
    ]
    return Coverage(
        system=system.system,
        title=system.title,
        runbook=system.runbook,
        rows=(*alarms, *promises),
        gaps=tuple(gaps),
    )


def complaints(root: Path, system: System) -> Iterator[InvalidInput]:
    """What a system file with `promises` leaves unsaid: each is covered or explained, and never both.

    A system without `promises` claims nothing, and gets no complaint.
    """
    if not system.promises:
        return
    file = root / "systems" / f"{system.system}.yaml"
    document = read_yaml(file)
    for row in coverage_of(system, experiments_of(root, system.system), {}).rows:
        place = ("alarms" if row.kind == "alarm" else "promises", row.id)
        proofs = [witness.name for witness in row.witnesses if witness.proves]
        if row.state is State.OPEN:
            yield document.invalid(f"{'.'.join(place)}: {_nobody(row)}", place)
        elif row.state is State.UNTESTED and proofs:
            yield document.invalid(
                f"{'.'.join(place)}: expected no `untested` where there is a drill, found {', '.join(proofs)}", place
            )


def _nobody(row: Row) -> str:
    if row.kind == "alarm":
        return "expected an experiment that makes it ring, or `untested` with the reason, found neither"
    return (
        "expected an experiment that names it in `covers`, or here `canaries`, `judgements`, `wrong` or `untested` "
        "with the reason, found none"
    )


def _alarm_row(name: str, alarm: Alarm, experiments: Sequence[Experiment], drills: dict[str, Verdict]) -> Row:
    witnesses, because = [], None
    for experiment in experiments:
        expect, verdict = experiment.extension.expect, drills.get(experiment.slug)
        if name in {entry.alarm for entry in expect.must_alarms}:
            seen = _judged(verdict, f"must:{name}")
            witnesses.append(Witness(role="rings", name=experiment.slug, seen=_with_time(seen, verdict, name)))
        if name in {entry.alarm for entry in expect.quiet}:
            witnesses.append(Witness(role="silent", name=experiment.slug, seen=_judged(verdict, f"quiet:{name}")))
        for entry in expect.blind:
            if entry.alarm == name:
                because = because or entry.because
                witnesses.append(Witness(role="blind", name=experiment.slug, seen=_judged(verdict, f"blind:{name}")))
    proven = any(witness.proves for witness in witnesses)
    wrong = None if proven or alarm.untested is not None else because
    return Row(
        id=name,
        kind="alarm",
        title=alarm.title,
        runbook=alarm.runbook,
        state=_state(witnesses, alarm.untested, wrong),
        why=alarm.untested or wrong,
        note=alarm.note,
        witnesses=tuple(witnesses),
    )


def _promise_row(name: str, promise: Promise, experiments: Sequence[Experiment], drills: dict[str, Verdict]) -> Row:
    covering = [experiment.slug for experiment in experiments if name in experiment.extension.covers]
    witnesses = [Witness(role="covers", name=slug, seen=_whole(drills.get(slug))) for slug in covering]
    for canary in promise.canaries:
        witnesses.append(Witness(role="canary", name=canary, seen=_asked_anywhere(drills, "canaries:after")))
    for judgement in promise.judgements:
        witnesses.append(Witness(role="judged", name=judgement, seen=_asked_anywhere(drills, judgement)))
    return Row(
        id=name,
        kind=promise.kind,
        title=promise.title,
        runbook=promise.runbook,
        state=_state(witnesses, promise.untested, promise.wrong),
        why=promise.untested or promise.wrong,
        note=promise.note,
        witnesses=tuple(witnesses),
    )


def _state(witnesses: Sequence[Witness], untested: str | None, wrong: str | None) -> State:
    """What a drill refuted is not talked away; else what the file says, else what drills say."""
    proofs = [witness.seen for witness in witnesses if witness.proves]
    if any(w.seen.outcome is Outcome.FAIL for w in witnesses if w.seen):
        return State.FAILED
    if untested is not None:
        return State.UNTESTED
    if wrong is not None:
        return State.WRONG
    if not proofs:
        return State.OPEN
    if any(seen.outcome is Outcome.PASS for seen in proofs if seen):
        return State.PROVEN
    return State.UNKNOWN if any(proofs) else State.NOT_DRILLED


def _whole(verdict: Verdict | None) -> Seen | None:
    return None if verdict is None else _seen(verdict, verdict.outcome)


def _judged(verdict: Verdict | None, judgement: str) -> Seen | None:
    found = None if verdict is None else _find(verdict, judgement)
    return None if verdict is None or found is None else _seen(verdict, found.outcome)


def _asked_anywhere(drills: dict[str, Verdict], judgement: str) -> Seen | None:
    """The last drill of any experiment that was asked this."""
    asked = [verdict for verdict in drills.values() if _find(verdict, judgement) is not None]
    return _judged(max(asked, key=lambda verdict: verdict.started_at), judgement) if asked else None


def _find(verdict: Verdict, judgement: str) -> Judgement | None:
    return next((found for found in verdict.judgements if found.id == judgement), None)


def _with_time(seen: Seen | None, verdict: Verdict | None, alarm: str) -> Seen | None:
    if seen is None or verdict is None:
        return seen
    found = next((detection for detection in verdict.detections if detection.alarm == alarm), None)
    return seen.model_copy(update={"rang_s": None if found is None else since_accepted(found, found.alarm_s)})


def _seen(verdict: Verdict, outcome: Outcome) -> Seen:
    return Seen(experiment=verdict.experiment, target=verdict.target, at=verdict.started_at, outcome=outcome)
