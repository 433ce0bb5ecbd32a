"""Is somebody told in time: that an alarm rings, and that it is over?"""

from __future__ import annotations

from tocsin.checkers.alarm_causes import why_nobody_was_told
from tocsin.checkers.answers import Question
from tocsin.checkers.timeline import LONGEST_SILENCE_S, LONGEST_SILENCE_WALL_S, Timeline
from tocsin.model.duration import format_duration
from tocsin.model.events import AlarmChanged, AlarmNotified
from tocsin.model.verdict import Judgement, Reason

CLOCK_SKEW_WALL_S = 1.0
"""A queue stamps whole milliseconds by a clock of its own: a notification may seem earlier than its cause."""


def notification(timeline: Timeline, change: AlarmChanged) -> AlarmNotified | None:
    """The message that told people of a transition."""
    return next(
        (
            event
            for event in timeline.of_kind(AlarmNotified)
            if event.alarm == change.alarm and event.state == change.after and event.at >= change.at - CLOCK_SKEW_WALL_S
        ),
        None,
    )


def arrival(event: AlarmNotified) -> float:
    """When somebody could read it."""
    return event.at if event.arrived_at is None else event.arrived_at


def judge_telling(
    question: Question, timeline: Timeline, change: AlarmChanged, rang: str, since: float, within_s: float
) -> Judgement:
    """Whether people read of a transition within production seconds of an instant; `rang` are the words before."""
    told = notification(timeline, change)
    if told is None:
        return _nobody(question, timeline, change, rang, since + timeline.wall(within_s))
    after_s = timeline.production(arrival(told) - since)
    text = f"{rang}; the notification arrived after {format_duration(after_s)} by {told.via}"
    # Histories that do not tell when it was read say when it was sent, and judged no more than that it came.
    if told.arrived_at is None or after_s <= within_s:
        return question.passed(text, notified_s=after_s)
    unread_wall_s = told.arrived_at - (told.absent_at if told.absent_at is not None else told.at)
    if timeline.production(told.arrived_at - unread_wall_s - since) > within_s:
        return question.failed(
            Reason.NOTIFIED_LATE,
            f"{text}, later than {format_duration(within_s)}: it was sent after "
            f"{format_duration(timeline.production(told.at - since))}",
            notified_s=after_s,
        )
    if unread_wall_s > _patience(timeline):
        unread = format_duration(timeline.production(unread_wall_s))
        return question.unknown(Reason.NOT_WATCHED, f"{text}; before that nobody read the queue for {unread}")
    return question.passed(text, notified_s=after_s)


def _nobody(question: Question, timeline: Timeline, change: AlarmChanged, rang: str, deadline: float) -> Judgement:
    if timeline.end < max(change.at + _patience(timeline), deadline):
        return question.unknown(Reason.WINDOW_CUT, f"{rang}; the drill ended before a notification could arrive")
    cause = why_nobody_was_told(timeline, change.alarm, change.after)
    return question.failed(Reason.NOT_NOTIFIED, f"{rang}, but no notification arrived and nobody was told{cause}")


def _patience(timeline: Timeline) -> float:
    """Wall seconds between two looks of a watcher that is alive."""
    return LONGEST_SILENCE_WALL_S + timeline.wall(LONGEST_SILENCE_S)
