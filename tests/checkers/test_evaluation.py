"""What nobody evaluated is unknown, whatever its state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.alarms.kinds import LOGS, ONLY_CLOUDWATCH, PROMQL
from tests.checkers.histories import SYSTEM, Scene, add, drop, gap, in_state, metric_alarm, passing, told_by_news, tweak
from tests.checkers.spoiled import MINUTE, SCENE, History, P, Row, U, check_planted, found, planted, silent

from tocsin.checkers import judge
from tocsin.model.alarm_fields import MetricDataQuery
from tocsin.model.events import AlarmChanged, AlarmNotEvaluated, AlarmSeen, AlarmsPolled, Event
from tocsin.model.system import (
    CloudWatchAlarm,
    CompositeAlarm,
    PrometheusAlarm,
    PrometheusAlert,
    PrometheusServer,
    System,
)
from tocsin.model.verdict import Outcome, Reason

ERROR = "EVALUATION_ERROR: the metric is in an account that is not linked"
FAILED = "found duplicate series for the match group {}"


def unevaluated(history: History, alarm: str, at: float, why: str = ERROR) -> History:
    """CloudWatch says of one poll that the alarm was not evaluated."""
    polls = [event for event in history if isinstance(event, AlarmsPolled) and event.at >= at]
    return tweak(history, lambda event: event is polls[0], not_evaluated={alarm: why})


def defined(alarm: str, **fields: object) -> System:
    """The system with one alarm defined otherwise."""
    one = metric_alarm(alarm)
    changed = one.model_copy(update={"cloudwatch": one.cloudwatch.model_copy(update=fields)})
    return SYSTEM.model_copy(update={"alarms": {**SYSTEM.alarms, alarm: changed}})


def without_data(alarm: str, **fields: object) -> Callable[[], History]:
    scene = replace(SCENE, system=defined(alarm, **fields))
    rings = {name: times for name, times in scene.rings.items() if name != alarm}
    return lambda: in_state(replace(scene, rings=rings).history(), alarm, "INSUFFICIENT_DATA")


def math_of(expression: str) -> dict[str, Any]:
    """What an alarm has in place of one metric."""
    stat = {"Metric": {"Namespace": "Post", "MetricName": "labels"}, "Period": 60, "Stat": "Sum"}
    queries = ({"Id": "e", "Expression": expression}, {"Id": "m", "MetricStat": stat, "ReturnData": False})
    one_metric = dict.fromkeys(("namespace", "metric_name", "statistic", "period"))
    return {**one_metric, "dimensions": (), "metrics": tuple(MetricDataQuery.model_validate(one) for one in queries)}


def composed() -> History:
    """The quiet alarm is composed of one that is composed of one that was not evaluated."""
    rule = {"label-dlq": "ALARM(middle)", "middle": "ALARM(label-dlq) OR ALARM(api-5xx-legacy)"}
    composites = {
        name: CloudWatchAlarm(title=name, cloudwatch=CompositeAlarm(alarm_name=name, alarm_rule=one))
        for name, one in rule.items()
    }
    scene = replace(SCENE, system=SYSTEM.model_copy(update={"alarms": {**SYSTEM.alarms, **composites}}))
    return unevaluated(scene.history(), "api-5xx-legacy", SCENE.accepted + MINUTE)


def never(history: History, alarm: str) -> History:
    """The target does not have the alarm, because nobody there could evaluate it: nothing else is told of it."""
    told = AlarmNotEvaluated(at=history[0].at + 0.2, alarm=alarm, detail="it asks for what only CloudWatch knows")

    def unseen(event: Event) -> Event:
        if isinstance(event, AlarmsPolled):
            return event.model_copy(update={"states": {n: s for n, s in event.states.items() if n != alarm}})
        return event

    kept = drop(history, lambda event: isinstance(event, AlarmSeen | AlarmChanged) and event.alarm == alarm)
    return add([unseen(event) for event in kept], told)


def at_fault(alarm: str) -> Callable[[], History]:
    return lambda: unevaluated(passing(), alarm, SCENE.accepted + MINUTE)


def on_prometheus() -> History:
    """The quiet alarm is a rule of Prometheus that failed once."""
    alarm = PrometheusAlarm(title="Dead letters", prometheus=PrometheusAlert(alert="DeadLetters"))
    server = PrometheusServer(url="http://127.0.0.1:9", rules="rules.yaml")
    system = SYSTEM.model_copy(update={"alarms": {**SYSTEM.alarms, "label-dlq": alarm}, "prometheus": server})
    return unevaluated(replace(SCENE, system=system).history(), "label-dlq", SCENE.accepted + MINUTE, FAILED)


ROWS: list[Row] = [
    ("quiet, and its rule failed once", on_prometheus, "quiet:label-dlq", U, Reason.NOT_EVALUATED),
    ("quiet, and not evaluated once", at_fault("label-dlq"), "quiet:label-dlq", U, Reason.NOT_EVALUATED),
    ("blind, and not evaluated once", at_fault("api-5xx-legacy"), "blind:api-5xx-legacy", U, Reason.NOT_EVALUATED),
    (
        "no alarm rings, and one was not evaluated",
        lambda: unevaluated(gap(), "api-latency", SCENE.accepted + MINUTE),
        "gap",
        U,
        Reason.NOT_EVALUATED,
    ),
    (
        "silent because it was not evaluated",
        lambda: unevaluated(silent("api-5xx"), "api-5xx", SCENE.accepted + MINUTE),
        "must:api-5xx",
        U,
        Reason.NOT_EVALUATED,
    ),
    ("composed of one that was not evaluated", composed, "quiet:label-dlq", U, Reason.NOT_EVALUATED),
    ("quiet, and never evaluated", lambda: never(passing(), "label-dlq"), "quiet:label-dlq", U, Reason.NOT_EVALUATED),
    (
        "must ring, and was never evaluated",
        lambda: never(silent("api-5xx"), "api-5xx"),
        "must:api-5xx",
        U,
        Reason.NOT_EVALUATED,
    ),
    ("no alarm rings, and one never could", lambda: never(gap(), "api-latency"), "gap", U, Reason.NOT_EVALUATED),
    (
        "without data, where missing data is not breaching",
        without_data("label-dlq", treat_missing_data="notBreaching"),
        "quiet:label-dlq",
        U,
        Reason.NOT_EVALUATED,
    ),
    (
        "without data, where missing data is breaching",
        without_data("api-5xx-legacy", treat_missing_data="breaching"),
        "blind:api-5xx-legacy",
        U,
        Reason.NOT_EVALUATED,
    ),
    (
        "without data, where metric math fills it in",
        without_data("label-dlq", treat_missing_data="missing", **math_of("FILL(m, 0)")),
        "quiet:label-dlq",
        U,
        Reason.NOT_EVALUATED,
    ),
    (
        "without data, where metric math repeats what there was",
        without_data("label-dlq", treat_missing_data="missing", **math_of("FILL(m, REPEAT)")),
        "quiet:label-dlq",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "without data, where missing data is nothing said",
        without_data("label-dlq", treat_missing_data="missing"),
        "quiet:label-dlq",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "must ring, and was left without data",
        without_data("api-5xx", treat_missing_data="breaching"),
        "must:api-5xx",
        U,
        Reason.NOT_EVALUATED,
    ),
]


@planted(ROWS)
def test_a_planted_bug_is_judged(row: Row) -> None:
    check_planted(row)


@planted(ROWS)
def test_news_tell_the_same(row: Row) -> None:
    assert judge(told_by_news(row[1]())) == judge(row[1]())


def test_the_reason_is_told() -> None:
    judgement = found(judge(at_fault("label-dlq")()), "quiet:label-dlq")
    assert judgement.message == f"CloudWatch did not evaluate it ({ERROR})"
    judgement = found(judge(on_prometheus()), "quiet:label-dlq")
    assert judgement.message == f"Prometheus did not evaluate it ({FAILED})"


def test_what_rang_was_evaluated() -> None:
    assert found(judge(at_fault("api-5xx")()), "must:api-5xx").outcome is Outcome.PASS


def test_before_the_fault_it_does_not_matter() -> None:
    history = unevaluated(passing(), "label-dlq", SCENE.accepted - 2 * MINUTE)
    assert found(judge(history), "quiet:label-dlq").outcome is Outcome.PASS


@pytest.mark.parametrize(
    "fields",
    [
        {"treat_missing_data": "missing"},
        {"treat_missing_data": "ignore"},
        {"treat_missing_data": "notBreaching", "evaluate_low_sample_count_percentile": "ignore"},
        {"treat_missing_data": "breaching", "namespace": "AWS/DynamoDB"},
    ],
    ids=str,
)
def test_where_no_data_is_nothing_said_the_silence_is_told_and_is_no_health(fields: dict[str, object]) -> None:
    verdict = judge(without_data("label-dlq", **fields)())
    judgement = found(verdict, "quiet:label-dlq")
    assert judgement.outcome is Outcome.PASS
    assert "INSUFFICIENT_DATA all the while" in judgement.message
    assert any(what.startswith("label-dlq: it was in INSUFFICIENT_DATA all") for what in verdict.not_observed)


def test_data_that_came_at_last_is_data() -> None:
    polls = [event for event in passing() if isinstance(event, AlarmsPolled)]
    history = in_state(passing(), "label-dlq", "INSUFFICIENT_DATA")
    last = next(event for event in history if event.at == polls[-1].at)
    history = tweak(history, lambda event: event is last, states=polls[-1].states)
    verdict = judge(history)
    assert not any(what.startswith("label-dlq:") for what in verdict.not_observed)


def test_a_gap_tells_of_the_alarms_that_had_nothing_to_look_at() -> None:
    verdict = judge(in_state(gap(), "api-latency", "INSUFFICIENT_DATA"))
    assert found(verdict, "gap").outcome is Outcome.PASS
    assert any(what.startswith("api-latency: it was in INSUFFICIENT_DATA") for what in verdict.not_observed)


def test_of_an_alarm_that_nobody_judged_it_is_told_too() -> None:
    system = SYSTEM.model_copy(update={"alarms": {**SYSTEM.alarms, "other": metric_alarm("other")}})
    scene = replace(Scene(), system=system)
    quiet = judge(in_state(scene.history(), "other", "INSUFFICIENT_DATA"))
    assert "other: watched and not judged; it was in INSUFFICIENT_DATA all the while." in quiet.not_observed
    error = judge(unevaluated(scene.history(), "other", SCENE.accepted + MINUTE))
    assert any(what.startswith("other: not judged, and not evaluated") for what in error.not_observed)


def test_what_was_never_evaluated_and_nobody_judged_is_told() -> None:
    system = SYSTEM.model_copy(update={"alarms": {**SYSTEM.alarms, "other": metric_alarm("other")}})
    verdict = judge(never(replace(Scene(), system=system).history(), "other"))
    assert verdict.outcome is Outcome.PASS
    assert any(what.startswith("other: nobody evaluates it in this target") for what in verdict.not_observed)


def other_kind(alarm: str, definition: Mapping[str, Any]) -> Scene:
    """The documented alarm is one that only CloudWatch evaluates."""
    kind = CloudWatchAlarm.model_validate({"title": alarm, "cloudwatch": {**definition, "AlarmName": alarm}})
    return replace(SCENE, system=SYSTEM.model_copy(update={"alarms": {**SYSTEM.alarms, alarm: kind}}))


@pytest.mark.parametrize(("definition", "_"), ONLY_CLOUDWATCH, ids=lambda one: one if isinstance(one, str) else "")
def test_on_an_account_each_kind_is_judged_from_its_history(definition: Mapping[str, Any], _: str) -> None:
    rang = other_kind("api-5xx", definition)
    verdict = judge(tweak(rang.history(), lambda event: isinstance(event, AlarmChanged), evidence=None))
    assert verdict.outcome is Outcome.PASS, [judgement.message for judgement in verdict.judgements]
    silent_one = replace(rang, rings={name: times for name, times in rang.rings.items() if name != "api-5xx"})
    assert found(judge(silent_one.history()), "must:api-5xx").reason is Reason.DID_NOT_RING
    assert found(judge(never(silent_one.history(), "api-5xx")), "must:api-5xx").reason is Reason.NOT_EVALUATED


def test_what_treats_missing_data_does_not_stay_without() -> None:
    breaching = {**LOGS, "TreatMissingData": "breaching"}
    unsaid, lacking = Reason.NOT_EVALUATED, Reason.AS_EXPECTED
    for definition, expected in ((PROMQL, unsaid), (breaching, unsaid), (LOGS, lacking)):
        quiet = in_state(other_kind("label-dlq", definition).history(), "label-dlq", "INSUFFICIENT_DATA")
        assert found(judge(quiet), "quiet:label-dlq").reason is expected


def test_a_quiet_alarm_that_loses_its_data_is_told() -> None:
    at = SCENE.accepted + MINUTE
    gone = AlarmChanged(
        at=at, alarm="label-dlq", before="OK", after="INSUFFICIENT_DATA", evidence="silence", reason="no datapoints"
    )
    history = [
        event.model_copy(update={"states": {**event.states, "label-dlq": "INSUFFICIENT_DATA"}})
        if isinstance(event, AlarmsPolled) and event.at > at
        else event
        for event in add(passing(), gone)
    ]
    told = "label-dlq: it was in INSUFFICIENT_DATA at the end, so its silence then is no health."
    assert told in judge(history).not_observed
    assert told not in judge(passing()).not_observed
