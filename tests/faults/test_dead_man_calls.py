"""What the role of the schedules must be allowed is what the faults schedule; doctor sees what it may not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.faults.stub.account import ARMED, TARGET, StubAws
from tests.faults.stub.bench import FaultBench, QuickLedger
from tests.faults.stub.faults import ARGUMENTS, furnish

from tocsin.aws.target import Aws
from tocsin.commands.doctor.readiness import Place, dead_man_role
from tocsin.commands.doctor.result import Level, Result
from tocsin.errors import Refused
from tocsin.faults.deadman import CALLS
from tocsin.faults.registry import fault_class

ROLE = "arn:aws:iam::123456789012:role/shop/till"
"""The role of the stubbed account."""
SAFETY = Path(__file__).parents[2] / "docs" / "SAFETY.md"


def test_what_the_schedules_call_is_what_their_role_needs(stub: StubAws) -> None:
    furnish(stub)
    called = set()
    for kind, arguments in ARGUMENTS.items():
        fault, aws = fault_class(kind).model_validate(arguments), Aws(TARGET, entry="")
        prior = fault.observe(aws, None)
        for before in (prior, prior.model_copy(update={"reserved": 5})):
            call = fault.dead_man(aws, before)
            if call is not None:
                called.add(f"{call.service}:{call.operation[0].upper()}{call.operation[1:]}")
    assert called == set(CALLS)


def test_the_docs_name_each_of_them() -> None:
    text = SAFETY.read_text()
    sentence = text[text.index("The `dead_man_role` trusts") :].partition(".\n")[0]
    assert all(f"`{call}`" in sentence for call in CALLS)


@pytest.mark.parametrize("code", ["ConflictException", "AccessDeniedException"])
def test_a_schedule_that_is_refused_leaves_no_open_entry(stub: StubAws, tmp_path: Path, code: str) -> None:
    furnish(stub)
    stub.fails("scheduler:CreateSchedule", code)
    life = FaultBench(stub, QuickLedger(tmp_path), ARMED)
    with pytest.raises(Refused, match="expected a schedule that ends the fault if this run dies"):
        life.inject("rds_proxy_throttle", **ARGUMENTS["rds_proxy_throttle"])
    assert life.open == []
    assert "rds:ModifyDBProxyTargetGroup" not in stub.asked


def seen(stub: StubAws, root: Path, *allowed: str) -> Result:
    iam, statement = stub.services["iam"], {"Effect": "Allow", "Action": list(allowed), "Resource": "arn:aws:x:::one"}
    iam.inline, iam.attached = {"own": json.dumps({"Statement": [statement]})}, []
    return dead_man_role(Place(root, replace(TARGET, dead_man_role=ROLE)))


def test_doctor_sees_what_the_role_may_nowhere_do(stub: StubAws, tmp_path: Path) -> None:
    """Limited to some resources is not nowhere."""
    assert seen(stub, tmp_path, *CALLS).level is Level.OK
    assert seen(stub, tmp_path, "lambda:*", "ecs:Update*", "rds:*").level is Level.OK
    lacking = seen(stub, tmp_path, *(call for call in CALLS if call != "rds:StartDBInstance"))
    assert (lacking.level, "may nowhere do: rds:StartDBInstance" in lacking.found) == (Level.WARN, True)
    stub.fails("iam:ListRolePolicies", "AccessDenied")
    assert "cannot be told" in seen(stub, tmp_path).found
