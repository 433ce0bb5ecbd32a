"""Was an alarm evaluated at all? Where nobody looked at its metric, its state says nothing."""

from __future__ import annotations

from tocsin.alarms.filled import always_has_data
from tocsin.checkers.answers import Question
from tocsin.checkers.composed import below
from tocsin.checkers.timeline import Timeline
from tocsin.model.only_cloudwatch import OnlyCloudWatch
from tocsin.model.system import CloudWatchAlarm, MetricAlarm
from tocsin.model.verdict import Judgement, Reason

WITHOUT_DATA = "INSUFFICIENT_DATA"


def why_not_evaluated(timeline: Timeline, alarm: str, start: float, end: float) -> str | None:
    """Why nobody evaluated the alarm at some time of a window, or not from all its data; None when that was not seen.

    Whoever evaluates says so, of the alarm or of one that it is composed of; or it stays in INSUFFICIENT_DATA all the
    while, which no evaluation of its definition could come to.
    """
    told = timeline.not_evaluated(alarm, start, end)
    if told is not None:
        who = "Prometheus" if alarm in timeline.system.prometheus_alarms else "CloudWatch"
        return f"{who} did not evaluate it ({told})"
    definition = timeline.system.cloudwatch_alarms.get(alarm)
    if definition is None:
        return None
    for child in below(timeline, alarm):
        told = timeline.not_evaluated(child, start, end)
        if told is not None:
            return f"CloudWatch did not evaluate {child}, which it is composed of ({told})"
    if not without_data(timeline, alarm, start, end) or _may_lack_data(definition):
        return None
    return f"it was {WITHOUT_DATA} all the while, and nobody who evaluates its definition would leave it so"


def why_lost_data(timeline: Timeline, alarm: str, start: float, end: float) -> str | None:
    """Why nobody evaluated the alarm at the end of a window in which it was OK before; None when that was not seen.

    An alarm whose missing data counts as OK or ALARM does not go to INSUFFICIENT_DATA while it is evaluated.
    """
    told = why_not_evaluated(timeline, alarm, start, end)
    definition = timeline.system.cloudwatch_alarms.get(alarm)
    if told is not None or definition is None or _may_lack_data(definition):
        return told
    if timeline.state_at(alarm, end) != WITHOUT_DATA:
        return None
    return f"it was {WITHOUT_DATA} to the end, and nobody who evaluates its definition would leave it so"


def never_evaluated(question: Question, timeline: Timeline, alarm: str) -> Judgement | None:
    """What is said of an alarm that the target does not have, because nobody there could evaluate it."""
    why = timeline.never_evaluated.get(alarm)
    return None if why is None else question.unknown(Reason.NOT_EVALUATED, f"nobody evaluates it in this target: {why}")


def account_differs(timeline: Timeline, alarm: str) -> str:
    """How the account's alarm differs from the documented one, to be added to a message; empty when it does not."""
    seen = timeline.first_seen.get(alarm)
    drift = seen.definition_drift if seen is not None else ()
    return f" (not the documented alarm: {', '.join(drift)} differ)" if drift else ""


def without_data(timeline: Timeline, alarm: str, start: float, end: float) -> bool:
    """Whether the alarm was in INSUFFICIENT_DATA from the beginning to the end of a window."""
    return timeline.states_within(alarm, start, end) == {WITHOUT_DATA}


def _may_lack_data(definition: CloudWatchAlarm) -> bool:
    """Whether an alarm that is evaluated may stay in INSUFFICIENT_DATA.

    Without any datapoint the state is OK or ALARM where missing data counts as one of them; `ignore` keeps the state,
    and so does a percentile of too few samples. Metric math that has a value for every period lacks none. A composite
    alarm is OK or ALARM as soon as it is evaluated.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
    """
    alarm = definition.cloudwatch
    if isinstance(alarm, OnlyCloudWatch):
        return alarm.may_lack_data
    if not isinstance(alarm, MetricAlarm) or always_has_data(alarm):
        return False
    return alarm.missing_data in ("missing", "ignore") or alarm.evaluate_low_sample_count_percentile == "ignore"
