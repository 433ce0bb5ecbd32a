"""What did this drill not look at, or could not see?"""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.checkers.answers import Answer, NotObserved
from tocsin.checkers.evaluation import why_not_evaluated, without_data
from tocsin.checkers.recovery import well_since
from tocsin.checkers.timeline import Timeline
from tocsin.model.duration import format_duration
from tocsin.model.shares import percent, without_any
from tocsin.model.system import SLOW_SHARE
from tocsin.model.traffic import failed_of, has_histograms, slow_of


def check_unobserved(timeline: Timeline) -> Iterator[Answer]:
    """Said before anything else in a report, so that a pass is not read as more than it is."""
    if timeline.system.notifications is None:
        yield NotObserved("Whether anybody is told: the system file names no queue of notifications.")
    if timeline.system.prometheus_alarms:
        yield NotObserved("Whether anybody is told of an alert of Prometheus: its Alertmanager is not watched.")
    yield from _alarms(timeline)
    if not has_histograms(timeline.load):
        yield NotObserved("Exact latency percentiles of an act: they are means of the percentiles of its seconds.")
        yield NotObserved(
            "What shares of the answers prove: this history is of an older Tocsin, without histograms, and "
            "is judged by the rule of that time, by which also few answers pass."
        )
    else:
        if timeline.load and timeline.started.looks is None:
            yield NotObserved(
                "How surely callers were served as before: this history is of an older Tocsin, which looked after "
                "each second until a look passed, and is judged by the rule of that time: luck passes it more often."
            )
        yield from _promises(timeline)
    if timeline.scale != 1:
        yield NotObserved(
            f"Delays of AWS itself (metrics that arrive late, slow deployments): time ran {timeline.scale:g} "
            "times faster than in production, and request latency is that of this machine."
        )


def _promises(timeline: Timeline) -> Iterator[NotObserved]:
    """What the objectives promise of the healthy system, and its answers before and after together do not show."""
    if not timeline.baseline_load:
        return
    seconds, objectives = [*timeline.baseline_load, *well_since(timeline)], timeline.system.objectives
    failed, (_, slow) = failed_of(seconds), slow_of(seconds, objectives.p95_ms)
    for what, seen, promised in (
        ("fail", failed, objectives.max_error_share),
        (f"take more than {objectives.p95_ms:g} ms", slow, SLOW_SHARE),
    ):
        if seen.is_within(promised):
            continue
        needed = without_any(promised)
        would = "" if needed is None else f"; {needed:,} answers of which none does would show it"
        yield NotObserved(
            f"That at most {percent(promised)} of the answers of the healthy system {what}: {seen.of:,} answers, "
            f"before the fault and after the recovery, show {percent(seen.at_most)}{would}."
        )


def _alarms(timeline: Timeline) -> Iterator[Answer]:
    judged = set(timeline.expect.alarms)
    for name in timeline.system.alarms:
        if name in judged or timeline.expect.gap is not None:
            continue
        if name in timeline.never_evaluated:
            yield NotObserved(f"{name}: nobody evaluates it in this target: {timeline.never_evaluated[name]}.")
            continue
        state = timeline.state_at(name, timeline.end)
        if state is None:
            yield NotObserved(f"{name}: nobody looked at it.")
            continue
        rang = None
        if timeline.accepted is not None:
            rang = timeline.in_alarm(name, after=timeline.accepted, until=timeline.end)
        if rang is None or timeline.accepted is None:
            yield NotObserved(f"{name}: {_silence(timeline, name)}.")
        else:
            after = format_duration(timeline.production(rang - timeline.accepted))
            yield NotObserved(f"{name}: watched and not judged; it rang {after} after the injection.")


def _silence(timeline: Timeline, alarm: str) -> str:
    """What can be said of an alarm that nobody judged and that did not ring."""
    start = timeline.start if timeline.accepted is None else timeline.accepted
    why = why_not_evaluated(timeline, alarm, start, timeline.watch_end)
    if why is not None:
        return f"not judged, and not evaluated: {why}"
    if without_data(timeline, alarm, start, timeline.watch_end):
        return "watched and not judged; it was in INSUFFICIENT_DATA all the while"
    return "watched and not judged; it did not ring"
