"""Faults of Amazon S3."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from pydantic import Field, field_validator

from tocsin.faults.base import Aws, Fault, State
from tocsin.faults.deny import (
    ABSENT,
    OURS,
    PRINCIPAL,
    DenyState,
    Document,
    checked_actions,
    deny_statement,
    none_if,
    sid,
    state_of,
    with_ours,
    without_ours,
)
from tocsin.iam import Arns
from tocsin.target import aws_errors

_PROTECTED = ("s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy")


class S3BucketDeny(Fault[DenyState]):
    """Deny some actions on a bucket, by one statement more in its policy.

    The other statements stay as they are, also those that somebody adds meanwhile; a bucket without a policy has none
    again after the undo. S3 has no conditional write of a policy: whoever changes it in the same instant may be
    overwritten. https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketPolicy.html
    """

    kind: ClassVar[str] = "s3_bucket_deny"
    state: ClassVar[type[State]] = DenyState
    summary: ClassVar[str] = "deny some actions on a bucket (ends by itself)"
    aws_service: ClassVar[str] = "s3"
    permissions: ClassVar[tuple[str, ...]] = _PROTECTED
    effect_within_s: ClassVar[float] = 60.0
    expires: ClassVar[bool] = True

    bucket: str = Field(description="name of the bucket")
    actions: tuple[str, ...] = Field(min_length=1, description="what is denied: `s3:GetObject`, `s3:PutObject`")
    principal: str = Field(default="*", pattern=PRINCIPAL, description="ARN of who is denied; default: everybody")
    keys: str = Field(default="*", description="objects concerned: `receipts/*`; default: the bucket and all of them")

    @field_validator("actions")
    @classmethod
    def _way_back_open(cls, actions: tuple[str, ...]) -> tuple[str, ...]:
        return checked_actions(actions, _PROTECTED, service="s3")

    @property
    def resource(self) -> str:
        return f"bucket {self.bucket}"

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return (self._arn(aws),)

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        return (f"arn:{arns.partition}:s3:::{self.bucket}",)

    def observe(self, aws: Aws, prior: DenyState | None) -> DenyState:
        policy = self._policy(aws)
        return ABSENT if prior is None else state_of(policy, self._statement(aws))

    def broken(self, prior: DenyState) -> DenyState:
        return OURS

    def inject(self, aws: Aws, prior: DenyState) -> None:
        self._put(aws, with_ours(self._policy(aws), self._statement(aws)))

    def undo(self, aws: Aws, prior: DenyState) -> None:
        policy = self._policy(aws)
        if policy is None or state_of(policy, self._statement(aws)) == ABSENT:
            return
        left = without_ours(policy, sid(aws))
        if left is not None:
            self._put(aws, left)
            return
        with aws_errors(f"removing the policy of {self.resource}"):
            aws.client("s3").delete_bucket_policy(**self._bucket(aws))

    def _statement(self, aws: Aws) -> Document:
        arn = self._arn(aws)
        resources = [arn, f"{arn}/*"] if self.keys == "*" else [f"{arn}/{self.keys}"]
        return deny_statement(aws, self.actions, resources, self.principal)

    def _policy(self, aws: Aws) -> Document | None:
        client = aws.client("s3")
        with aws_errors(f"reading the policy of {self.resource}"):
            answer = none_if("NoSuchBucketPolicy", lambda: client.get_bucket_policy(**self._bucket(aws)))
        policy: Document | None = None if answer is None else json.loads(answer["Policy"])
        return policy

    def _put(self, aws: Aws, policy: Document) -> None:
        with aws_errors(f"changing the policy of {self.resource}"):
            aws.client("s3").put_bucket_policy(
                **self._bucket(aws), Policy=json.dumps(policy, separators=(",", ":"), ensure_ascii=False)
            )

    def _bucket(self, aws: Aws) -> dict[str, Any]:
        """Bucket names are shared by all accounts: one of another account is never touched."""
        owner = {} if aws.target.account is None else {"ExpectedBucketOwner": aws.target.account}
        return {"Bucket": self.bucket, **owner}

    def _arn(self, aws: Aws) -> str:
        return f"arn:{aws.partition}:s3:::{self.bucket}"
