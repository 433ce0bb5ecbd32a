"""Alarms that ring or stay silent because of what the account says beside their definition."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.planted.bench import Bench
from tests.planted.shelf import planted, reaches

from tocsin.model.events import FaultStage
from tocsin.model.verdict import Reason


@planted(
    "page suppressed by another alarm",
    "page with a suppressor",
    "must:page",
    Reason.NOT_NOTIFIED,
    "suppressed by bell-maintenance, which was in ALARM",
)
def suppressed(bench: Bench) -> None:
    cloudwatch = bench.client("cloudwatch")
    # Silence is a breach now, and nobody publishes this metric: maintenance without an end.
    cloudwatch.put_metric_alarm(
        AlarmName="bell-maintenance",
        Namespace="Bell",
        MetricName="Maintenance",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        TreatMissingData="breaching",
    )
    bench.wait_for("the suppressor to ring", lambda: "bell-maintenance" in bench.ringing())


@planted(
    "part of a composite alarm that somebody sets to ALARM",
    "page with a suppressor",
    "must:page",
    Reason.SET_BY_HAND,
    "somebody set dead-letters, which made it ring, to ALARM .*rehearsal",
)
def part_set_by_hand(bench: Bench) -> None:
    rehearsed = {"AlarmName": "bell-dead-letters", "StateValue": "ALARM", "StateReason": "rehearsal"}
    bench.when(reaches(FaultStage.ACCEPTED), lambda: bench.client("cloudwatch").set_alarm_state(**rehearsed))


@planted(
    "alarm muted by a rule",
    "poison",
    "must:dead-letters",
    Reason.NOT_NOTIFIED,
    "muted by the alarm mute rule night-shift",
)
def muted(bench: Bench) -> None:
    cloudwatch = bench.client("cloudwatch")
    cloudwatch.put_alarm_mute_rule(
        Name="night-shift",
        Rule={"Schedule": {"Expression": datetime.now(UTC).strftime("at(%Y-%m-%dT%H:%M)"), "Duration": "P15D"}},
        MuteTargets={"AlarmNames": ["bell-dead-letters"]},
    )
    bench.after(lambda: cloudwatch.delete_alarm_mute_rule(AlarmMuteRuleName="night-shift"))


@planted(
    "silence of a table taken for a breach",
    "silence",
    "must:silence",
    Reason.DID_NOT_RING,
    "missing data of AWS/DynamoDB metrics is always ignored",
)
def counts_on_the_silence_of_a_table(bench: Bench) -> None:
    def of(name: str, namespace: str, metric: str, dimension: str, value: str) -> dict[str, object]:
        where = {
            "Namespace": namespace,
            "MetricName": metric,
            "Dimensions": [{"Name": dimension, "Value": value}],
        }
        return {"Id": name, "ReturnData": False, "MetricStat": {"Metric": where, "Period": 120, "Stat": "Sum"}}

    bench.alarm_of_math(
        "silence",
        of("beats", "AWS/Lambda", "Invocations", "FunctionName", "bell-heartbeat"),
        of("reads", "AWS/DynamoDB", "ConsumedReadCapacityUnits", "TableName", "bell-orders"),
        {"Id": "alive", "Expression": "beats + reads"},
    )
