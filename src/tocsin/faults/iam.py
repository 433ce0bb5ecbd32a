"""Faults of AWS Identity and Access Management."""

from __future__ import annotations

import json
from typing import ClassVar

from pydantic import Field, field_validator

from tocsin.faults.base import Aws, Fault, State
from tocsin.faults.deny import ABSENT, OURS, DenyState, Document, checked_actions, deny_statement, none_if, state_of
from tocsin.iam import Arns
from tocsin.target import aws_errors

_PROTECTED = ("iam:GetRolePolicy", "iam:PutRolePolicy", "iam:DeleteRolePolicy")


class IamRoleDeny(Fault[DenyState]):
    """Deny a role some actions: the outage of whatever it calls, for all who share the role.

    The statement is an inline policy of its own, and its condition ends it by itself. IAM is eventually consistent:
    the policy is seen at once, and applied everywhere some seconds later.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html
    """

    kind: ClassVar[str] = "iam_role_deny"
    state: ClassVar[type[State]] = DenyState
    summary: ClassVar[str] = "deny a role some actions (ends by itself)"
    aws_service: ClassVar[str] = "iam"
    permissions: ClassVar[tuple[str, ...]] = (
        "iam:GetRole",
        "iam:GetRolePolicy",
        "iam:PutRolePolicy",
        "iam:DeleteRolePolicy",
    )
    effect_within_s: ClassVar[float] = 60.0
    expires: ClassVar[bool] = True

    role: str = Field(pattern=r"^[\w+=,.@-]{1,64}$", description="name of the role, without its path")
    actions: tuple[str, ...] = Field(min_length=1, description="what is denied: `dynamodb:GetItem`, `sqs:*`")
    resources: tuple[str, ...] = Field(default=("*",), min_length=1, description="ARNs to which it is denied")

    @field_validator("actions")
    @classmethod
    def _way_back_open(cls, actions: tuple[str, ...]) -> tuple[str, ...]:
        return checked_actions(actions, _PROTECTED, service=None)

    @property
    def resource(self) -> str:
        return f"role {self.role}"

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return (self._arn(aws),)

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        # Only the account knows the role's path.
        return arns.global_("iam", f"role/{self.role}"), arns.global_("iam", f"role/*/{self.role}")

    def observe(self, aws: Aws, prior: DenyState | None) -> DenyState:
        if prior is None:
            # The policy has the entry's own name and cannot be there yet; but the role must.
            self._arn(aws)
            return ABSENT
        return state_of(self._policy(aws), self._statement(aws))

    def broken(self, prior: DenyState) -> DenyState:
        return OURS

    def inject(self, aws: Aws, prior: DenyState) -> None:
        document = {"Version": "2012-10-17", "Statement": [self._statement(aws)]}
        with aws_errors(f"denying {self.resource} some actions"):
            aws.client("iam").put_role_policy(
                RoleName=self.role, PolicyName=_name(aws), PolicyDocument=json.dumps(document)
            )

    def undo(self, aws: Aws, prior: DenyState) -> None:
        client = aws.client("iam")
        with aws_errors(f"removing our policy from {self.resource}"):
            none_if("NoSuchEntity", lambda: client.delete_role_policy(RoleName=self.role, PolicyName=_name(aws)))

    def _statement(self, aws: Aws) -> Document:
        return deny_statement(aws, self.actions, self.resources)

    def _policy(self, aws: Aws) -> Document | None:
        client = aws.client("iam")
        with aws_errors(f"reading our policy of {self.resource}"):
            answer = none_if("NoSuchEntity", lambda: client.get_role_policy(RoleName=self.role, PolicyName=_name(aws)))
        # botocore has decoded the document already.
        return None if answer is None else dict(answer["PolicyDocument"])

    def _arn(self, aws: Aws) -> str:
        with aws_errors(f"looking for {self.resource}"):
            return str(aws.client("iam").get_role(RoleName=self.role)["Role"]["Arn"])


def _name(aws: Aws) -> str:
    return f"tocsin-{aws.entry}"
