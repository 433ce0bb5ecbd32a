"""Faults of AWS Identity and Access Management."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from tocsin.faults.base import Aws
from tocsin.faults.deny import (
    ABSENT,
    DenyFault,
    DenyState,
    Document,
    as_text,
    deny_statement,
    none_if,
    state_of,
    with_ours,
)
from tocsin.iam import Arns
from tocsin.target import aws_errors

_POLICY_ACTIONS = ("iam:GetRolePolicy", "iam:PutRolePolicy", "iam:DeleteRolePolicy")


class IamRoleDeny(DenyFault):
    """Deny a role some actions: the outage of whatever it calls, for all who share the role.

    The statement is an inline policy of its own, and its condition ends it by itself. IAM is eventually consistent:
    the policy is seen at once, and applied everywhere some seconds later.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html
    """

    kind: ClassVar[str] = "iam_role_deny"
    summary: ClassVar[str] = "deny a role some actions (ends by itself)"
    aws_service: ClassVar[str] = "iam"
    permissions: ClassVar[tuple[str, ...]] = ("iam:GetRole", *_POLICY_ACTIONS)
    denies: ClassVar[str | None] = None
    way_back: ClassVar[tuple[str, ...]] = _POLICY_ACTIONS

    role: str = Field(pattern=r"^[\w+=,.@-]{1,64}$", description="name of the role, without its path")
    actions: tuple[str, ...] = Field(min_length=1, description="what is denied: `dynamodb:GetItem`, `sqs:*`")
    resources: tuple[str, ...] = Field(default=("*",), min_length=1, description="ARNs to which it is denied")

    @property
    def resource(self) -> str:
        return f"role {self.role}"

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        # Only the account knows the role's path.
        return arns.global_("iam", f"role/{self.role}"), arns.global_("iam", f"role/*/{self.role}")

    def observe(self, aws: Aws, prior: DenyState | None) -> DenyState:
        if prior is None:
            # The policy has the entry's own name and cannot be there yet; but the role must.
            self._arn(aws)
            return ABSENT
        return state_of(self._policy(aws), self._statement(aws))

    def inject(self, aws: Aws, prior: DenyState) -> None:
        text = as_text(with_ours(None, self._statement(aws)))
        with aws_errors(f"denying {self.resource} some actions"):
            aws.client("iam").put_role_policy(RoleName=self.role, PolicyName=_name(aws), PolicyDocument=text)

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
