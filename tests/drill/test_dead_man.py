"""The dead man's schedule: there before the harm, right as it is written, gone after the undo."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.drill.conftest import ROOT, Checkout, wait_for
from tests.drill.test_faults import ARGUMENTS, Bench

from tocsin.aws.target import Aws
from tocsin.errors import Refused, Unavailable
from tocsin.faults import deadman
from tocsin.faults.base import Fault
from tocsin.faults.lifecycle import FaultLifecycle, recover
from tocsin.faults.registry import FAULTS, fault_class
from tocsin.model.events import FaultStage

pytestmark = [pytest.mark.account, pytest.mark.takes(90), pytest.mark.xdist_group("doctor")]

ROLE = "arn:aws:iam::123456789012:role/chaos-dead-man"
HARM = {
    "ecs_bad_release": "release of the service",
    "ecs_scale": "desired count",
    "lambda_bad_release": "alias",
    "lambda_event_source_disabled": "mapping",
    "lambda_reserved_concurrency": "concurrency",
    "rds_proxy_throttle": "proxy",
    "rds_stop": "database",
}
"""Where in the account a fault hurts: what the schedule must put right."""


class ArmedBench(Bench):
    """A target with a dead man's role, and a time at which its faults end."""

    def __init__(self, checkout: Checkout, directory: Path) -> None:
        super().__init__(checkout, directory)
        self.target = replace(self.target, dead_man_role=ROLE)
        self.ends_at = time.time() + 3600
        self.lifecycle = FaultLifecycle(target=self.target, ledger=self.ledger, drill="d", expires_at=self.ends_at)

    def schedules(self) -> list[str]:
        found = self.client("scheduler").list_schedules(NamePrefix="tocsin-undo-")["Schedules"]
        return [schedule["Name"] for schedule in found]

    def inject(self, kind: str) -> str:
        """The ledger entry of a fault that was injected and seen."""
        assert self.lifecycle.inject(fault_class(kind).model_validate(ARGUMENTS[kind])) is FaultStage.EFFECTIVE
        return self.ledger.entries()[-1].id

    def fire(self, name: str) -> None:
        """Its time has come: EventBridge Scheduler makes the call that is written down, and deletes the schedule."""
        scheduler = self.client("scheduler")
        made = scheduler.get_schedule(Name=name)
        kept = ("ScheduleExpressionTimezone", "FlexibleTimeWindow", "ActionAfterCompletion", "Target")
        now = time.strftime("at(%Y-%m-%dT%H:%M:%S)", time.gmtime())
        scheduler.update_schedule(Name=name, ScheduleExpression=now, **{key: made[key] for key in kept})
        wait_for("the schedule to be over", lambda: name not in self.schedules())


@pytest.fixture(scope="module", autouse=True)
def _role(checkout: Checkout) -> Iterator[None]:
    """The dead man's role, which may do what docs/SAFETY.md says and nothing else."""
    iam, name = checkout.client("iam"), ROLE.rpartition("/")[2]
    trust = {"Effect": "Allow", "Principal": {"Service": "scheduler.amazonaws.com"}, "Action": "sts:AssumeRole"}
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({"Statement": [trust]}))
    statement = {"Effect": "Allow", "Action": documented_calls(), "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName=name, PolicyName="ends", PolicyDocument=document)
    yield
    iam.delete_role_policy(RoleName=name, PolicyName="ends")
    iam.delete_role(RoleName=name)


def documented_calls() -> list[str]:
    """What docs/SAFETY.md says that the role needs."""
    text = (ROOT / "docs" / "SAFETY.md").read_text(encoding="utf-8")
    sentence = text[text.index("The `dead_man_role` trusts") :].partition(".\n")[0]
    return re.findall(r"`((?:lambda|rds|ecs):\w+)`", sentence)


@pytest.fixture
def bench(checkout: Checkout, tmp_path: Path) -> ArmedBench:
    return ArmedBench(checkout, tmp_path)


def test_the_table_above_names_every_fault_that_a_schedule_can_end() -> None:
    assert set(HARM) == {kind for kind, fault in FAULTS.items() if fault.dead_man is not Fault.dead_man}


@pytest.mark.parametrize("kind", sorted(HARM))
def test_the_schedule_ends_the_harm_and_recover_finds_no_drift(bench: ArmedBench, kind: str) -> None:
    """As when the machine that ran the drill never comes back, and `recover` is called on another day."""
    before = bench.account()
    entry = bench.inject(kind)
    assert bench.account()[HARM[kind]] != before[HARM[kind]]
    bench.fire(f"tocsin-undo-{entry}")
    wait_for("the end of the harm", lambda: bench.seen(HARM[kind]) == before[HARM[kind]])
    assert [mended.id for mended in recover(bench.target, bench.ledger)] == [entry]
    assert bench.is_as(before)


def test_the_schedule_is_one_shot_at_the_expiry_and_gone_after_the_undo(bench: ArmedBench) -> None:
    entry = bench.inject("rds_proxy_throttle")
    assert bench.schedules() == [f"tocsin-undo-{entry}"]
    schedule = bench.client("scheduler").get_schedule(Name=f"tocsin-undo-{entry}")
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(bench.ends_at))
    assert (schedule["ScheduleExpression"], schedule["ScheduleExpressionTimezone"]) == (f"at({at})", "UTC")
    assert (schedule["FlexibleTimeWindow"], schedule["ActionAfterCompletion"]) == ({"Mode": "OFF"}, "DELETE")
    assert schedule["Target"]["Arn"] == "arn:aws:scheduler:::aws-sdk:rds:modifyDBProxyTargetGroup"
    assert schedule["Target"]["RoleArn"] == ROLE
    assert bench.ledger.entries()[-1].expires_at == pytest.approx(bench.ends_at)
    assert bench.lifecycle.undo_all() == []
    assert bench.schedules() == []


def test_without_the_schedule_nothing_is_injected(bench: ArmedBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is taken, so AWS refuses to make it."""
    monkeypatch.setattr(deadman, "schedule_name", lambda entry: "tocsin-undo-taken")
    fault = fault_class("rds_proxy_throttle").model_validate(ARGUMENTS["rds_proxy_throttle"])
    aws = Aws(bench.target, "taken", bench.ends_at)
    call = fault.dead_man(aws, fault.observe(aws, None))
    assert call is not None
    deadman.arm(aws, call, ROLE)
    before = bench.account()
    try:
        with pytest.raises(Refused, match="expected a schedule that ends the fault if this run dies") as refused:
            bench.lifecycle.inject(fault)
        assert bench.lifecycle.refusal is refused.value
        assert bench.account() == before
        assert bench.ledger.entries(only_open=True) == []
    finally:
        deadman.disarm(aws)


def test_a_schedule_of_which_nobody_knows_is_deleted_by_recover(
    bench: ArmedBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS made it, and its answer was lost: as when the process dies before the injection."""
    arm = deadman.arm

    def lost(*arguments: Any) -> None:
        arm(*arguments)
        raise Unavailable("the answer was lost")

    before = bench.account()
    with monkeypatch.context() as patched:
        patched.setattr(deadman, "arm", lost)
        with pytest.raises(Refused):
            bench.lifecycle.inject(fault_class("rds_proxy_throttle").model_validate(ARGUMENTS["rds_proxy_throttle"]))
    assert len(bench.schedules()) == 1
    assert len(recover(bench.target, bench.ledger)) == 1
    assert bench.schedules() == []
    assert bench.is_as(before)


def test_what_somebody_else_took_in_hand_is_not_overwritten_by_the_schedule(bench: ArmedBench) -> None:
    rds = bench.client("rds")
    place = {"DBProxyName": "itcenter-dev-proxy", "TargetGroupName": "default"}
    before = bench.account()["proxy"]
    bench.inject("rds_proxy_throttle")
    rds.modify_db_proxy_target_group(**place, ConnectionPoolConfig={"MaxConnectionsPercent": 42})
    assert len(bench.lifecycle.undo_all()) == 1
    assert bench.schedules() == []
    rds.modify_db_proxy_target_group(
        **place, ConnectionPoolConfig={k: v for k, v in before.items() if isinstance(v, int)}
    )
    assert len(recover(bench.target, bench.ledger)) == 1


@pytest.mark.parametrize("kind", ["lambda_environment_credential", "s3_bucket_deny"])
def test_no_schedule_where_it_would_hold_a_secret_or_is_not_needed(bench: ArmedBench, kind: str) -> None:
    bench.inject(kind)
    try:
        assert bench.schedules() == []
        assert (bench.ledger.entries()[-1].expires_at is not None) == fault_class(kind).expires
    finally:
        assert bench.lifecycle.undo_all() == []
