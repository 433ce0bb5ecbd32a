"""What did this drill not look at, or could not see?"""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.checkers.answers import Answer, NotObserved
from tocsin.checkers.timeline import Timeline
from tocsin.model.duration import format_duration


def check_unobserved(timeline: Timeline) -> Iterator[Answer]:
    """Said before anything else in a report, so that a pass is not read as more than it is."""
    if timeline.system.notifications is None:
        yield NotObserved("Whether anybody is told: the system file names no queue of notifications.")
    if timeline.system.prometheus_alarms:
        yield NotObserved("Whether anybody is told of an alert of Prometheus: its Alertmanager is not watched.")
    yield from _alarms(timeline)
    if timeline.load:
        yield NotObserved("Exact latency percentiles of an act: they are means of the percentiles of its seconds.")
    if timeline.scale != 1:
        yield NotObserved(
            f"Delays of AWS itself (metrics that arrive late, slow deployments): time ran {timeline.scale:g} "
            "times faster than in production, and request latency is that of this machine."
        )


def _alarms(timeline: Timeline) -> Iterator[Answer]:
    judged = set(timeline.expect.alarms)
    for name in timeline.system.alarms:
        if name in judged or timeline.expect.gap is not None:
            continue
        state = timeline.state_at(name, timeline.end)
        if state is None:
            yield NotObserved(f"{name}: nobody looked at it.")
            continue
        rang = None
        if timeline.accepted is not None:
            rang = timeline.in_alarm(name, after=timeline.accepted, until=timeline.end)
        if rang is None or timeline.accepted is None:
            yield NotObserved(f"{name}: watched and not judged; it did not ring.")
        else:
            after = format_duration(timeline.production(rang - timeline.accepted))
            yield NotObserved(f"{name}: watched and not judged; it rang {after} after the injection.")
