"""A dead man's switch: a one-shot schedule in the account that ends the harm when nobody is left to undo it.

For faults that AWS does not end by itself, on targets with a `dead_man_role`. The schedule is made before the
injection and deleted after the undo was verified; its name follows from the ledger entry, so that any process finds
it. https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#one-time
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from tocsin.aws.iam import Arns, Grant
from tocsin.aws.target import Aws, aws_errors
from tocsin.faults.base import ScheduledCall
from tocsin.faults.deny import none_if

PERMISSIONS = ("scheduler:CreateSchedule", "scheduler:DeleteSchedule", "iam:PassRole")
"""IAM actions of whoever runs drills on a target with a `dead_man_role`; the role itself needs the scheduled calls.
https://docs.aws.amazon.com/scheduler/latest/UserGuide/setting-up.html
"""
CALLS = (
    "ecs:UpdateService",
    "lambda:DeleteFunctionConcurrency",
    "lambda:PutFunctionConcurrency",
    "lambda:UpdateAlias",
    "lambda:UpdateEventSourceMapping",
    "rds:ModifyDBProxyTargetGroup",
    "rds:StartDBInstance",
)
"""What the schedules of all faults call, as the role must be allowed it."""
_RETRIED_FOR_S = 3600
"""A call that fails is tried again for so long, and not for the day that is the default: it must not surprise anybody
who has long gone on."""


def schedule_name(entry: str) -> str:
    """Name of the schedule that ends the fault of that ledger entry."""
    return f"tocsin-undo-{entry}"


def grants(role: str, arns: Arns) -> Iterator[Grant]:
    """What making and deleting schedules needs, where they run under `role`."""
    *scheduling, passing = PERMISSIONS
    schedules = arns("scheduler", f"schedule/default/{schedule_name('*')}")
    yield Grant(sid="DeadMan", actions=tuple(scheduling), resources=(schedules,))
    yield Grant(sid="DeadMan", actions=(passing,), resources=(role,))


def arm(aws: Aws, call: ScheduledCall, role: str) -> None:
    """Schedule the call that ends the harm at `aws.expires_at`, made by EventBridge Scheduler under `role`.

    Raises:
        Unavailable: whether the schedule is there is not known.
        TargetError: AWS refused it, there is no schedule.
    """
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(aws.expires_at))
    aws.ask(
        f"scheduling the end of the fault as {schedule_name(aws.entry)}",
        aws.client("scheduler").create_schedule,
        Name=schedule_name(aws.entry),
        Description="Ends a fault of a Tocsin drill if nobody is left to undo it.",
        ScheduleExpression=f"at({at})",
        ScheduleExpressionTimezone="UTC",
        FlexibleTimeWindow={"Mode": "OFF"},
        ActionAfterCompletion="DELETE",
        # The name is the entry's own: what AWS gets twice, because its answer was lost, it makes once.
        ClientToken=aws.entry,
        Target={
            **as_target(aws, call),
            "RoleArn": role,
            "RetryPolicy": {"MaximumEventAgeInSeconds": _RETRIED_FOR_S},
        },
    )


def as_target(aws: Aws, call: ScheduledCall) -> dict[str, str]:
    """The call as a schedule makes it; under which role is said beside it."""
    arn = f"arn:{aws.partition}:scheduler:::aws-sdk:{call.service}:{call.operation}"
    return {"Arn": arn, "Input": json.dumps(call.request)}


def disarm(aws: Aws) -> None:
    """Delete the schedule of this entry; one that is not there, because it has fired, is as good.

    Raises:
        TargetError: it may still be there, and would fire on a resource that is long mended.
    """
    client = aws.client("scheduler")
    with aws_errors(f"deleting the schedule {schedule_name(aws.entry)}"):
        none_if("ResourceNotFoundException", lambda: client.delete_schedule(Name=schedule_name(aws.entry)))
