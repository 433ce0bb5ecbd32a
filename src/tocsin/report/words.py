"""A verdict in plain words: the sentences and figures that every report shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tocsin.model.duration import format_duration
from tocsin.model.experiment import LONG
from tocsin.model.verdict import OWED, Detection, Judgement, Outcome, RunVerdict, Verdict, is_entry

DASH = "\u2013"
"""What stands where there is no figure."""
MAX_TROUBLES = 5
"""Troubles told on the first screen."""
ORDER = {Outcome.FAIL: 0, Outcome.UNKNOWN: 1, Outcome.PASS: 2}
"""Worst first: what needs an answer is read first."""


def headline(verdict: Verdict) -> str:
    """The verdict in one or two words."""
    if verdict.residue:
        return _left_behind(verdict.residue)
    if verdict.stopped is not None:
        if not verdict.has_report:
            return "Not run"
        return "Stopped" if verdict.stopped == "interrupted" else "Refused"
    return {Outcome.PASS: "Pass", Outcome.FAIL: "Fail", Outcome.UNKNOWN: "Unknown"}[verdict.outcome]


def sentence(verdict: Verdict) -> str:
    """Why, in one or two sentences."""
    if verdict.residue:
        left = ", ".join(verdict.residue)
        return f"{_as_it_ended(verdict.residue)} ({left}). {' '.join(what_now(verdict.residue))}"
    if verdict.stopped is not None:
        return _stopped(verdict)
    counts = Counter(judgement.outcome for judgement in verdict.judgements)
    worst = by_severity(verdict)[:1]
    total = len(verdict.judgements)
    if verdict.outcome == Outcome.FAIL:
        return f"{counts[Outcome.FAIL]} of {total} expectations were not met. {_because(worst[0])}"
    if verdict.outcome == Outcome.UNKNOWN:
        first = f" {_because(worst[0])}" if worst else ""
        return f"{counts[Outcome.UNKNOWN]} of {total} questions could not be answered.{first}"
    return f"All {total} expectations were met.{_rang(verdict.detections)}"


def what_now(residue: Iterable[str]) -> list[str]:
    """What to do about what drills left: the next move for each kind of it, in a sentence."""
    left = tuple(residue)
    moves = []
    if any(is_entry(one) for one in left):
        moves.append("Run `tocsin recover`: the ledger tells what of it is left.")
    if any(one.startswith(OWED) for one in left):
        moves.append("Rollbacks are owed: `tocsin recover --rollbacks` runs them.")
    if any(not is_entry(one) and not one.startswith(OWED) for one in left):
        moves.append("Of actions and changes no ledger knows: look what they left, and put it back.")
    return moves


def _left_behind(residue: Iterable[str]) -> str:
    return "Rollbacks owed" if all(one.startswith(OWED) for one in residue) else "Fault left behind"


def _as_it_ended(residue: Iterable[str]) -> str:
    owed = all(one.startswith(OWED) for one in residue)
    return "It ended with rollbacks that did not run, or failed" if owed else "It ended with a fault in place"


def count_sentence(verdict: Verdict) -> str:
    """The first sentence alone, for a page that lists what went wrong below it."""
    return sentence(verdict).split(" Asked: ")[0]


def troubles(verdict: Verdict, at_most: int = MAX_TROUBLES) -> list[Judgement]:
    """What went wrong: failures, or what could not be answered when nothing failed."""
    worst = by_severity(verdict)
    if verdict.stopped is not None or not worst or worst[0].outcome == Outcome.PASS:
        return []
    return [judgement for judgement in worst if judgement.outcome == worst[0].outcome][:at_most]


def by_severity(verdict: Verdict) -> list[Judgement]:
    """Judgements, the worst first, otherwise in the order in which they were asked."""
    return sorted(verdict.judgements, key=lambda judgement: ORDER[judgement.outcome])


def detection_time(verdict: Verdict) -> str:
    """When the first alarm that had to ring rang, production time after the injection was accepted."""
    rang = [seconds for found in verdict.detections if (seconds := since_accepted(found, found.alarm_s)) is not None]
    return format_duration(min(rang)) if rang else DASH


def since_accepted(found: Detection, seconds: float | None) -> float | None:
    """A stage counted from the accepted injection, as deadlines are; a `Detection` counts from its request."""
    return None if seconds is None else seconds - (found.accepted_s or 0.0)


def estimate(found: Detection) -> str:
    """What preflight expected on AWS: the typical and the worst time until somebody is told."""
    if found.typical_s is None or found.worst_s is None:
        return DASH
    return f"{format_duration(round(found.typical_s))} to {format_duration(round(found.worst_s))}"


def or_dash(seconds: float | None) -> str:
    """A duration, or a dash where there is none."""
    return DASH if seconds is None else format_duration(seconds)


def figure(name: str, value: float) -> str:
    """A measured figure with its unit: `alarm_s` 372 -> `alarm 6m12s`."""
    for suffix, text in (
        ("_ms", f"{value:.0f} ms"),
        ("_per_s", f"{value:.1f}/s"),
        ("_share", f"{value:.1%}"),
        ("_s", format_duration(value)),
    ):
        if name.endswith(suffix):
            return f"{name.removesuffix(suffix).replace('_', ' ')} {text}"
    return f"{name.replace('_', ' ')} {value:g}"


def run_sentence(run: RunVerdict) -> str:
    """How many drills ended how."""
    if not run.drills:
        return "No drill was run."
    long = [drill for drill in run.drills if LONG in drill.tags]
    apart = f" Of these long: {_ended(long)}." if 0 < len(long) < len(run.drills) else ""
    return (
        f"{len(run.drills)} drills{', all long' if len(long) == len(run.drills) else ''}: {_ended(run.drills)}.{apart}"
    )


def _ended(drills: Iterable[Verdict]) -> str:
    counts = Counter(headline(drill).lower() for drill in drills)
    return ", ".join(f"{count} {word}" for word, count in counts.most_common())


def run_headline(run: RunVerdict) -> str:
    """The verdict on a run in one or two words."""
    left = _left_behind(one for drill in run.drills for one in drill.residue)
    by_code = {0: "Pass", 1: "Fail", 2: "Invalid input", 3: "Unknown", 4: "Stopped", 5: left}
    return by_code.get(run.exit_code, run.outcome.value.capitalize())


def tone(verdict: Verdict) -> str:
    """The style of a drill's verdict: `pass`, `fail` or `unknown`."""
    return "fail" if verdict.residue else verdict.outcome.value


def _stopped(verdict: Verdict) -> str:
    reason = verdict.judgements[0].message if verdict.judgements else verdict.stopped or ""
    injected = any(judgement.id == "undo" for judgement in verdict.judgements)
    if not injected:
        return f"Nothing was injected. {_capital(reason)}"
    undone = any(j.id == "undo" and j.outcome == Outcome.PASS for j in verdict.judgements)
    after = "The fault was undone and read back." if undone else "The undo was not verified."
    return f"{_capital(reason)}. {after}"


def _because(judgement: Judgement) -> str:
    return f"Asked: {judgement.question}. Seen: {judgement.message}."


def _rang(detections: tuple[Detection, ...]) -> str:
    rang = sorted(
        (seconds, found.alarm) for found in detections if (seconds := since_accepted(found, found.alarm_s)) is not None
    )
    if not rang:
        return ""
    told = " and ".join(f"{alarm} after {format_duration(seconds)}" for seconds, alarm in rang[:3])
    return f" Rang: {told}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
