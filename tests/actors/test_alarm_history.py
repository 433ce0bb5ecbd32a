"""A transition is looked up until the history explains the state that a poll saw. The rest is shown on the sandbox."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.stubbed import Request, Stubbed, refused

from tocsin.actors.alarm_watcher import AlarmWatcher
from tocsin.actors.context import RunContext
from tocsin.aws.target import Target
from tocsin.errors import TargetError, Unavailable
from tocsin.model.events import AlarmChanged, AlarmsPolled, Event
from tocsin.model.experiment import Expect, Experiment, Extension, RecoveryTarget
from tocsin.model.system import AlarmState, Endpoint, System
from tocsin.record.history import History

DEFINITION = {
    "Namespace": "Shop",
    "MetricName": "orders",
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 5.0,
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
}
BEGAN = time.time() + 86400.0
"""After any watcher is made, so that no transition is of before the drill."""


class CloudWatch:
    """Two alarms, as DescribeAlarms and DescribeAlarmHistory tell of them: each from what the test says it knows."""

    def __init__(self, api: Stubbed) -> None:
        self.api = api
        self._states: dict[str, tuple[AlarmState, float]] = {"orders": ("OK", 0.0), "queue": ("OK", 0.0)}
        self._items: list[dict[str, Any]] = []
        api.answers("cloudwatch", "DescribeAlarms", self._alarms)
        self.history_answers()

    def goes(self, name: str, state: AlarmState, at: float) -> None:
        """DescribeAlarms tells it; the history does not yet."""
        self._states[name] = (state, at)

    def writes(self, name: str, before: AlarmState, after: AlarmState, at: float) -> None:
        """The history tells it."""
        data = json.dumps({"oldState": {"stateValue": before}, "newState": {"stateValue": after}})
        self._items.append({"AlarmName": name, "Timestamp": _time(at), "HistoryData": data})

    def history_answers(self) -> None:
        self.api.answers("cloudwatch", "DescribeAlarmHistory", self._history)

    def history_fails(self) -> None:
        self.api.answers("cloudwatch", "DescribeAlarmHistory", refused("InternalServiceError", status=500))

    def _alarms(self, asked: Request) -> Mapping[str, Any]:
        return {"MetricAlarms": [self._alarm(name) for name in asked["AlarmNames"]]}

    def _alarm(self, name: str) -> dict[str, Any]:
        state, at = self._states[name]
        when = {"StateUpdatedTimestamp": _time(at), "StateTransitionedTimestamp": _time(at)}
        return {**DEFINITION, **when, "AlarmName": name, "StateValue": state, "ActionsEnabled": True}

    def _history(self, asked: Request) -> Mapping[str, Any]:
        return {"AlarmHistoryItems": [one for one in self._items if one["AlarmName"] == asked["AlarmName"]]}


def _time(after_s: float) -> datetime:
    return datetime.fromtimestamp(BEGAN + after_s, UTC)


class Watched:
    def __init__(self, ctx: RunContext) -> None:
        self.cloudwatch = CloudWatch(Stubbed(ctx.target))
        self.events: list[Event] = []
        ctx.history.listen(self.events.append, "test")
        self.watcher = AlarmWatcher(ctx)
        self.watcher.look()

    @property
    def told(self) -> list[tuple[str, str, float]]:
        changes = [event for event in self.events if isinstance(event, AlarmChanged)]
        return [(change.alarm, change.after, round(change.at - BEGAN, 3)) for change in changes]

    @property
    def seen(self) -> dict[str, AlarmState]:
        """The state of each alarm as the polls said it last."""
        return {name: state for e in self.events if isinstance(e, AlarmsPolled) for name, state in e.states.items()}


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    alarms = {name: {"title": name, "cloudwatch": {**DEFINITION, "AlarmName": name}} for name in ("orders", "queue")}
    system = System.model_validate({"system": "shop", "title": "Shop", "endpoint": Endpoint(url="x"), "alarms": alarms})
    expect = Expect(gap="nothing rings", recovery=RecoveryTarget(within=60))
    extension = Extension(system="shop", expect=expect)
    ctx = RunContext(
        drill="d",
        root=tmp_path,
        directory=tmp_path,
        experiment=Experiment(slug="s", path="s", title="s", method=(), rollbacks=(), extension=extension),
        system=system,
        target=Target("none", "eu-west-1", account="123456789012", access_key_id="x", secret_access_key="x"),
        history=History(tmp_path / "history.jsonl"),
        base_url="http://127.0.0.1:9",
        seed=1,
    )
    yield Watched(ctx)
    ctx.history.close()


def test_a_transition_that_the_history_tells_later_than_the_poll_is_told(watched: Watched) -> None:
    watched.cloudwatch.goes("orders", "ALARM", at=60.125)
    watched.watcher.poll()
    assert watched.told == []
    assert watched.seen["orders"] == "ALARM"
    watched.cloudwatch.writes("orders", "OK", "ALARM", at=60.125)
    watched.watcher.poll()
    assert watched.told == [("orders", "ALARM", 60.125)]


def test_one_that_is_explained_is_not_looked_up_again(watched: Watched) -> None:
    watched.cloudwatch.goes("orders", "ALARM", at=60.125)
    watched.cloudwatch.writes("orders", "OK", "ALARM", at=60.125)
    for _ in range(3):
        watched.watcher.poll()
    assert len(watched.cloudwatch.api.calls("DescribeAlarmHistory")) == 1


def test_a_ring_is_no_explanation_of_a_later_one(watched: Watched) -> None:
    watched.cloudwatch.goes("orders", "ALARM", at=60.125)
    watched.cloudwatch.writes("orders", "OK", "ALARM", at=60.125)
    watched.watcher.poll()
    watched.cloudwatch.goes("orders", "ALARM", at=180.5)  # and between the polls it was OK
    watched.watcher.poll()
    watched.cloudwatch.writes("orders", "ALARM", "OK", at=120.25)
    watched.cloudwatch.writes("orders", "OK", "ALARM", at=180.5)
    watched.watcher.poll()
    assert [told[1:] for told in watched.told] == [("ALARM", 60.125), ("OK", 120.25), ("ALARM", 180.5)]


def test_a_history_that_fails_once_is_asked_again_and_hides_no_other_alarm(watched: Watched) -> None:
    watched.cloudwatch.history_fails()
    watched.cloudwatch.goes("orders", "ALARM", at=60.125)
    watched.cloudwatch.writes("orders", "OK", "ALARM", at=60.125)
    with pytest.raises(Unavailable, match="reading the history of orders"):
        watched.watcher.poll()
    assert watched.seen == {"orders": "ALARM", "queue": "OK"}
    watched.cloudwatch.history_answers()
    watched.watcher.poll()
    assert watched.told == [("orders", "ALARM", 60.125)]


def test_one_history_that_cannot_be_read_leaves_the_others_told(watched: Watched) -> None:
    watched.cloudwatch.goes("orders", "ALARM", at=60.125)
    watched.cloudwatch.goes("queue", "ALARM", at=61.125)
    watched.cloudwatch.writes("queue", "OK", "ALARM", at=61.125)
    answer = watched.cloudwatch._history

    def of_queue_only(asked: Request) -> Mapping[str, Any]:
        return answer(asked) if asked["AlarmName"] == "queue" else refused("ThrottlingException")(asked)

    watched.cloudwatch.api.answers("cloudwatch", "DescribeAlarmHistory", of_queue_only)
    with pytest.raises(TargetError, match="ThrottlingException"):
        watched.watcher.poll()
    assert watched.told == [("queue", "ALARM", 61.125)]


def test_transitions_of_one_second_are_each_told_once(watched: Watched) -> None:
    whole = whole_second()
    for before, after in (("OK", "ALARM"), ("ALARM", "OK"), ("OK", "ALARM"), ("ALARM", "OK")):
        watched.cloudwatch.writes("orders", before, after, at=whole)  # type: ignore[arg-type]
    watched.cloudwatch.goes("orders", "OK", at=whole + 0.75)
    for _ in range(2):
        watched.watcher.poll()
    assert [after for _, after, _ in watched.told] == ["ALARM", "OK", "ALARM", "OK"]


def whole_second() -> float:
    """Seconds after the beginning at which a whole second begins."""
    return 60.0 + (1.0 - BEGAN % 1.0)
