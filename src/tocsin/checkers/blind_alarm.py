"""Is the alarm that cannot see this failure really silent? Its silence is a finding."""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.checkers.answers import Answer, Question
from tocsin.checkers.quiet_alarm import unproven_silence
from tocsin.checkers.timeline import Timeline
from tocsin.model.duration import format_duration
from tocsin.model.experiment import QuietAlarm
from tocsin.model.verdict import Finding, Reason


def check_blind_alarms(timeline: Timeline) -> Iterator[Answer]:
    """A blind alarm that rings after all is a wrong expectation, and good news."""
    for entry in timeline.expect.blind:
        question = Question(f"blind:{entry.alarm}", f"{entry.alarm} cannot see this failure")
        rang = _rang(timeline, entry.alarm)
        if rang is not None:
            yield question.failed(
                Reason.NOT_BLIND,
                f"rang {format_duration(rang)} after the injection: it is not blind. Move it to `must`",
                alarm_s=rang,
            )
            continue
        window_s = timeline.expect.quiet_window(QuietAlarm(alarm=entry.alarm))
        unproven = unproven_silence(question, timeline, entry.alarm, window_s)
        if unproven is not None:
            yield unproven
            continue
        yield question.passed("silent all the while, though it was watched")
        yield Finding(
            kind="blind_alarm",
            subject=entry.alarm,
            message=f"{entry.alarm} stayed {timeline.state_at(entry.alarm, timeline.end)} while the system "
            f"was broken: {entry.because}{_data(timeline, entry.alarm)}",
        )


def _rang(timeline: Timeline, alarm: str) -> float | None:
    if timeline.accepted is None:
        return None
    at = timeline.in_alarm(alarm, after=timeline.accepted, until=timeline.end)
    return None if at is None else timeline.production(at - timeline.accepted)


def _data(timeline: Timeline, alarm: str) -> str:
    has_data = timeline.has_data(alarm)
    if has_data is None:
        return ". Whether its metric has data was not asked."
    return ". Its metric has data." if has_data else ". Its metric has never had a datapoint."
