"""A role that is thrown away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from tocsin.aws.iam import Arns
from tocsin.aws.pages import listed
from tocsin.aws.target import Aws, aws_errors
from tocsin.parity.throwaway.kinds.base import PREFIX, Throwaway, as_list, document, tags_of

POLICY = "tocsin-parity"
"""Name of its one inline policy."""


class ParityRole(Throwaway):
    """A role for one service, or for whoever measures; it may do one thing at most."""

    kind: ClassVar[str] = "parity_role"
    noun: ClassVar[str] = "role"
    summary: ClassVar[str] = "a role of `tocsin parity --throwaway`"
    aws_service: ClassVar[str] = "iam"
    permissions: ClassVar[tuple[str, ...]] = (
        "iam:CreateRole",
        "iam:DeleteRole",
        "iam:DeleteRolePolicy",
        "iam:ListRolePolicies",
        "iam:ListRoleTags",
        "iam:PassRole",
        "iam:PutRolePolicy",
        "iam:TagRole",
    )

    trusted: str = Field(description="a service (`lambda.amazonaws.com`), or the account: its id")
    action: str | None = Field(default=None, description="what it may do from the beginning")
    on: str | None = Field(default=None, description="ARN on which")

    @classmethod
    def pattern(cls, arns: Arns) -> str:
        return arns.global_("iam", f"role/{PREFIX}*")

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return (f"arn:{aws.partition}:iam::{aws.target.account}:role/{self.name}",)

    def marks(self, aws: Aws) -> Mapping[str, str]:
        with aws_errors(f"reading the tags of {self.resource}"):
            return tags_of(list(listed(aws.client("iam"), "list_role_tags", "Tags", RoleName=self.name)))

    def make(self, aws: Aws) -> None:
        trust = {"Effect": "Allow", "Principal": self._principal(aws), "Action": "sts:AssumeRole"}
        aws.ask(
            f"creating {self.resource}",
            aws.client("iam").create_role,
            RoleName=self.name,
            AssumeRolePolicyDocument=document(trust),
            Description="Thrown away by `tocsin parity`.",
            Tags=as_list(self.tag),
        )
        if self.action is not None:
            allow = {"Effect": "Allow", "Action": self.action, "Resource": self.on}
            put_policy(aws, self.name, allow)

    def _principal(self, aws: Aws) -> dict[str, str]:
        if self.trusted.isdecimal():
            return {"AWS": f"arn:{aws.partition}:iam::{self.trusted}:root"}
        return {"Service": self.trusted}

    def delete(self, aws: Aws) -> None:
        iam = aws.client("iam")
        with aws_errors(f"listing the policies of {self.resource}"):
            policies = list(listed(iam, "list_role_policies", "PolicyNames", RoleName=self.name))
        for policy in policies:
            doing = f"deleting the policy {policy} of {self.resource}"
            aws.ask(doing, iam.delete_role_policy, RoleName=self.name, PolicyName=policy)
        aws.ask(f"deleting {self.resource}", iam.delete_role, RoleName=self.name)


def put_policy(aws: Aws, role: str, *statements: Mapping[str, Any]) -> None:
    """Make the one inline policy of a role say just this.

    Raises:
        TargetError: IAM refused it.
    """
    aws.ask(
        f"writing the policy of role {role}",
        aws.client("iam").put_role_policy,
        RoleName=role,
        PolicyName=POLICY,
        PolicyDocument=document(*statements),
    )
