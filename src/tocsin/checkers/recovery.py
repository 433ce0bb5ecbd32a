"""How long until everything is as before?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tocsin.checkers.answers import Answer, Question
from tocsin.checkers.canaries import canaries_failed_until, canaries_recovered, silent_canaries
from tocsin.checkers.hypothesis import hypothesis_failed_until, hypothesis_recovered
from tocsin.checkers.must_alarm import cleared_at, first_ring
from tocsin.checkers.shares import ShareLimit, errors_limit, slow_limit
from tocsin.checkers.timeline import Timeline
from tocsin.model.duration import format_duration
from tocsin.model.events import LoadSecond
from tocsin.model.looks import Looked
from tocsin.model.shares import Seen, percent
from tocsin.model.traffic import ENOUGH_ANSWERS, failed_of, has_histograms, slow_of
from tocsin.model.verdict import Reason


@dataclass(frozen=True)
class Part:
    """Something that must be as before, and between which two looks at it that happened."""

    name: str
    failed_until: float | None
    """the last look that found it wanting; None: none did since the undo was verified"""
    well_at: float | None
    """the first look that found it well, to stay so; None: it was not well at the end"""
    complaint: str = ""
    """what was wrong until then"""

    def well_after(self, timeline: Timeline) -> float | None:
        """Production seconds from the verified undo, as late as it can have been."""
        return self._after(timeline, self.well_at)

    def failed_after(self, timeline: Timeline) -> float:
        """Production seconds from the verified undo for which it was certainly not well."""
        return self._after(timeline, self.failed_until) or 0.0

    def _after(self, timeline: Timeline, at: float | None) -> float | None:
        if at is None or timeline.verified is None:
            return None
        return max(0.0, timeline.production(at - timeline.verified))


def check_recovery(timeline: Timeline) -> Iterator[Answer]:
    """Steady state, canaries and callers are as before within the target: errors, p95 and the mix of answers.

    What callers get from then on is judged by the rule of the answers before the fault: too few of them show nothing.
    Alarms are left out: each has a deadline of its own (`clears_within`), and a five-minute period makes
    an alarm clear later than the system recovers.
    """
    within_s = timeline.expect.recovery.within
    question = Question("recovery", f"everything is as before within {format_duration(within_s)} of the undo")
    if timeline.verified is None:
        yield question.unknown(Reason.NO_EVIDENCE, "the undo was not verified, so the clock never started")
        return
    parts = _parts(timeline)
    missing = [part for part in parts if part.well_at is None]
    took = {part.name: after for part in parts if (after := part.well_after(timeline)) is not None}
    figures = {f"{name.replace(' ', '_')}_s": seconds for name, seconds in took.items()}
    late = [part for part in parts if took.get(part.name, 0.0) > within_s]
    told = ", ".join(f"{name} after {format_duration(seconds)}" for name, seconds in took.items())
    if not parts:
        yield question.unknown(Reason.NO_EVIDENCE, "nothing was watched that could recover")
    elif missing and timeline.production(timeline.end - timeline.verified) < within_s:
        names = ", ".join(part.name for part in missing)
        yield question.unknown(Reason.WINDOW_CUT, f"not seen to recover before the drill ended: {names}", **figures)
    elif unseen := _unseen(timeline):
        # Waiting for them in vain, the drill looked at the rest late: that tells nothing either.
        yield question.unknown(
            Reason.NOT_WATCHED, f"nobody can tell: nothing was seen of {', '.join(unseen)}", **figures
        )
    elif missing or any(part.failed_after(timeline) > within_s for part in late):
        names = ", ".join(f"{p.name}: {p.complaint}" if p.complaint else p.name for p in (*missing, *late))
        yield question.failed(Reason.NOT_RECOVERED, f"not in time: {names}{f' ({told})' if told else ''}", **figures)
    elif late:
        between = ", ".join(_between(timeline, part) for part in late)
        yield question.unknown(
            Reason.NOT_WATCHED, f"nobody looked between: {between}. A lower time scale looks more closely", **figures
        )
    elif few := list(_not_shown(timeline)):
        yield question.unknown(
            Reason.TOO_FEW_ANSWERS, f"{'; '.join(few)} ({told})", **figures, **_share_figures(timeline)
        )
    else:
        shown = [f"{_counted(what, looked)}: that is at most {_bound(looked)}" for what, looked in _looked(timeline)]
        yield question.passed("; ".join([told, *shown]), **figures, **_share_figures(timeline))


def _not_shown(timeline: Timeline) -> Iterator[str]:
    """What the answers since the load is as before do not show, and how many would, in words."""
    for what, looked in _looked(timeline):
        if not looked.is_shown:
            limit = percent(looked.limit)
            yield f"{_counted(what, looked)}: that can be up to {_bound(looked)}, and {limit} may; {_would_do(looked)}"
    for what, may_be, seen in _older_shares(timeline):
        if not may_be.is_shown(seen):
            yield f"{seen.count} of {seen.of} answers since it was as before {what}: {may_be.told(seen)}"


def _looked(timeline: Timeline) -> list[tuple[str, Looked]]:
    """(what such answers do, what the planned looks at them found), of the load since it is as before."""
    if timeline.experiment.extension.load is None:
        return []
    return list(zip(_share_names(timeline), timeline.served.looked, strict=False))


def _share_names(timeline: Timeline) -> tuple[str, str]:
    return "fail", f"take more than {timeline.system.objectives.p95_ms:g} ms"


def _counted(what: str, looked: Looked) -> str:
    when = f"look {looked.made}" if looked.made else "before the first look"
    return f"{looked.seen.count} of {looked.seen.of:,} answers since it was as before {what} ({when})"


def _bound(looked: Looked) -> str:
    return f"{percent(looked.seen.at_most)} of all"


def _would_do(looked: Looked) -> str:
    """How many answers would have shown it, and whether the drill would have looked at so many."""
    if looked.would_do is not None:
        return f"{looked.would_do:,} answers like these would do"
    needed = looked.seen.needed(looked.limit)
    many = "no number of answers like these" if needed is None else f"{needed:,} answers like these"
    left = f"the last one would be at {looked.coming[-1]:,}" if looked.coming else "it was the last one"
    return f"{many} would do, and no look is left for that: {left}"


def _share_figures(timeline: Timeline) -> dict[str, float]:
    bounds = (looked.seen.at_most for looked in timeline.served.looked)
    return dict(zip(("error_share_at_most", "slow_share_at_most"), bounds, strict=False))


def _older_shares(timeline: Timeline) -> list[tuple[str, ShareLimit, Seen]]:
    """(what such answers do, the limit, as many of them as there can be), of all answers since the load is as before.

    That is the rule of histories with histograms and without planned looks; those before them are judged by their
    seconds alone.
    """
    seconds = well_since(timeline)
    if timeline.started.looks is not None or not seconds or not has_histograms(timeline.load):
        return []
    objectives = timeline.system.objectives
    _, slow = slow_of(seconds, objectives.p95_ms)
    limits = (errors_limit(objectives), failed_of(seconds)), (slow_limit(objectives), slow)
    return [(what, limit, seen) for what, (limit, seen) in zip(_share_names(timeline), limits, strict=True)]


def _between(timeline: Timeline, part: Part) -> str:
    after = part.well_after(timeline)
    assert after is not None
    failed = format_duration(part.failed_after(timeline))
    wanting = f"not well at {failed}" if part.failed_until is not None else "not looked at before"
    return f"{part.name} {wanting}, well at {format_duration(after)}"


def time_to_roll_back(timeline: Timeline) -> float | None:
    """Production seconds from the request of the undo to its verification."""
    if timeline.verified is None or timeline.undo_requested is None:
        return None
    return round(timeline.production(timeline.verified - timeline.undo_requested), 3)


def time_to_recover(timeline: Timeline) -> float | None:
    """Production seconds from the request of the undo until everything, alarms too, was as before."""
    if timeline.verified is None or timeline.undo_requested is None:
        return None
    rang = [name for name in timeline.system.alarms if first_ring(timeline, name) is not None]
    ends = [
        timeline.verified,
        *(part.well_at for part in _parts(timeline)),
        *(cleared_at(timeline, name) for name in rang),
    ]
    known = [at for at in ends if at is not None]
    if len(known) < len(ends):
        return None
    return round(timeline.production(max(known) - timeline.undo_requested), 3)


def load_recovered(timeline: Timeline) -> Part:
    """From which second on callers get what the healthy system gives, to stay so."""
    healthy, seconds, well = timeline.healthy, timeline.load_since_undo, timeline.served.well
    above = healthy.above(seconds) if well is None and has_histograms(seconds) else None
    # What fails in the second that the undo cuts through may be the fault's.
    wanting = [second for second in seconds[:well] if timeline.verified is None or second.at >= timeline.verified]
    return Part(
        name="load",
        failed_until=wanting[-1].at if wanting else None,
        well_at=None if well is None else seconds[well].at,
        complaint="; ".join([above, *healthy.changes(wanting)]) if above else healthy.complaint(wanting) or "",
    )


def well_since(timeline: Timeline) -> Sequence[LoadSecond]:
    """The answers since the load is as before; none where it is not, or where none is offered."""
    if timeline.experiment.extension.load is None:
        return ()
    well = timeline.served.well
    return () if well is None else timeline.load_since_undo[well:]


def _parts(timeline: Timeline) -> list[Part]:
    parts: list[Part] = []
    if timeline.experiment.hypothesis:
        parts.append(Part("steady state", hypothesis_failed_until(timeline), hypothesis_recovered(timeline)))
    if timeline.system.canaries is not None:
        parts.append(Part("canaries", canaries_failed_until(timeline), canaries_recovered(timeline)))
    if timeline.experiment.extension.load is not None:
        parts.append(load_recovered(timeline))
    return parts


def _unseen(timeline: Timeline) -> list[str]:
    """What should have told of the recovery, and was not there to see it."""
    silent = [f"the canary {name} after the undo" for name in silent_canaries(timeline)]
    load = timeline.experiment.extension.load is not None and timeline.system.load is not None
    answers = sum(second.answered for second in timeline.load_since_undo)
    if load and not any(second.answered for second in timeline.baseline_load):
        return [*silent, "the load before the fault, with which it is compared"]
    few = "the load after the undo" + (f" ({answers} answers, {ENOUGH_ANSWERS} are needed)" if answers else "")
    return [*silent, *([few] if load and answers < ENOUGH_ANSWERS else [])]
