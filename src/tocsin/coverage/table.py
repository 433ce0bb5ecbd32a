"""The table: a row for each alarm and promise of a system, derived from its experiments and from what drills saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import Field

from tocsin.coverage.results import Latest
from tocsin.errors import Complaints, InvalidInput
from tocsin.model.base import Model
from tocsin.model.definitions import Definitions
from tocsin.model.experiment import Experiment
from tocsin.model.system import Alarm, Promise, System
from tocsin.model.verdict import Judgement, Outcome, Reason, Verdict
from tocsin.project.definitions import definitions_of
from tocsin.project.documents import LoadedExperiment, find_experiments, load_experiment, load_system, read_document
from tocsin.report.words import since_accepted


class State(StrEnum):
    """What is known of a promise."""

    PROVEN = "proven"
    RANG = "rang only"
    CHANGED = "changed since"
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
    reason: Reason | None = Field(default=None, description="why, of a question that could not be answered")
    changed: tuple[str, ...] | None = Field(
        default=(), description="what was written otherwise when the drill ran; None: not recorded by an older version"
    )
    rang_s: float | None = Field(default=None, description="alarms: production seconds from injection to ALARM")
    not_shown: tuple[str, ...] = Field(
        default=(), description="alarms that rang: what the drill did not show of telling somebody and of clearing"
    )
    drill_failed: bool = Field(default=False, description="whether something else than this failed in the drill")


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


def loaded_of(root: Path, system: str) -> list[LoadedExperiment]:
    """The experiments of a system among all in `experiments/`, with their documents.

    Raises:
        InvalidInput: everything that is wrong with any of the files there.
    """
    directory = root / "experiments"
    files = find_experiments([directory]) if directory.is_dir() else []
    complaints = Complaints()
    loaded = complaints.each(load_experiment, files)
    complaints.tell()
    return [one for one in loaded if one.experiment.extension.system == system]


def experiments_of(root: Path, system: str) -> list[Experiment]:
    """The experiments of a system among all in `experiments/`; raises as `loaded_of`."""
    return [loaded.experiment for loaded in loaded_of(root, system)]


def read_coverage(root: Path, name: str, results: Latest) -> Coverage:
    """The table of one system, as its files say now.

    Raises:
        InvalidInput: everything that is wrong with any of them.
    """
    system, loaded = load_system(root, name), loaded_of(root, name)
    now = {one.experiment.slug: definitions_of(root, system, one) for one in loaded}
    return coverage_of(system, [one.experiment for one in loaded], results, now)


def coverage_of(
    system: System,
    experiments: Iterable[Experiment],
    results: Latest,
    now: Mapping[str, Definitions] | None = None,
) -> Coverage:
    """The table of one system.

    Args:
        system: its file.
        experiments: all of them.
        results: the last drills; those of other systems are passed over.
        now: slug of the experiment -> what is written now; a drill that was bound to something else proves it no more.
            None: nothing is compared.
    """
    ordered = sorted(experiments, key=lambda experiment: experiment.slug)
    drills = {slug: verdict for (name, slug), verdict in results.items() if name == system.system}
    known = _Drills(drills, now)
    alarms = [_alarm_row(name, alarm, ordered, known) for name, alarm in system.alarms.items()]
    promises = [_promise_row(name, promise, ordered, known) for name, promise in system.promises.items()]
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


@dataclass(frozen=True)
class _Drills:
    """The last drill of each experiment, and what is written now."""

    last: Mapping[str, Verdict]
    now: Mapping[str, Definitions] | None

    def compared(self, witnesses: Iterable[Witness], alarm: str | None) -> tuple[Witness, ...]:
        """The witnesses, each with what is written otherwise since its drill."""
        return tuple(
            witness.model_copy(update={"seen": self._compared(witness.seen, alarm)}) if witness.seen else witness
            for witness in witnesses
        )

    def _compared(self, seen: Seen, alarm: str | None) -> Seen:
        now = None if self.now is None else self.now.get(seen.experiment)
        if now is None:
            return seen
        then = self.last[seen.experiment].definitions
        return seen.model_copy(update={"changed": None if then is None else now.changed_since(then, alarm)})


def complaints(root: Path, system: System) -> Iterator[InvalidInput]:
    """What a system file with `promises` leaves unsaid: each is covered or explained, and never both.

    A system without `promises` claims nothing, and gets no complaint.
    """
    if not system.promises:
        return
    file = root / "systems" / f"{system.system}.yaml"
    document = read_document(file)
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


def _alarm_row(name: str, alarm: Alarm, experiments: Sequence[Experiment], known: _Drills) -> Row:
    witnesses: list[Witness] = []
    drills, because = known.last, None
    for experiment in experiments:
        expect, verdict = experiment.extension.expect, drills.get(experiment.slug)
        if name in {entry.alarm for entry in expect.must_alarms}:
            witnesses.append(Witness(role="rings", name=experiment.slug, seen=_rang(verdict, name)))
        if name in {entry.alarm for entry in expect.quiet}:
            witnesses.append(Witness(role="silent", name=experiment.slug, seen=_judged(verdict, f"quiet:{name}")))
        for entry in expect.blind:
            if entry.alarm == name:
                because = because or entry.because
                witnesses.append(Witness(role="blind", name=experiment.slug, seen=_judged(verdict, f"blind:{name}")))
    compared = known.compared(witnesses, name)
    proven = any(witness.proves for witness in witnesses)
    wrong = None if proven or alarm.untested is not None else because
    return Row(
        id=name,
        kind="alarm",
        title=alarm.title,
        runbook=alarm.runbook,
        state=_state(compared, alarm.untested, wrong),
        why=alarm.untested or wrong,
        note=alarm.note,
        witnesses=compared,
    )


def _promise_row(name: str, promise: Promise, experiments: Sequence[Experiment], known: _Drills) -> Row:
    drills = known.last
    covering = [experiment.slug for experiment in experiments if name in experiment.extension.covers]
    witnesses = [Witness(role="covers", name=slug, seen=_whole(drills.get(slug))) for slug in covering]
    for canary in promise.canaries:
        witnesses.append(Witness(role="canary", name=canary, seen=_asked_anywhere(drills, "canaries:after")))
    for judgement in promise.judgements:
        witnesses.append(Witness(role="judged", name=judgement, seen=_asked_anywhere(drills, judgement)))
    compared = known.compared(witnesses, None)
    return Row(
        id=name,
        kind=promise.kind,
        title=promise.title,
        runbook=promise.runbook,
        state=_state(compared, promise.untested, promise.wrong),
        why=promise.untested or promise.wrong,
        note=promise.note,
        witnesses=compared,
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
    passed = [seen for seen in proofs if seen and seen.outcome is Outcome.PASS]
    if passed:
        bound = [seen for seen in passed if not seen.changed]
        if not bound:
            return State.CHANGED
        return State.PROVEN if any(not seen.not_shown for seen in bound) else State.RANG
    return State.UNKNOWN if any(proofs) else State.NOT_DRILLED


def _whole(verdict: Verdict | None) -> Seen | None:
    return None if verdict is None else _seen(verdict, verdict.outcome)


def _judged(verdict: Verdict | None, judgement: str) -> Seen | None:
    found = None if verdict is None else _find(verdict, judgement)
    return None if verdict is None or found is None else _seen(verdict, found.outcome, found.reason)


def _asked_anywhere(drills: Mapping[str, Verdict], judgement: str) -> Seen | None:
    """The last drill of any experiment that was asked this."""
    asked = [verdict for verdict in drills.values() if _find(verdict, judgement) is not None]
    return _judged(max(asked, key=lambda verdict: verdict.started_at), judgement) if asked else None


def _find(verdict: Verdict, judgement: str) -> Judgement | None:
    return next((found for found in verdict.judgements if found.id == judgement), None)


def _rang(verdict: Verdict | None, alarm: str) -> Seen | None:
    """What a drill saw of an alarm that had to ring. One that does not clear is refuted, however well it rang."""
    seen = _judged(verdict, f"must:{alarm}")
    if verdict is None or seen is None:
        return None
    found = next((detection for detection in verdict.detections if detection.alarm == alarm), None)
    untold = seen.outcome is Outcome.PASS and (found is None or found.notified_s is None)
    after = [answer for kind in ("clears", "all-clear") if (answer := _find(verdict, f"{kind}:{alarm}"))]
    # Of an alarm that did not ring it says nothing that nobody saw it clear.
    no_news = Outcome.PASS if seen.outcome is Outcome.PASS else Outcome.UNKNOWN
    open_ones = [answer for answer in after if answer.outcome not in (Outcome.PASS, no_news)]
    refuted = any(answer.outcome is Outcome.FAIL for answer in open_ones)
    return seen.model_copy(
        update={
            "outcome": Outcome.FAIL if refuted else seen.outcome,
            "reason": None if refuted else seen.reason,
            "drill_failed": seen.drill_failed and not refuted,
            "rang_s": None if found is None else since_accepted(found, found.alarm_s),
            "not_shown": (*(("telling not observed",) if untold else ()), *(map(_not_shown, open_ones))),
        }
    )


def _not_shown(answer: Judgement) -> str:
    return f"{answer.id.partition(':')[0]}: {answer.reason.value.replace('_', ' ')}"


def _seen(verdict: Verdict, outcome: Outcome, reason: Reason | None = None) -> Seen:
    why = reason if outcome is Outcome.UNKNOWN else None
    at = verdict.started_at
    failed = verdict.outcome is Outcome.FAIL and outcome is not Outcome.FAIL
    return Seen(
        experiment=verdict.experiment, target=verdict.target, at=at, outcome=outcome, reason=why, drill_failed=failed
    )
