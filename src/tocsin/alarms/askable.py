"""What can be asked of an alarm in `must`: whether its definition lets it tell people what is expected of it."""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.alarms.delivery import ACTIONS
from tocsin.alarms.filled import always_has_data
from tocsin.model.experiment import MustAlarm
from tocsin.model.only_cloudwatch import PromQlAlarm
from tocsin.model.system import AlarmState, CloudWatchAlarm, CompositeAlarm, MetricAlarm, System


def cannot_be(entry: MustAlarm, system: System) -> Iterator[tuple[str, str]]:
    """What the documented definition rules out: field of the entry, and what was expected and found."""
    alarm = system.cloudwatch_alarms.get(entry.alarm)
    if entry.by != "ALARM":
        why = _never_without_data(entry.alarm, alarm)
        if why is not None:
            yield "by", f"expected an alarm that can go to {entry.by}, found {why}"
        elif alarm is not None and system.notifications is not None and not _actions(alarm, entry.by):
            yield "by", _tells_nobody(entry.alarm, alarm, entry.by)
    if entry.all_clear:
        if alarm is None or system.notifications is None:
            yield "all_clear", f"expected `notifications` of the system and an alarm of CloudWatch, found {entry.alarm}"
        elif not _actions(alarm, "OK"):
            yield "all_clear", _tells_nobody(entry.alarm, alarm, "OK")
    if entry.notified_within is not None and not system.can_tell(entry.alarm):
        found = (
            "found a system without" if system.notifications is None else f"found {entry.alarm} of Prometheus beside"
        )
        yield "notified_within", f"expected an alarm whose `notifications` can be seen, {found} them"


def _never_without_data(name: str, alarm: CloudWatchAlarm | None) -> str | None:
    """Why it never goes to INSUFFICIENT_DATA again; None: it does.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
    """
    if alarm is None:
        return f"{name}, which Prometheus evaluates"
    if isinstance(alarm.cloudwatch, CompositeAlarm):
        return f"{name}, a composite: it is in ALARM or OK"
    if isinstance(alarm.cloudwatch, PromQlAlarm):
        return f"{name}, a PromQL alarm: a query that finds nothing is OK"
    treated = alarm.cloudwatch.treat_missing_data
    if isinstance(alarm.cloudwatch, MetricAlarm) and alarm.cloudwatch.missing_data != treated:
        return f"{name}: alarms on AWS/DynamoDB metrics ignore missing data, whatever TreatMissingData says"
    if isinstance(alarm.cloudwatch, MetricAlarm) and always_has_data(alarm.cloudwatch):
        return f"{name}, whose metric math gives a value for every period, though nothing is published"
    return None if treated == "missing" else f"{name} with TreatMissingData {treated}"


def _actions(alarm: CloudWatchAlarm, state: AlarmState) -> tuple[str, ...]:
    """Whom the definition tells of a state."""
    if not alarm.cloudwatch.actions_enabled:
        return ()
    by_state = {
        "ALARM": alarm.cloudwatch.alarm_actions,
        "OK": alarm.cloudwatch.ok_actions,
        "INSUFFICIENT_DATA": alarm.cloudwatch.insufficient_data_actions,
    }
    return by_state[state]


def _tells_nobody(name: str, alarm: CloudWatchAlarm, state: AlarmState) -> str:
    found = f"without {ACTIONS[state]}" if alarm.cloudwatch.actions_enabled else "with ActionsEnabled false"
    return f"expected an alarm that tells somebody of {state}, found {name} {found}"
