"""While a drill runs: what ends it, and what does not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.guards.conftest import Aws

from tocsin.actors.context import RunContext
from tocsin.actors.guard_watcher import GuardWatcher, LocalWatcher, Pace
from tocsin.drill.plan import Plan, Planner
from tocsin.errors import Refused
from tocsin.guards.kill_switch import PARAMETER, set_file
from tocsin.guards.limits import HeldFaults, StopConditions, check_planned_duration
from tocsin.model.events import ActorDied, FaultChanged, FaultStage
from tocsin.project.histories import read_history
from tocsin.record.history import History

ROOT = Path(__file__).parents[2]
WORSE = "shop-orders-low"
NOON = 1_785_758_400.0


@cache
def planned() -> Plan:
    """Made when a test asks: every worker imports this file."""
    return Planner(ROOT).plan(ROOT / "experiments" / "leave-attendance" / "clock-in-throttled.yaml")


def alarms(aws: Aws, **states: str) -> None:
    def describe(request: dict[str, Any]) -> Any:
        named = [(name.replace("_", "-"), state) for name, state in states.items()]
        found = [{"AlarmName": name, "StateValue": state} for name, state in named if name in request["AlarmNames"]]
        return {"MetricAlarms": found, "CompositeAlarms": []}

    aws.answers["DescribeAlarms"] = describe


def fault(stage: FaultStage, at: float, entry: str = "e") -> FaultChanged:
    return FaultChanged(at=at, entry=entry, fault="lambda_reserved_concurrency", stage=stage)


# --- stop conditions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "message"),
    [
        ({"shop_orders_low": "OK"}, None),
        ({"shop_orders_low": "ALARM"}, f"found {WORSE} ALARM"),
        ({"shop_orders_low": "INSUFFICIENT_DATA"}, f"found {WORSE} INSUFFICIENT_DATA"),
        ({}, f"found {WORSE} not there"),
    ],
)
def test_a_stop_condition_must_be_there_and_ok(aws: Aws, states: dict[str, str], message: str | None) -> None:
    alarms(aws, **states)
    conditions = StopConditions.of(
        aws.target(stop_conditions=[WORSE]), planned().system, planned().loaded.experiment.extension
    )
    if message is None:
        assert conditions.check() == f"{WORSE} OK"
        return
    with pytest.raises(Refused, match=message) as no:
        conditions.check()
    assert no.value.guard == "stop-conditions"


@pytest.mark.parametrize("name", ["itcenter-dev-api-5xx", "itcenter-dev-api-5xx-runbook"])
def test_the_alarm_under_test_is_no_stop_condition(aws: Aws, name: str) -> None:
    alarms(aws)
    with pytest.raises(Refused, match="other than what the drill is about") as no:
        StopConditions.of(
            aws.target(stop_conditions=[name]), planned().system, planned().loaded.experiment.extension
        ).check()
    assert no.value.guard == "stop-conditions"


def test_those_of_the_experiment_count_beside_those_of_the_target(aws: Aws) -> None:
    alarms(aws, shop_orders_low="OK", itcenter_dev_api_latency="ALARM")
    own = planned().loaded.experiment.extension.model_copy(update={"stop_conditions": ("api-latency",)})
    with pytest.raises(Refused, match="itcenter-dev-api-latency ALARM"):
        StopConditions.of(aws.target(stop_conditions=[WORSE]), planned().system, own).check()


# --- the longest duration -----------------------------------------------------------------------------------


def test_an_experiment_whose_deadlines_are_too_long_is_refused_before_anything(aws: Aws) -> None:
    assert (
        planned().loaded.experiment.extension.longest_hold_s == 13 * 60
    )  # api-5xx within 11m, and two minutes for its notification
    assert check_planned_duration(aws.target(max_duration="13m"), planned().loaded.experiment.extension.longest_hold_s)
    with pytest.raises(Refused, match="may hold it for 13m") as no:
        check_planned_duration(aws.target(max_duration="12m"), planned().loaded.experiment.extension.longest_hold_s)
    assert no.value.guard == "max-duration"


def test_a_fault_is_in_place_from_the_request_until_its_undo_is_verified(aws: Aws) -> None:
    now = NOON
    held = HeldFaults(aws.target(max_duration="10m"), lambda: now)
    held.see(fault(FaultStage.REQUESTED, NOON))
    held.see(fault(FaultStage.ACCEPTED, NOON + 300))
    held.see(fault(FaultStage.REQUESTED, NOON + 300, entry="second"))
    now = NOON + 600
    held.check()
    now = NOON + 601
    with pytest.raises(Refused, match="longer than 10m"):
        held.check()
    held.see(fault(FaultStage.UNDO_FAILED, NOON + 602))
    with pytest.raises(Refused):
        held.check()
    held.see(fault(FaultStage.VERIFIED, NOON + 603))
    assert held.in_place
    held.check()  # the second began later
    held.see(fault(FaultStage.VERIFIED, NOON + 604, entry="second"))
    assert not held.in_place


# --- the watcher --------------------------------------------------------------------------------------------

QUICK = Pace(switch_production_s=1.2, poll_production_s=1.2, poll_wall_s=0.02)


@contextmanager
def started(aws: Aws, root: Path, pace: Pace = QUICK, **rules: Any) -> Iterator[RunContext]:
    history = History(root / "history.jsonl")
    ctx = RunContext(
        drill="d",
        root=root,
        directory=root,
        experiment=planned().loaded.experiment,
        system=planned().system,
        target=replace(aws.target(**rules), scale=60.0),
        history=history,
        base_url="",
        seed=0,
    )
    watchers = (LocalWatcher(ctx), GuardWatcher(ctx, pace))
    for watcher in watchers:
        watcher.start()
    try:
        yield ctx
    finally:
        for watcher in watchers:
            watcher.stop()
        history.close()


def reason(ctx: RunContext) -> Refused:
    with pytest.raises(Refused) as caught:
        ctx.stop.wait(60)
    return caught.value


def test_nothing_wrong_ends_nothing(aws: Aws, tmp_path: Path) -> None:
    alarms(aws, shop_orders_low="OK")
    with started(aws, tmp_path, stop_conditions=[WORSE], max_duration="1h") as ctx:
        ctx.history.record(fault(FaultStage.REQUESTED, ctx.now()))
        while aws.asked.count("DescribeAlarms") < 3:
            ctx.stop.wait(0.01)
        assert not ctx.stop.is_set()


def test_the_kill_switch_ends_the_drill(aws: Aws, tmp_path: Path) -> None:
    with started(aws, tmp_path) as ctx:
        aws.parameters[PARAMETER] = ["customers first"]
        no = reason(ctx)
    assert (no.guard, "customers first" in str(no)) == ("kill-switch", True)


def test_the_kill_switch_of_this_machine_ends_the_drill(aws: Aws, tmp_path: Path) -> None:
    with started(aws, tmp_path) as ctx:
        set_file(tmp_path, "staging", "enough")
        assert reason(ctx).guard == "kill-switch"


def test_an_account_that_does_not_answer_delays_nobody_on_this_machine(aws: Aws, tmp_path: Path) -> None:
    asked, answer = threading.Event(), threading.Event()

    def hang(_: Any) -> Any:
        asked.set()
        answer.wait(60)
        return aws.get({"Name": PARAMETER})

    aws.answers["GetParameter"] = hang
    with started(aws, tmp_path) as ctx:
        try:
            assert asked.wait(60)
            set_file(tmp_path, "staging", "enough")
            assert "on this machine: 'enough" in str(reason(ctx))
            assert ctx.stop.asked_at is not None
        finally:
            answer.set()


def test_a_stop_condition_that_rings_ends_the_drill(aws: Aws, tmp_path: Path) -> None:
    alarms(aws, shop_orders_low="OK")
    with started(aws, tmp_path, stop_conditions=[WORSE]) as ctx:
        alarms(aws, shop_orders_low="ALARM")
        assert reason(ctx).guard == "stop-conditions"


def test_a_fault_in_place_for_too_long_ends_the_drill(aws: Aws, tmp_path: Path) -> None:
    with started(aws, tmp_path, max_duration="20m") as ctx:
        ctx.history.record(fault(FaultStage.REQUESTED, ctx.now() - 21))  # at sixty times the speed
        assert reason(ctx).guard == "max-duration"


def test_a_freeze_ends_the_drill_only_while_a_fault_is_in_place(aws: Aws, tmp_path: Path) -> None:
    frozen = {"from": date(2020, 1, 1), "to": date(2999, 1, 1)}
    with started(aws, tmp_path, timezone="UTC", freeze=[frozen]) as ctx:
        while aws.asked.count(f"GetParameter {PARAMETER}") < 2:
            ctx.stop.wait(0.01)
        ctx.history.record(fault(FaultStage.REQUESTED, ctx.now()))
        assert reason(ctx).guard == "freeze"


def test_an_error_now_and_then_is_forgiven(aws: Aws, tmp_path: Path) -> None:
    with started(aws, tmp_path, replace(QUICK, patience_wall_s=600.0)) as ctx:
        answer = aws.answers.pop("GetParameter")
        seen = len(aws.asked)
        while len(aws.asked) < seen + 2:
            ctx.stop.wait(0.005)
        aws.answers["GetParameter"] = answer
        while len(aws.asked) < seen + 6:
            ctx.stop.wait(0.005)
        assert not ctx.stop.is_set()


def test_a_guard_without_an_answer_for_too_long_ends_the_drill(aws: Aws, tmp_path: Path) -> None:
    with started(aws, tmp_path, replace(QUICK, patience_wall_s=0.1, patience_production_s=0.0)) as ctx:
        del aws.answers["GetParameter"]
        no = reason(ctx)
    assert (no.guard, "AccessDenied" in str(no)) == ("kill-switch", True)


def test_a_watcher_that_dies_ends_the_drill(aws: Aws, tmp_path: Path) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("a bug of somebody's")

    alarms(aws, shop_orders_low="OK")
    with started(aws, tmp_path, stop_conditions=[WORSE]) as ctx:
        ctx.target.client("cloudwatch").meta.events.register("before-call", fail)
        assert reason(ctx).guard == "guards"
    assert [event.actor for event in read_history(tmp_path / "history.jsonl") if isinstance(event, ActorDied)] == [
        "guards"
    ]
