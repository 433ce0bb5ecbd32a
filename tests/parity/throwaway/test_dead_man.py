"""The dead man's role of a target is tried: one that ends the harm, one that does not, one that cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from tests.parity.throwaway.pretended import ACCOUNT, Pretended
from tests.stubbed import Error, Request, refused

from tocsin.aws.iam import Arns
from tocsin.parity.context import Clock, ParityContext
from tocsin.parity.model import Key, Measured
from tocsin.parity.throwaway.dead_man import ENDS
from tocsin.parity.throwaway.running import MEASUREMENTS, WITH_A_ROLE, grants, measure, measurements_of
from tocsin.record.ledger import Ledger

ROLE = f"arn:aws:iam::{ACCOUNT}:role/dead-man"
NO_TRUST = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."
"""https://docs.aws.amazon.com/scheduler/latest/UserGuide/setting-up.html"""


@dataclass
class Account(Pretended):
    """One with a scheduler, on a clock that only moves when somebody waits."""

    works: bool = True
    now: float = 1_800_000_000.0
    reserved: int | None = None
    schedules: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """The scheduler and the concurrency of functions."""
        super().__init__()
        self.target = replace(self.target, dead_man_role=ROLE, scale=600.0)
        self.stub.attach(self.target)
        for (service, operation), answer in {
            ("lambda", "PutFunctionConcurrency"): self._reserve,
            ("lambda", "GetFunctionConcurrency"): self._reserved,
            ("scheduler", "CreateSchedule"): self._schedule,
            ("scheduler", "GetSchedule"): self._described,
            ("scheduler", "DeleteSchedule"): self._forget,
        }.items():
            self.stub.answers(service, operation, answer)

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.now, self._wait)

    def _wait(self, wall_s: float) -> None:
        self.now += wall_s

    def _reserve(self, asked: Request) -> Mapping[str, Any]:
        self.reserved = asked["ReservedConcurrentExecutions"]
        return {}

    def _reserved(self, asked: Request) -> Mapping[str, Any]:
        fired = self.schedules and self.works and self.now >= 1_800_000_000.0 + 0.3
        if fired:
            self.reserved = None
        return {} if self.reserved is None else {"ReservedConcurrentExecutions": self.reserved}

    def _schedule(self, asked: Request) -> Mapping[str, Any]:
        self.schedules[asked["Name"]] = asked
        return {"ScheduleArn": f"arn:aws:scheduler:eu-west-1:{ACCOUNT}:schedule/default/{asked['Name']}"}

    def _forget(self, asked: Request) -> Mapping[str, Any]:
        if self.schedules.pop(asked["Name"], None) is None:
            raise Error("ResourceNotFoundException")
        return {}

    def _described(self, asked: Request) -> Mapping[str, Any]:
        if asked["Name"] not in self.schedules:
            raise Error("ResourceNotFoundException")
        return {"Description": self.schedules[asked["Name"]]["Description"]}


def tried(account: Account, root: Path) -> Measured:
    """The row; and nothing is left."""
    ledger, before = Ledger(root / "ledger.sqlite", "none"), account.all
    try:
        thrown = measure(
            ParityContext(account.target, ledger, account.clock), lambda change, aws: None, measurements=(WITH_A_ROLE,)
        )
        assert (thrown.left, ledger.entries(only_open=True)) == ((), [])
    finally:
        ledger.close()
    assert (account.schedules, account.all) == ({}, before)
    (found,) = thrown.rows
    assert (found.key, found.about) == (Key.SCHEDULE, ENDS)
    return found


def test_it_is_tried_where_a_target_names_one() -> None:
    account = Account()
    assert measurements_of(account.target) == (*MEASUREMENTS, WITH_A_ROLE)
    assert measurements_of(replace(account.target, dead_man_role=None)) == MEASUREMENTS


def test_one_that_ends_the_harm_holds_and_is_tried_with_the_call_of_a_drill(tmp_path: Path) -> None:
    account = Account()
    found = tried(account, tmp_path)
    assert found.holds, found
    assert "what drills break were not tried" in found.detail
    (asked,) = account.stub.calls("CreateSchedule")
    assert asked["Target"]["RoleArn"] == ROLE
    assert asked["Target"]["Arn"] == "arn:aws:scheduler:::aws-sdk:lambda:deleteFunctionConcurrency"
    assert '"FunctionName": "tocsin-parity-' in asked["Target"]["Input"]


def test_of_one_that_does_not_end_it_it_is_said_how_it_would_be_seen(tmp_path: Path) -> None:
    found = tried(Account(works=False), tmp_path)
    assert (found.here, found.holds) == (None, None)
    assert f"Allow {ROLE} lambda:DeleteFunctionConcurrency on function:tocsin-parity-*" in found.detail


@pytest.mark.parametrize(
    ("code", "message"), [("ValidationException", NO_TRUST), ("AccessDeniedException", "PassRole")]
)
def test_one_under_which_no_schedule_can_be_made_does_not_hold(tmp_path: Path, code: str, message: str) -> None:
    account = Account()
    account.stub.answers("scheduler", "CreateSchedule", refused(code, message))
    found = tried(account, tmp_path)
    assert (found.here, found.holds) == ("no schedule can be made", False), found
    assert message in found.detail


def test_only_then_the_policy_passes_it_on() -> None:
    def actions(role: str | None) -> set[tuple[str, tuple[str, ...]]]:
        return {(action, one.resources) for one in grants(Arns(), role) for action in one.actions}

    more = actions(ROLE) - actions(None)
    assert ("iam:PassRole", (ROLE,)) in more
    assert {action for action, _ in more} == {
        "iam:PassRole",
        "lambda:GetFunctionConcurrency",
        "lambda:PutFunctionConcurrency",
    }
