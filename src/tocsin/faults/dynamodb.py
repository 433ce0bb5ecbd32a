"""Faults of Amazon DynamoDB."""

from __future__ import annotations

import json
from typing import ClassVar

from pydantic import Field

from tocsin.aws import cloudtrail
from tocsin.aws.iam import ANY, Arns
from tocsin.aws.target import Aws, aws_errors
from tocsin.errors import Unavailable
from tocsin.faults.deny import PRINCIPAL, Document, ResourcePolicyDeny, as_text, deny_statement, none_if

_POLICY_ACTIONS = ("dynamodb:GetResourcePolicy", "dynamodb:PutResourcePolicy", "dynamodb:DeleteResourcePolicy")
_NO_POLICY = "NO_POLICY"
"""The revision to expect where there must be no policy."""


class DynamodbTableDeny(ResourcePolicyDeny):
    """Deny some actions on a table and its indexes, by one statement more in its resource policy.

    Each write names the revision it was made from: a policy that somebody else changed meanwhile is read again, never
    overwritten. DynamoDB takes no second change of a policy within 15 seconds; the undo waits.
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/rbac-considerations.html
    """

    kind: ClassVar[str] = "dynamodb_table_deny"
    summary: ClassVar[str] = "deny some actions on a table (ends by itself)"
    aws_service: ClassVar[str] = "dynamodb"
    permissions: ClassVar[tuple[str, ...]] = (*_POLICY_ACTIONS, cloudtrail.PERMISSION)
    denies: ClassVar[str | None] = "dynamodb"
    way_back: ClassVar[tuple[str, ...]] = _POLICY_ACTIONS

    table: str = Field(pattern=r"^[A-Za-z0-9_.-]{3,255}$", description="name of the table")
    actions: tuple[str, ...] = Field(min_length=1, description="what is denied: `dynamodb:PutItem`")
    principal: str = Field(default="*", pattern=PRINCIPAL, description="ARN of who is denied; default: everybody")

    @property
    def resource(self) -> str:
        return f"table {self.table}"

    @property
    def denied(self) -> tuple[str, ...]:
        return self.actions

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        if action == cloudtrail.PERMISSION:
            return ANY
        return (arns("dynamodb", f"table/{self.table}"),)

    def _statement(self, aws: Aws) -> Document:
        arn = self._arn(aws)
        return deny_statement(aws, self.actions, (arn, f"{arn}/index/*"), self.principal)

    def _read(self, aws: Aws) -> tuple[Document | None, str]:
        client = aws.client("dynamodb")
        with aws_errors(f"reading the policy of {self.resource}"):
            answer = none_if("PolicyNotFoundException", lambda: client.get_resource_policy(ResourceArn=self._arn(aws)))
        return (None, _NO_POLICY) if answer is None else (json.loads(answer["Policy"]), str(answer["RevisionId"]))

    def _write(self, aws: Aws, policy: Document | None, revision: str) -> None:
        """Put the policy, or delete it when there is none, if it is still at that revision.

        Raises:
            Unavailable: it is not; after reading it again, the change may be made.
        """
        client = aws.client("dynamodb")
        place = {"ResourceArn": self._arn(aws), "ExpectedRevisionId": revision}

        def write() -> object:
            if policy is None:
                return client.delete_resource_policy(**place)
            return client.put_resource_policy(**place, Policy=as_text(policy))

        # This error is DynamoDB's answer to a revision that is not the present one.
        done = aws.ask(f"changing the policy of {self.resource}", lambda: none_if("PolicyNotFoundException", write))
        if done is None:
            raise Unavailable(
                f"expected the policy of {self.resource} to be as it was just read, found it changed by somebody else"
            )

    def _arn(self, aws: Aws) -> str:
        return aws.arn("dynamodb", f"table/{self.table}")
