"""Do the alarms that have nothing to do with the fault stay quiet?"""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.checkers.answers import Answer, NotObserved, Question
from tocsin.checkers.must_alarm import NEVER_READ, TOLERANCE_WALL_S
from tocsin.checkers.timeline import Timeline
from tocsin.model.duration import format_duration
from tocsin.model.events import Act
from tocsin.model.experiment import QuietAlarm
from tocsin.model.verdict import Judgement, Reason


def check_quiet_alarms(timeline: Timeline) -> Iterator[Answer]:
    """No transition to ALARM from the injection to the end of recovery, by an alarm that was watched."""
    for entry in timeline.expect.quiet:
        yield _quiet(timeline, entry)
        if timeline.has_data(entry.alarm) is False:
            yield NotObserved(f"{entry.alarm}: its metric has never had a datapoint, so its silence says little.")


def unproven_silence(question: Question, timeline: Timeline, alarm: str, window_s: float) -> Judgement | None:
    """Why the silence of an alarm proves nothing; None when it was watched for its whole window."""
    if timeline.accepted is None:
        return question.unknown(Reason.NO_EVIDENCE, "nothing was injected, so silence proves nothing")
    if not timeline.seen_before_fault(alarm):
        return question.unknown(Reason.NOT_WATCHED, NEVER_READ)
    held_s = timeline.production(timeline.fault_end - timeline.accepted)
    if held_s < window_s - timeline.production(TOLERANCE_WALL_S) or Act.RECOVERY not in timeline.ended_acts:
        return question.unknown(
            Reason.WINDOW_CUT,
            f"quiet so far, but its window of {format_duration(window_s)} was cut after {format_duration(held_s)}",
            held_s=held_s,
        )
    if not timeline.watched(alarm, timeline.accepted, timeline.watch_end):
        gap_s = timeline.watch_gap(alarm, timeline.accepted, timeline.watch_end)
        return question.unknown(Reason.NOT_WATCHED, f"for {format_duration(gap_s)} nobody looked at it", gap_s=gap_s)
    return None


def _quiet(timeline: Timeline, entry: QuietAlarm) -> Judgement:
    window_s = timeline.expect.quiet_window(entry)
    question = Question(f"quiet:{entry.alarm}", f"{entry.alarm} stays quiet for {format_duration(window_s)}")
    if timeline.accepted is not None:
        if timeline.rang_before_fault(entry.alarm) is not None:
            return question.unknown(
                Reason.RANG_BEFORE_FAULT, "it was in ALARM before the injection: nothing can be said"
            )
        rang = timeline.in_alarm(entry.alarm, after=timeline.accepted, until=timeline.end)
        if rang is not None:
            after_s = timeline.production(rang - timeline.accepted)
            return question.failed(
                Reason.RANG_BUT_QUIET,
                f"rang {format_duration(after_s)} after the injection, though it should stay quiet",
                alarm_s=after_s,
            )
    unproven = unproven_silence(question, timeline, entry.alarm, window_s)
    return unproven or question.passed("watched without a gap to the end of recovery, and never in ALARM")
