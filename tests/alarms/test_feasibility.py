"""What can ring at the offered traffic, and when: the arithmetic of the detection budget.

Budgets with times are worked out by hand, for alarms as serverless systems on AWS have them.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.alarms.feasibility import (
    IGNORED,
    Forecast,
    Traffic,
    fill_of_percentile,
    fill_of_sum,
    forecast,
    forecast_all,
    forecast_composite,
    forecast_rules,
    needed_of,
    time_to_detect,
)
from tocsin.alarms.prometheus import AlertRule, rules_of
from tocsin.aws.metrics import Stage
from tocsin.model.lags import Lags
from tocsin.model.system import CompositeAlarm, MetricAlarm
from tocsin.project.documents import load_experiment, load_system

ROOT = Path(__file__).parents[2]
AWS = Traffic(arrivals_per_s=20, scale=1)
"""Twenty requests a second on a real account."""


def alarm(**fields: Any) -> MetricAlarm:
    """5xx Sum >= 5 in 300 s, or what differs from it."""
    definition: dict[str, Any] = {
        "AlarmName": "a",
        "Namespace": "AWS/ApiGateway",
        "MetricName": "5xx",
        "Statistic": "Sum",
        "Period": 300,
        "EvaluationPeriods": 1,
        "Threshold": 5,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "notBreaching",
    }
    definition |= fields
    return MetricAlarm.model_validate({name: value for name, value in definition.items() if value is not None})


def percentile(name: str, **fields: Any) -> MetricAlarm:
    return alarm(MetricName="Latency", Statistic=None, ExtendedStatistic=name, Threshold=1000, **fields)


# ------------------------------------------------------------------------------------------------ the budget

BUDGET = [
    # name, alarm, effect, fill, typical, worst
    ("errors of one route", alarm(), Stage(5, 60), Stage(10, 300), 120, 660),
    ("latency", alarm(Statistic="Average", MetricName="Latency"), Stage(60, 75), Stage(20, 300), 185, 675),
    ("dead letters", alarm(Namespace="AWS/SQS", Period=60), Stage(10, 30), Stage(180, 300), 295, 630),
    ("errors a minute", alarm(Namespace="AWS/Lambda", Period=60), Stage(5, 75), Stage(5, 60), 115, 435),
    (
        "latency, 3 of 3 minutes",
        alarm(Namespace="AWS/ApiGateway", Period=60, EvaluationPeriods=3),
        Stage(60, 75),
        Stage(5, 60),
        290,
        555,
    ),
    (
        "connections, 2 of 2 minutes",
        alarm(Namespace="AWS/RDS", Period=60, EvaluationPeriods=2),
        Stage(20, 60),
        Stage(30, 120),
        215,
        540,
    ),
    ("error rate at the edge", alarm(Namespace="AWS/CloudFront"), Stage(120, 600), Stage(60, 300), 345, 1440),
    (
        "2 of 2 periods at the edge",
        alarm(Namespace="AWS/CloudFront", EvaluationPeriods=2),
        Stage(30, 300),
        Stage(60, 300),
        555,
        1440,
    ),
    ("canary", alarm(Namespace="CloudWatchSynthetics"), Stage(60, 600), Stage(150, 300), 285, 1140),
    ("age of a message", alarm(Namespace="AWS/SQS", Period=60), Stage(5, 60), Stage(900, 960), 1010, 1320),
]


@pytest.mark.parametrize(("definition", "effect", "fill", "typical", "worst"), [row[1:] for row in BUDGET])
def test_the_stages_add_up(definition: MetricAlarm, effect: Stage, fill: Stage, typical: int, worst: int) -> None:
    assert time_to_detect(definition, fill, effect) == Stage(typical, worst)


LATE = Lags(measured_at=0.0, metric_s=300.0, notification_s=90.0)
SOON = Lags(measured_at=0.0, metric_s=40.0, notification_s=2.0)
MEASURED = [
    # name, namespace, lags, typical and worst of publish and deliver
    ("nothing was measured", "Shop", None, (60, 180), (15, 60)),
    ("a late target, own metric", "Shop", LATE, (270, 270), (90, 90)),
    ("a late target, AWS's metric", "AWS/Lambda", LATE, (270, 270), (90, 90)),
    ("a quick target, own metric", "Shop", SOON, (10, 180), (2, 60)),
    ("a quick target, AWS's metric", "AWS/Lambda", SOON, (60, 180), (2, 60)),
]


@pytest.mark.parametrize(
    ("namespace", "lags", "publish", "deliver"), [row[1:] for row in MEASURED], ids=[row[0] for row in MEASURED]
)
def test_measured_lags_make_an_estimate_its_target_s_own_and_no_worst_case_better(
    namespace: str, lags: Lags | None, publish: tuple[float, float], deliver: tuple[float, float]
) -> None:
    nothing = Stage(0, 0)
    found = time_to_detect(alarm(Namespace=namespace, MetricName="Errors", Period=60), nothing, nothing, lags)
    evaluate = (30, 60)
    typical, worst = (sum(stages) for stages in zip(publish, evaluate, deliver, strict=True))
    assert found == Stage(typical, worst)


def test_a_forecast_says_that_it_is_of_measured_lags() -> None:
    told = [forecast(alarm(), 660, AWS, lags=lags) for lags in (None, LATE)]
    assert ["measured here" in one.detail for one in told] == [False, True]
    assert (told[1].worst_s or 0) - (told[0].worst_s or 0) == (270 - 180) + (90 - 60)


def test_a_window_fills_as_fast_as_bad_events_come() -> None:
    assert fill_of_sum(5, bad_per_s=0.5, period_s=300) == 10
    assert fill_of_sum(5, bad_per_s=1 / 60, period_s=300) == pytest.approx(300)
    assert fill_of_sum(5, bad_per_s=1 / 61, period_s=300) == math.inf
    assert fill_of_sum(1, bad_per_s=0, period_s=300) == math.inf
    # 95 % of 300 s may be bad before p95 is, when every request is.
    assert fill_of_percentile(95, bad_share=1, period_s=300) == pytest.approx(15)
    assert fill_of_percentile(95, bad_share=0.05, period_s=300) == math.inf


@pytest.mark.parametrize(
    ("operator", "threshold", "needed"),
    [
        ("GreaterThanOrEqualToThreshold", 5, 5),
        ("GreaterThanThreshold", 5, 6),
        ("GreaterThanOrEqualToThreshold", 4.5, 5),
        ("GreaterThanThreshold", 4.5, 5),
    ],
)
def test_whole_events_are_needed(operator: str, threshold: float, needed: int) -> None:
    assert needed_of(alarm(ComparisonOperator=operator, Threshold=threshold)) == needed


# ------------------------------------------------------------------------------------------------ what cannot be


def test_more_bad_requests_than_can_come_are_impossible_and_the_arithmetic_says_so() -> None:
    found = forecast(alarm(Threshold=5000), 660, Traffic(arrivals_per_s=20, scale=10))
    assert not found.feasible
    assert "5xx Sum >= 5000 in 300 s needs 5000 bad requests a period" in found.detail
    assert "at 20 arrivals/s 600 are expected" in found.detail
    assert "in the 30s that a period lasts at scale 10" in found.detail
    assert "Offer at least 167 arrivals/s" in found.detail
    # Nothing is compressed on a real account: 6,000 requests come in the same period.
    assert forecast(alarm(Threshold=5000), 660, AWS).feasible


@pytest.mark.parametrize(
    ("definition", "within", "why"),
    [
        (alarm(Threshold=100_000), 660, "needs 100000 bad requests"),
        (alarm(Statistic="SampleCount", MetricName="Latency", Threshold=9000), 660, "needs 9000"),
        (alarm(Statistic="Average", Threshold=1.5), 660, "between 0 and 1"),
        (alarm(Statistic="Maximum", ComparisonOperator="GreaterThanThreshold", Threshold=1), 660, "between 0 and 1"),
        (alarm(ComparisonOperator="LessThanThreshold", Threshold=0), 660, "cannot be"),
        (
            alarm(Namespace="AWS/CloudFront", MetricName="5xxErrorRate", Statistic="Average", Threshold=101),
            660,
            "between 0 and 100",
        ),
        (alarm(EvaluationPeriods=3), 599, "at the earliest, and `within` is 9m59s"),
        (alarm(EvaluationPeriods=5, DatapointsToAlarm=3), 599, "needs 3 breaching periods"),
        (percentile("p99.9", Period=60, EvaluateLowSampleCountPercentile="ignore"), 660, "fewer than 10000 samples"),
    ],
)
def test_certain_impossibility_is_refused(definition: MetricAlarm, within: float, why: str) -> None:
    found = forecast(definition, within, AWS)
    assert not found.feasible
    assert why in found.detail
    assert (found.earliest_s, found.typical_s, found.worst_s) == (None, None, None)


@pytest.mark.parametrize(
    ("definition", "within"),
    [
        (alarm(), 660),
        # Just in time, and M of N instead of N of N.
        (alarm(EvaluationPeriods=3, Threshold=1), 601),
        (alarm(EvaluationPeriods=5, DatapointsToAlarm=2, Threshold=1), 301),
        # Silence would breach as well.
        (alarm(Threshold=100_000, TreatMissingData="breaching"), 660),
        # How often a request invokes a function, nobody knows; a gauge has nothing to do with requests.
        (alarm(Namespace="AWS/Lambda", MetricName="Errors", Threshold=100_000), 660),
        (alarm(Namespace="AWS/RDS", MetricName="DatabaseConnections", Statistic="Maximum", Threshold=900), 660),
        (alarm(Namespace="Shop", MetricName="Orders", Threshold=1e9), 660),
        (alarm(MetricName="Latency", Statistic="Sum", Threshold=1e9), 660),
        (alarm(ComparisonOperator="LessThanThreshold", MetricName="Count", Threshold=1), 660),
        (percentile("p99", EvaluateLowSampleCountPercentile="evaluate"), 660),
        (
            alarm(
                Namespace=None,
                MetricName=None,
                Statistic=None,
                Period=None,
                Metrics=[
                    {
                        "Id": "e",
                        "MetricStat": {
                            "Metric": {"Namespace": "AWS/ApiGateway", "MetricName": "5xx"},
                            "Period": 300,
                            "Stat": "Sum",
                        },
                        "ReturnData": False,
                    },
                    {"Id": "r", "Expression": "100 * e"},
                ],
                Threshold=1e6,
            ),
            660,
        ),
    ],
)
def test_nothing_is_said_against_what_may_be(definition: MetricAlarm, within: float) -> None:
    found = forecast(definition, within, AWS)
    assert found.feasible, found.detail
    assert found.earliest_s is not None
    assert found.typical_s is not None
    assert found.worst_s is not None
    assert found.earliest_s <= found.typical_s <= found.worst_s


def test_canaries_and_contract_are_traffic_too() -> None:
    beside = Traffic(arrivals_per_s=0, scale=1, canaries=4, canary_every_s=60, operations=10)
    assert forecast(alarm(Threshold=500), 660, beside).feasible
    assert not forecast(alarm(Threshold=5000), 660, beside).feasible
    assert not forecast(alarm(Threshold=1), 660, Traffic()).feasible


# ------------------------------------------------------------------------------------------------ what is doubtful


def test_what_is_doubtful_is_noted_and_not_refused() -> None:
    quiet = Traffic(arrivals_per_s=0.1, scale=1)
    assert (
        "p99 of 30 samples a period is unsteady: 1000 would be enough" in forecast(percentile("p99"), 660, quiet).notes
    )
    silent = alarm(Namespace="AWS/DynamoDB", MetricName="ThrottledRequests", TreatMissingData="breaching")
    assert IGNORED in forecast(silent, 660, AWS).notes
    assert any("at worst it takes 11m on AWS" in note for note in forecast(alarm(), 600, AWS).notes)
    assert not forecast(alarm(), 660, AWS).notes


def test_a_dead_letter_queue_rings_when_a_message_has_been_tried() -> None:
    depth = alarm(
        Namespace="AWS/SQS",
        MetricName="ApproximateNumberOfMessagesVisible",
        Statistic="Maximum",
        Period=60,
        Threshold=1,
        Dimensions=[{"Name": "QueueName", "Value": "orders-dlq"}],
    )
    found = forecast_all({"dlq": 660}, {"dlq": depth}, AWS, {"orders-dlq": 180})["dlq"]
    assert (found.earliest_s, found.typical_s, found.worst_s) == (0, 295, 660)
    soon = forecast_all({"dlq": 120}, {"dlq": depth}, AWS, {"orders-dlq": 180})["dlq"]
    assert soon.feasible
    assert any("tried for 3m" in note for note in soon.notes)


def test_a_message_takes_its_age_to_grow_old() -> None:
    age = alarm(
        Namespace="AWS/SQS", MetricName="ApproximateAgeOfOldestMessage", Statistic="Maximum", Period=60, Threshold=900
    )
    found = forecast(age, 1380, AWS)
    assert (found.typical_s, found.worst_s) == (1015, 1320)
    assert any("only after 15m" in note for note in forecast(age, 660, AWS).notes)


# ------------------------------------------------------------------------------------------------ composite alarms

CAN = Forecast(feasible=True, detail="", earliest_s=60, typical_s=120, worst_s=300)
LATER = Forecast(feasible=True, detail="", earliest_s=600, typical_s=700, worst_s=900)
CANNOT = Forecast(feasible=False, detail="too few requests")


@pytest.mark.parametrize(
    ("rule", "within", "times"),
    [
        ("ALARM(can) AND ALARM(later)", 660, (600, 700, 900)),
        ("ALARM(can) OR ALARM(later)", 660, (60, 120, 300)),
        ("ALARM(can) AND NOT ALARM(later)", 660, (60, 120, 300)),
        ("ALARM(can) OR ALARM(cannot)", 660, (60, 120, 300)),
        ("ALARM(can) AND ALARM(cannot)", 660, None),
        ("ALARM(can) AND ALARM(later)", 599, None),
        ("ALARM(cannot) OR FALSE", 660, None),
        ("ALARM(elsewhere) AND ALARM(can)", 660, (60, None, None)),
    ],
)
def test_a_composite_rings_when_its_rule_can_hold(
    rule: str, within: float, times: tuple[float | None, ...] | None
) -> None:
    composite = CompositeAlarm.model_validate({"AlarmName": "c", "AlarmRule": rule})
    found = forecast_composite(composite, within, {"can": CAN, "later": LATER, "cannot": CANNOT})
    assert found.feasible == (times is not None), found.detail
    if times is not None:
        assert (found.earliest_s, found.typical_s, found.worst_s) == times


def test_a_composite_with_a_suppressor_rings_as_soon_and_tells_later() -> None:
    def told(**suppressor: object) -> Forecast:
        page = CompositeAlarm.model_validate({"AlarmName": "page", "AlarmRule": "ALARM(a)", **suppressor})
        return forecast_all({"page": 660}, {"page": page, "a": alarm()}, AWS, {})["page"]

    plain = told()
    waits = told(ActionsSuppressor="m", ActionsSuppressorWaitPeriod=60, ActionsSuppressorExtensionPeriod=0)
    assert plain.typical_s is not None
    assert plain.worst_s is not None
    assert (waits.earliest_s, waits.typical_s, waits.worst_s) == (
        plain.earliest_s,
        plain.typical_s + 60,
        plain.worst_s + 60,
    )


def test_a_composite_is_judged_by_its_children_through_every_level() -> None:
    alarms = {
        "errors": alarm(AlarmName="dev-errors", Threshold=100_000),
        "inner": CompositeAlarm.model_validate({"AlarmName": "dev-inner", "AlarmRule": "ALARM(dev-errors)"}),
        "outer": CompositeAlarm.model_validate({"AlarmName": "dev-outer", "AlarmRule": 'ALARM("dev-inner")'}),
    }
    found = forecast_all({"outer": 660}, alarms, AWS, {})["outer"]
    assert not found.feasible
    assert "needs 100000 bad requests" in found.detail


# ------------------------------------------------------------------------------------------------ laws

DEFINITIONS = st.builds(
    lambda threshold, period, periods, needed, statistic, operator, treat: alarm(
        Threshold=threshold,
        Period=period,
        EvaluationPeriods=periods,
        DatapointsToAlarm=min(needed, periods),
        Statistic=statistic,
        ComparisonOperator=operator,
        TreatMissingData=treat,
    ),
    st.floats(min_value=-1, max_value=20_000),
    st.sampled_from([60, 300, 3600]),
    st.integers(min_value=1, max_value=5),
    st.integers(min_value=1, max_value=5),
    st.sampled_from(["Sum", "SampleCount", "Average", "Maximum"]),
    st.sampled_from(["GreaterThanOrEqualToThreshold", "GreaterThanThreshold", "LessThanThreshold"]),
    st.sampled_from(["missing", "ignore", "breaching", "notBreaching"]),
)
TRAFFIC = st.builds(
    Traffic,
    arrivals_per_s=st.floats(min_value=0, max_value=500),
    scale=st.sampled_from([1.0, 10.0, 60.0]),
    canaries=st.integers(min_value=0, max_value=6),
    operations=st.integers(min_value=0, max_value=20),
)
WITHIN = st.floats(min_value=1, max_value=7200)


@settings(max_examples=200, deadline=None)
@given(DEFINITIONS, WITHIN, TRAFFIC, st.floats(min_value=0, max_value=500), st.integers(min_value=0, max_value=20))
def test_more_traffic_never_makes_an_alarm_infeasible(
    definition: MetricAlarm, within: float, traffic: Traffic, more: float, operations: int
) -> None:
    busier = Traffic(
        arrivals_per_s=traffic.arrivals_per_s + more,
        scale=traffic.scale,
        canaries=traffic.canaries,
        operations=traffic.operations + operations,
    )
    if forecast(definition, within, traffic).feasible:
        assert forecast(definition, within, busier).feasible


@settings(max_examples=200, deadline=None)
@given(DEFINITIONS, WITHIN, TRAFFIC, st.floats(min_value=0, max_value=7200))
def test_a_longer_within_never_makes_an_alarm_infeasible(
    definition: MetricAlarm, within: float, traffic: Traffic, more: float
) -> None:
    if forecast(definition, within, traffic).feasible:
        assert forecast(definition, within + more, traffic).feasible


@settings(max_examples=200, deadline=None)
@given(DEFINITIONS, WITHIN, TRAFFIC)
def test_the_three_times_are_in_order(definition: MetricAlarm, within: float, traffic: Traffic) -> None:
    found = forecast(definition, within, traffic)
    if found.earliest_s is not None and found.typical_s is not None and found.worst_s is not None:
        assert found.earliest_s <= within
        assert found.typical_s <= found.worst_s


# ------------------------------------------------------------------------------------------------ our own experiments


@pytest.mark.parametrize("scale", [1.0, 60.0])
@pytest.mark.parametrize("path", sorted(ROOT.glob("experiments/*/*.yaml")), ids=lambda path: path.stem)
def test_every_experiment_of_ours_can_ring(path: Path, scale: float) -> None:
    extension = load_experiment(path).experiment.extension
    system = load_system(ROOT, extension.system)
    assert extension.load is not None
    # Load alone is enough: neither canaries nor contract have to help.
    traffic = Traffic(arrivals_per_s=extension.load.arrivals_per_s, scale=scale)
    wanted = {entry.alarm: entry.within for entry in extension.expect.must_alarms}
    alarms = {name: one.cloudwatch for name, one in system.cloudwatch_alarms.items()}
    on_cloudwatch = {name: within for name, within in wanted.items() if name in alarms}
    found = forecast_all(on_cloudwatch, alarms, traffic, {})
    rules = rules_of(ROOT, system)
    for name in wanted.keys() - on_cloudwatch.keys():
        found[name] = forecast_rules(rules[name], wanted[name])
    assert found.keys() == wanted.keys()
    assert all(one.feasible for one in found.values()), found


def test_of_rules_of_one_name_the_earliest_counts() -> None:
    def full(for_: str) -> AlertRule:
        return AlertRule.model_validate({"alert": "Full", "expr": "free < 1", "for": for_})

    found = forecast_rules([full("3h"), full("2m")], 600)
    assert (found.feasible, found.earliest_s) == (True, 120)
    assert found.detail == "once its expression has held for 2m (the earliest of 2 rules of this name)"
    late = forecast_rules([full("3h")], 600)
    assert not late.feasible
    assert late.detail == "its expression must hold for 3h first, which is longer than 10m"
