"""What a role is allowed, as far as its policies tell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tocsin.aws.pages import listed
from tocsin.aws.target import Target, aws_errors


def policies_of(target: Target, role: str) -> Iterator[dict[str, Any]]:
    """Documents of the inline and the managed policies of a role, by its name without a path.

    Raises:
        NotFound: there is no such role.
        TargetError: IAM did not say.
    """
    client, of = target.client("iam"), {"RoleName": role}
    with aws_errors(f"reading the policies of role {role}"):
        for name in listed(client, "list_role_policies", "PolicyNames", **of):
            yield client.get_role_policy(**of, PolicyName=name)["PolicyDocument"]
        for policy in listed(client, "list_attached_role_policies", "AttachedPolicies", **of):
            arn = policy["PolicyArn"]
            version = client.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            yield client.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
