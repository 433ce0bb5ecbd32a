"""A one-time schedule that is thrown away."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from pydantic import Field, model_validator

from tocsin.aws.iam import Arns
from tocsin.aws.target import Aws, aws_errors
from tocsin.faults.base import ScheduledCall
from tocsin.faults.deadman import as_target
from tocsin.parity.throwaway.kinds.base import PREFIX, TAG, Throwaway, asked_with_a_new_role

RETRIED_FOR_S = 300
MESSAGE = "tocsin-parity: a schedule has fired"


class ParitySchedule(Throwaway):
    """Sends one message to a queue, or makes one call, at a time. It has no tags: its description is its mark."""

    kind: ClassVar[str] = "parity_schedule"
    noun: ClassVar[str] = "schedule"
    summary: ClassVar[str] = "a schedule of `tocsin parity --throwaway`"
    aws_service: ClassVar[str] = "scheduler"
    permissions: ClassVar[tuple[str, ...]] = (
        "scheduler:CreateSchedule",
        "scheduler:DeleteSchedule",
        "scheduler:GetSchedule",
    )

    at: float = Field(description="epoch seconds, whole ones")
    queue: str | None = Field(default=None, description="ARN of the queue that it sends to")
    call: ScheduledCall | None = Field(default=None, description="or the call that it makes")
    role: str = Field(description="ARN of the role under which it does")

    @classmethod
    def pattern(cls, arns: Arns) -> str:
        return arns("scheduler", f"schedule/default/{PREFIX}*")

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return (aws.arn("scheduler", f"schedule/default/{self.name}"),)

    def marks(self, aws: Aws) -> Mapping[str, str]:
        with aws_errors(f"reading {self.resource}"):
            found = aws.client("scheduler").get_schedule(Name=self.name)
        return {TAG: found.get("Description", "")}

    def make(self, aws: Aws) -> None:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self.at))
        # Only what calls has a role that is not ours, and so not new.
        ask = aws.ask if self.call is not None else partial(asked_with_a_new_role, aws)
        ask(
            f"creating {self.resource}",
            aws.client("scheduler").create_schedule,
            Name=self.name,
            Description=self.name,
            ScheduleExpression=f"at({at})",
            ScheduleExpressionTimezone="UTC",
            FlexibleTimeWindow={"Mode": "OFF"},
            # One that has fired stays, so that its deletion is ours, and seen.
            ActionAfterCompletion="NONE",
            Target={
                **self._target(aws),
                "RoleArn": self.role,
                # Its role may be too new for the first attempt.
                "RetryPolicy": {"MaximumEventAgeInSeconds": RETRIED_FOR_S},
            },
        )

    def _target(self, aws: Aws) -> dict[str, str]:
        if self.call is not None:
            return as_target(aws, self.call)
        assert self.queue is not None
        return {"Arn": self.queue, "Input": MESSAGE}

    @model_validator(mode="after")
    def _does_one_thing(self) -> ParitySchedule:
        if (self.queue is None) == (self.call is None):
            raise ValueError("expected a queue or a call, found neither or both")
        return self

    def delete(self, aws: Aws) -> None:
        aws.ask(f"deleting {self.resource}", aws.client("scheduler").delete_schedule, Name=self.name)
