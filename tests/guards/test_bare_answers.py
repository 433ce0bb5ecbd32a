"""An account that says 200 and not what it always says (a proxy, an endpoint that only looks like AWS): no guard says
yes, and none falls over its own feet."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.guards.conftest import Aws

from tocsin.errors import Refused, Unavailable
from tocsin.guards.admission import check_identity
from tocsin.guards.base import ask
from tocsin.guards.changes import ChangeGuards
from tocsin.guards.kill_switch import KillSwitch
from tocsin.guards.limits import StopConditions
from tocsin.guards.lock import AccountLock, holder_of
from tocsin.record.ledger import Ledger

ONE = "arn:aws:lambda:eu-west-1:123456789012:function:one"
ROLE = "arn:aws:iam::123456789012:role/app/orders"
YES = {"chaos-opt-in": "true"}
ALARM = "shop-orders-low"
NO_ACCOUNT = (
    "<GetCallerIdentityResponse><GetCallerIdentityResult></GetCallerIdentityResult></GetCallerIdentityResponse>"
)
NO_TAGS = "<ListRoleTagsResponse><ListRoleTagsResult/></ListRoleTagsResponse>"


def change(aws: Aws, root: Path, arn: str, **rules: Any) -> None:
    target = aws.target(**rules)
    aws.parameters.clear()
    ChangeGuards(target, KillSwitch(root, target), lambda _: None, time.time).permit("it", lambda: (arn,))


def take_the_lock(aws: Aws, root: Path) -> None:
    ledger = Ledger(root / "ledger.sqlite", "staging")
    try:
        AccountLock(aws.target(), ledger, "drill", 600.0).take()
    finally:
        ledger.close()


QUESTIONS: dict[str, Callable[[Aws, Path], object]] = {
    "identity": lambda aws, _: check_identity(aws.target()),
    "kill switch": lambda aws, root: KillSwitch(root, aws.target()).check(),
    "holder of the lock": lambda aws, _: holder_of(aws.target()),
    "lock": take_the_lock,
    "opt-in": lambda aws, root: change(aws, root, ONE, opt_in=YES),
    "opt-in of a role": lambda aws, root: change(aws, root, ROLE, opt_in=YES),
    "blast radius": lambda aws, root: change(aws, root, ONE, opt_in=YES, max_percent="50%"),
    "stop condition": lambda aws, _: StopConditions(aws.target(), (ALARM,)).check(),
}


@pytest.mark.parametrize(
    ("question", "operation", "answer"),
    [
        ("identity", "GetCallerIdentity", NO_ACCOUNT),
        ("kill switch", "GetParameter", {}),
        ("kill switch", "GetParameter", {"Parameter": {}}),
        ("kill switch", "GetParameter", {"Parameter": None}),
        ("holder of the lock", "GetParameter", {}),
        ("holder of the lock", "GetParameter", {"Parameter": {"Value": "x"}}),
        ("lock", "GetParameter", {"Parameter": {"Version": 1}}),
        ("opt-in", "GetResources", {}),
        ("opt-in", "GetResources", {"ResourceTagMappingList": [{"ResourceARN": ONE}]}),
        ("opt-in", "GetResources", {"ResourceTagMappingList": [{"ResourceARN": ONE, "Tags": [{"Key": "a"}]}]}),
        ("opt-in of a role", "ListRoleTags", NO_TAGS),
        ("stop condition", "DescribeAlarms", {"MetricAlarms": [{"AlarmName": ALARM}]}),
        ("stop condition", "DescribeAlarms", {"MetricAlarms": [{"StateValue": "OK"}]}),
    ],
)
def test_an_answer_that_does_not_say_it_is_no_yes(
    aws: Aws, tmp_path: Path, question: str, operation: str, answer: Any
) -> None:
    aws.answers[operation] = lambda _: answer
    if question == "lock":
        aws.parameters["/tocsin/lock"] = ["somebody's"]

    def asked() -> str:
        QUESTIONS[question](aws, tmp_path)
        return "yes"

    with pytest.raises(Refused, match=r"without '\w+'") as no:
        ask((question, asked), lambda _: None)
    assert no.value.exit_code == 4


def test_a_share_of_which_nothing_is_said_is_no_yes(aws: Aws, tmp_path: Path) -> None:
    tagged = {"ResourceTagMappingList": [{"ResourceARN": ONE, "Tags": [{"Key": "chaos-opt-in", "Value": "true"}]}]}
    aws.answers["GetResources"] = lambda request: tagged if "ResourceARNList" in request else {}
    with pytest.raises(Refused, match="without 'ResourceTagMappingList'") as no:
        QUESTIONS["blast radius"](aws, tmp_path)
    assert no.value.guard == "blast-radius"


def test_what_is_not_said_may_be_said_later(aws: Aws) -> None:
    """So an undo asks again."""
    aws.answers["GetCallerIdentity"] = lambda _: NO_ACCOUNT
    with pytest.raises(
        Unavailable, match="who we are: expected an answer sts:GetCallerIdentity that says 'Account', found"
    ):
        check_identity(aws.target())
