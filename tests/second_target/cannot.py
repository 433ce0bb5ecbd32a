"""What each emulator cannot do of what Tocsin needs, by name. `test_cannot.py` holds it against the emulators.

`python -m tests.second_target.cannot` writes it into docs/SANDBOX.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "SANDBOX.md"
BEGIN = "<!-- other emulators: written by `python -m tests.second_target.cannot` -->"
END = "<!-- end of the other emulators -->"


@dataclass(frozen=True)
class Limit:
    """How it fails there, and what that means for whoever drills there."""

    answer: str
    """part of the error, or of what is missing"""
    so: str
    reasons: frozenset[str] = frozenset()
    """why a drill of the shop is then unknown"""
    also: frozenset[str] = frozenset()
    """other reasons that may come with them, by when it was looked"""
    read: str = ""
    """the read of a drill that `tocsin parity` finds wanting, if it is one"""


_NO_ROUTE = "500 Internal Server Error"
_NO_MUTES = "`doctor` warns that nobody knows whether a ring is told"
_NOT_COMPARED = "not compared by these tests"

CANNOT: Mapping[tuple[str, str], Limit] = {
    ("ministack", "grounds in an alarm's history"): Limit(
        "no stateReasonData",
        "every ring looks as if somebody had set it by hand: `set_by_hand`, unknown",
        frozenset({"set_by_hand"}),
    ),
    ("ministack", "times finer than a second"): Limit("whole seconds", "at scale 60 times are a minute apart"),
    ("ministack", "metrics of queues"): Limit("no metric", "no alarm on a queue's depth rings by itself"),
    ("ministack", "AlarmArn in notifications"): Limit("no AlarmArn", "a notification is taken for another alarm's"),
    ("ministack", "ListAlarmMuteRules"): Limit("Unknown action", _NO_MUTES, read="cloudwatch:ListAlarmMuteRules"),
    ("ministack", "ListDeadLetterSourceQueues"): Limit(
        "InvalidAction", "forecasts leave out how often a queue tries", read="sqs:ListDeadLetterSourceQueues"
    ),
    ("ministack", "ListProvisionedConcurrencyConfigs"): Limit(
        "No Provisioned Concurrency Config found", "`lambda_reserved_concurrency` cannot begin"
    ),
    ("ministack", "AWS FIS"): Limit("(400)", "no `ecs_task_cpu_stress`"),
    ("ministack", "reading fis"): Limit("(400)", "as there is none"),
    ("ministack", "TestFailover"): Limit("Unknown ElastiCache action", "no `elasticache_failover`"),
    ("ministack", "reading application-autoscaling"): Limit("(400)", "no `ecs_scale` of a service that scales"),
    ("moto", "DescribeAlarmHistory"): Limit(
        _NO_ROUTE,
        "no ring can be dated, and who watches the alarms gives up: `no_evidence`, `actor_died`, unknown",
        frozenset({"no_evidence", "actor_died"}),
        frozenset({"not_watched"}),
        "cloudwatch:DescribeAlarmHistory",
    ),
    ("moto", "grounds in an alarm's history"): Limit(_NO_ROUTE, "as there is no history"),
    ("moto", "metrics of queues"): Limit("no metric", "no alarm on a queue's depth rings by itself"),
    ("moto", "actions of alarms"): Limit("no notification", "nobody is told of a ring"),
    ("moto", "AlarmArn in notifications"): Limit("no notification", "as there is none"),
    ("moto", "ListAlarmMuteRules"): Limit(_NO_ROUTE, _NO_MUTES, read="cloudwatch:ListAlarmMuteRules"),
    ("moto", "SimulatePrincipalPolicy"): Limit(_NO_ROUTE, "`--dry-run` cannot say what IAM allows: exit code 4"),
    ("moto", "functions without Docker"): Limit("not taken", "a function that reads a queue does nothing"),
    ("moto", "ListProvisionedConcurrencyConfigs"): Limit("404 Not Found", "`lambda_reserved_concurrency` cannot begin"),
    ("moto", "TestFailover"): Limit(_NO_ROUTE, "no `elasticache_failover`"),
    ("moto", "reading apigatewayv2"): Limit(_NO_ROUTE, f"wants `openapi-spec-validator`: {_NOT_COMPARED}"),
    ("moto", "reading cloudformation"): Limit(_NO_ROUTE, f"wants `cfn-lint`: {_NOT_COMPARED}"),
    ("moto", "reading cognito-idp"): Limit(_NO_ROUTE, f"wants `joserfc`: {_NOT_COMPARED}"),
}


def cannot(emulator: str, need: str) -> bool:
    """Whether it is known not to do it."""
    return (emulator, need) in CANNOT


def reasons(emulator: str) -> set[str]:
    """Why a drill of the shop is unknown there."""
    return {reason for (name, _), limit in CANNOT.items() if name == emulator for reason in limit.reasons}


def may_be(emulator: str) -> set[str]:
    """Every reason that a drill of the shop may have there to be unknown."""
    also = {reason for (name, _), limit in CANNOT.items() if name == emulator for reason in limit.also}
    return reasons(emulator) | also


def unanswered(emulator: str) -> set[str]:
    """The reads of drills of the shop that are not answered there."""
    return {limit.read for (name, _), limit in CANNOT.items() if name == emulator and limit.read}


def table() -> str:
    """It as the page has it."""
    rows = [f"| {name} | {need} | {limit.so} |" for (name, need), limit in CANNOT.items()]
    return "\n".join(["| emulator | what it cannot do | so |", "|---|---|---|", *rows])


def written() -> str:
    """The page with the table as it is now.

    Raises:
        ValueError: there is no place for it.
    """
    text = PAGE.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"expected {BEGIN} and {END} in {PAGE}")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(written(), encoding="utf-8")
