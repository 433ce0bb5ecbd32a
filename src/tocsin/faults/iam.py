"""Faults of AWS Identity and Access Management."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from tocsin.aws import cloudtrail
from tocsin.aws.iam import ANY, Arns
from tocsin.aws.role_policies import policies_of
from tocsin.aws.target import Aws, aws_errors
from tocsin.errors import Refused
from tocsin.faults.deny import (
    ABSENT,
    GUARD,
    DenyFault,
    DenyState,
    Document,
    allows_any,
    as_text,
    deny_statement,
    none_if,
    state_of,
    with_ours,
)

_READ_ROLE = ("iam:GetRole", "iam:ListRolePolicies", "iam:ListAttachedRolePolicies")
_READ_POLICIES = ("iam:GetPolicy", "iam:GetPolicyVersion")
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
    permissions: ClassVar[tuple[str, ...]] = (*_READ_ROLE, *_READ_POLICIES, *_POLICY_ACTIONS, cloudtrail.PERMISSION)
    denies: ClassVar[str | None] = None
    way_back: ClassVar[tuple[str, ...]] = _POLICY_ACTIONS

    role: str = Field(pattern=r"^[\w+=,.@-]{1,64}$", description="name of the role, without its path")
    actions: tuple[str, ...] = Field(min_length=1, description="what is denied: `dynamodb:GetItem`, `sqs:*`")
    resources: tuple[str, ...] = Field(default=("*",), min_length=1, description="ARNs to which it is denied")

    @property
    def resource(self) -> str:
        return f"role {self.role}"

    @property
    def denied(self) -> tuple[str, ...]:
        return self.actions

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        if action == cloudtrail.PERMISSION:
            return ANY
        # Only the account knows what is attached to the role, and its path.
        if action in _READ_POLICIES:
            return arns.global_("iam", "policy/*"), f"arn:{arns.partition}:iam::aws:policy/*"
        return arns.global_("iam", f"role/{self.role}"), arns.global_("iam", f"role/*/{self.role}")

    def check_bites(self, aws: Aws) -> None:
        super().check_bites(aws)
        if not allows_any(policies_of(aws.target, self.role), self.actions, self.resources):
            raise Refused(
                GUARD,
                f"expected {self.resource} to be allowed what is denied to it, found no policy of it that allows any "
                f"of {', '.join(self.actions)} on {', '.join(self.resources)}: nothing would change. Name what it may "
                "do, or the right role.",
            )

    def observe(self, aws: Aws, prior: DenyState | None) -> DenyState:
        if prior is None:
            # The policy has the entry's own name and cannot be there yet; but the role must.
            self._arn(aws)
            return ABSENT
        return state_of(self._policy(aws), self._statement(aws))

    def look_ahead(self, aws: Aws, prior: DenyState) -> None:
        self._policy(aws)
        # The first policy that allows it ends the search in `check_bites`: by then another one may be the first.
        for _ in policies_of(aws.target, self.role):
            pass

    def inject(self, aws: Aws, prior: DenyState) -> None:
        text = as_text(with_ours(None, self._statement(aws)))
        doing, put = f"denying {self.resource} some actions", aws.client("iam").put_role_policy
        aws.ask(doing, put, RoleName=self.role, PolicyName=_name(aws), PolicyDocument=text)

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

    def _is_ours(self, aws: Aws, event: Mapping[str, Any]) -> bool:
        return cloudtrail.role_of(event).rsplit("/", 1)[-1] == self.role

    def _arn(self, aws: Aws) -> str:
        with aws_errors(f"looking for {self.resource}"):
            return str(aws.client("iam").get_role(RoleName=self.role)["Role"]["Arn"])


def _name(aws: Aws) -> str:
    return f"tocsin-{aws.entry}"
