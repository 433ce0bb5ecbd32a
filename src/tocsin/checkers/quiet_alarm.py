"""Do the alarms that have nothing to do with the fault stay quiet?"""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.checkers.answers import Answer, NotObserved, Question
from tocsin.checkers.evaluation import WITHOUT_DATA, account_differs, never_evaluated, why_not_evaluated, without_data
from tocsin.checkers.must_alarm import NEVER_READ, TOLERANCE_WALL_S
from tocsin.checkers.proof import redefined, set_by_hand, undocumented_silence, unproven_quiet
from tocsin.checkers.timeline import Timeline
from tocsin.model.duration import format_duration
from tocsin.model.events import Act
from tocsin.model.experiment import QuietAlarm
from tocsin.model.system import CompositeAlarm
from tocsin.model.verdict import Judgement, Reason


def check_quiet_alarms(timeline: Timeline) -> Iterator[Answer]:
    """No transition to ALARM from the injection to the end of recovery, by an alarm that was watched."""
    for entry in timeline.expect.quiet:
        yield _quiet(timeline, entry)
        if stayed_without_data(timeline, entry.alarm):
            yield NotObserved(f"{entry.alarm}: it was in INSUFFICIENT_DATA all the while, so its silence is no health.")
        elif timeline.accepted is not None and timeline.state_at(entry.alarm, timeline.watch_end) == WITHOUT_DATA:
            yield NotObserved(
                f"{entry.alarm}: it was in INSUFFICIENT_DATA at the end, so its silence then is no health."
            )
        elif timeline.has_data(entry.alarm) is False:
            yield NotObserved(f"{entry.alarm}: its metric has never had a datapoint, so its silence says little.")
        elif _is_unread(timeline, entry.alarm):
            yield NotObserved(
                f"{entry.alarm}: whether its metric has ever had a datapoint was not answered; without one its silence "
                "says little."
            )


def unproven_silence(question: Question, timeline: Timeline, alarm: str, window_s: float) -> Judgement | None:
    """Why the silence of an alarm proves nothing; None when it was watched for its whole window."""
    if timeline.accepted is None:
        return question.unknown(Reason.NO_EVIDENCE, "nothing was injected, so silence proves nothing")
    never = never_evaluated(question, timeline, alarm)
    if never is not None:
        return never
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
    unevaluated = why_not_evaluated(timeline, alarm, timeline.accepted, timeline.watch_end)
    if unevaluated is not None:
        return question.unknown(Reason.NOT_EVALUATED, f"{unevaluated}{account_differs(timeline, alarm)}")
    return _disturbed(question, timeline, alarm)


def _disturbed(question: Question, timeline: Timeline, alarm: str) -> Judgement | None:
    """What was done to the alarm, or how it differs, so that its silence is not that of the documented one."""
    assert timeline.accepted is not None
    changes = redefined(timeline, alarm, timeline.watch_end)
    if changes is not None:
        return question.unknown(
            Reason.DEFINITION_CHANGED,
            f"somebody wrote it anew during the drill ({changes}): its silence proves nothing",
        )
    by_hand = set_by_hand(timeline, alarm, timeline.accepted, timeline.watch_end)
    if by_hand is not None:
        after = format_duration(timeline.production(by_hand.at - timeline.accepted))
        return question.unknown(
            Reason.SET_BY_HAND,
            f"somebody set it to {by_hand.after} {after} after the injection ({by_hand.reason}): its silence proves "
            "nothing",
        )
    fields = undocumented_silence(timeline, alarm)
    if fields:
        return question.unknown(
            Reason.NOT_AS_DOCUMENTED,
            f"it was silent; the documented alarm need not have been: by {', '.join(fields)} this one is harder to "
            "ring, or another one",
        )
    below = unproven_quiet(timeline, alarm, timeline.watch_end)
    return None if below is None else question.unknown(below[0], f"{below[1]}: its silence proves nothing")


def stayed_without_data(timeline: Timeline, alarm: str) -> bool:
    """Whether the alarm was in INSUFFICIENT_DATA from before the injection to the end of recovery."""
    return timeline.accepted is not None and without_data(timeline, alarm, timeline.accepted, timeline.watch_end)


def _is_unread(timeline: Timeline, alarm: str) -> bool:
    """Whether nobody could tell if an alarm on metrics has anything to look at."""
    known = timeline.system.cloudwatch_alarms.get(alarm)
    if timeline.accepted is None or known is None or isinstance(known.cloudwatch, CompositeAlarm):
        return False
    return bool(known.cloudwatch.metric_refs) and timeline.has_data(alarm) is None


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
    if unproven is not None:
        return unproven
    if stayed_without_data(timeline, entry.alarm):
        return question.passed("watched without a gap, and INSUFFICIENT_DATA all the while: it had nothing to look at")
    return question.passed("watched without a gap to the end of recovery, and never in ALARM")
