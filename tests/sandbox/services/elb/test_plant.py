"""The rules of load balancer and auto scaling that need no server."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

import pytest

from tocsin.sandbox.services.autoscaling import Policy, ScalableTarget, Situation, decide
from tocsin.sandbox.services.elb.plant import (
    Address,
    Check,
    Checked,
    TargetGroup,
    TargetState,
    after_check,
    check,
    is_loopback,
    matches,
)

GROUP = TargetGroup(
    arn="arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/web/1",
    scope=("123456789012", "us-east-1"),
    path="/health",
    interval_s=30,
    timeout_s=5,
    healthy_threshold=3,
    unhealthy_threshold=2,
    matcher="200",
    deregistration_delay_s=300,
    checked=True,
    load_balancers=("arn",),
)


@pytest.mark.parametrize(
    ("answers", "states"),
    [
        # one success makes a new target healthy, two failures an unhealthy one, three successes heal it
        ("+", "H"),
        ("-", "i"),
        ("--", "iU"),
        ("-+", "iH"),
        ("+--", "HHU"),
        ("+-+-+", "HHHHH"),
        ("--+++", "iUUUH"),
        ("--++-+++", "iUUUUUUH"),
    ],
)
def test_the_state_of_a_target(answers: str, states: str) -> None:
    letters = {TargetState.INITIAL: "i", TargetState.HEALTHY: "H", TargetState.UNHEALTHY: "U"}
    checked, seen = Checked(), ""
    for answer in answers:
        checked = after_check(checked, Check(200 if answer == "+" else 503), GROUP)
        seen += letters[checked.state]
    assert seen == states


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", Check(204)),
        (b"hello\r\n", Check()),
        (b"", Check()),
        (None, Check(timed_out=True)),
    ],
)
def test_a_health_check_takes_whatever_a_target_answers(answer: bytes | None, expected: Check) -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        if answer is not None:
            writer.write(answer)
            writer.close()

    async def run() -> tuple[Check, Check]:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
            # Little time only where no answer is to come in any.
            found = await check(address, replace(GROUP, timeout_s=60 if answer is not None else 0.5))
        return found, await check(address, GROUP)

    assert asyncio.run(run()) == (expected, Check())
    assert asked == [b"GET /health HTTP/1.1\r\n"]


@pytest.mark.parametrize(
    ("found", "reason", "description"),
    [
        (Check(500), "Target.ResponseCodeMismatch", "Health checks failed with these codes: [500]"),
        (Check(timed_out=True), "Target.Timeout", "Request timed out"),
        (Check(), "Target.FailedHealthChecks", "Health checks failed"),
    ],
)
def test_why_a_target_is_unhealthy(found: Check, reason: str, description: str) -> None:
    target = after_check(after_check(Checked(), found, GROUP), found, GROUP)
    assert (target.state, target.reason, target.description) == (TargetState.UNHEALTHY, reason, description)


@pytest.mark.parametrize(
    ("status", "matcher", "expected"),
    [
        (200, "200", True),
        (204, "200", False),
        (204, "200-299", True),
        (301, "200-299,301", True),
        (302, "200, 301", False),
    ],
)
def test_the_matcher_has_codes_and_ranges(status: int, matcher: str, expected: bool) -> None:
    assert matches(status, matcher) is expected


@pytest.mark.parametrize(("host", "expected"), [("127.0.0.1", True), ("192.0.2.1", False), ("i-0abc", False)])
def test_targets_are_on_this_machine(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


TARGET = ScalableTarget(("123456789012", "us-east-1"), "service/fleet/web", 2, 10)
POLICY = Policy("cpu", "CPUUtilization", 50.0, 300, 300, in_disabled=False, shown={})


@pytest.mark.parametrize(
    ("desired", "minutes", "changes", "expected"),
    [
        # out: three minutes above the target, in proportion, never above the maximum
        (2, [80, 80, 80], {}, 4),
        (2, [80, 80], {}, 2),
        (2, [80, 50, 80], {}, 2),
        (2, [100, 100, 51], {}, 3),
        (8, [99, 99, 99], {}, 10),
        (2, [80, 80, 80], {"since_out_s": 299}, 2),
        (2, [80, 80, 80], {"deploying": True}, 4),
        # in: fifteen minutes below nine tenths of it, never below the minimum, never during a deployment
        (8, [20] * 15, {}, 4),
        (8, [20] * 14, {}, 8),
        (8, [46] * 15, {}, 8),
        (4, [1] * 15, {}, 2),
        (8, [20] * 15, {"deploying": True}, 8),
        (8, [20] * 15, {"since_in_s": 299}, 8),
        # below the minimum by hand: in leaves it, out mends it
        (1, [1] * 15, {}, 1),
        (1, [51, 51, 51], {}, 2),
        # no data, no opinion
        (2, [], {}, 2),
    ],
)
def test_what_target_tracking_wants(
    desired: int, minutes: list[float], changes: dict[str, float], expected: int
) -> None:
    situation = {"deploying": False, "since_out_s": math.inf, "since_in_s": math.inf, **changes}
    assert decide(TARGET, POLICY, Situation(desired=desired, minutes=minutes, **situation)) == expected  # type: ignore[arg-type]
