"""Faults of Amazon S3."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from pydantic import Field

from tocsin.aws import cloudtrail
from tocsin.aws.iam import ANY, Arns
from tocsin.aws.target import Aws, aws_errors
from tocsin.faults.deny import PRINCIPAL, Document, ResourcePolicyDeny, as_text, deny_statement, none_if

_POLICY_ACTIONS = ("s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy")


class S3BucketDeny(ResourcePolicyDeny):
    """Deny some actions on a bucket, by one statement more in its policy.

    The other statements stay as they are, also those that somebody adds meanwhile; a bucket without a policy has none
    again after the undo. S3 has no conditional write of a policy: whoever changes it in the same instant may be
    overwritten. https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketPolicy.html
    """

    kind: ClassVar[str] = "s3_bucket_deny"
    summary: ClassVar[str] = "deny some actions on a bucket (ends by itself)"
    aws_service: ClassVar[str] = "s3"
    permissions: ClassVar[tuple[str, ...]] = (*_POLICY_ACTIONS, cloudtrail.PERMISSION)
    denies: ClassVar[str | None] = "s3"
    way_back: ClassVar[tuple[str, ...]] = _POLICY_ACTIONS

    bucket: str = Field(description="name of the bucket")
    actions: tuple[str, ...] = Field(min_length=1, description="what is denied: `s3:GetObject`, `s3:PutObject`")
    principal: str = Field(default="*", pattern=PRINCIPAL, description="ARN of who is denied; default: everybody")
    keys: str = Field(default="*", description="objects concerned: `receipts/*`; default: the bucket and all of them")

    @property
    def resource(self) -> str:
        return f"bucket {self.bucket}"

    @property
    def denied(self) -> tuple[str, ...]:
        return self.actions

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        if action == cloudtrail.PERMISSION:
            return ANY
        return (f"arn:{arns.partition}:s3:::{self.bucket}",)

    def _statement(self, aws: Aws) -> Document:
        arn = self._arn(aws)
        resources = [arn, f"{arn}/*"] if self.keys == "*" else [f"{arn}/{self.keys}"]
        return deny_statement(aws, self.actions, resources, self.principal)

    def _read(self, aws: Aws) -> tuple[Document | None, str]:
        client = aws.client("s3")
        with aws_errors(f"reading the policy of {self.resource}"):
            answer = none_if("NoSuchBucketPolicy", lambda: client.get_bucket_policy(**self._bucket(aws)))
        return (None if answer is None else json.loads(answer["Policy"])), ""

    def _write(self, aws: Aws, policy: Document | None, revision: str) -> None:
        client = aws.client("s3")
        doing = f"changing the policy of {self.resource}"
        if policy is None:
            aws.ask(doing, client.delete_bucket_policy, **self._bucket(aws))
        else:
            aws.ask(doing, client.put_bucket_policy, **self._bucket(aws), Policy=as_text(policy))

    def _bucket(self, aws: Aws) -> dict[str, Any]:
        """Bucket names are shared by all accounts: one of another account is never touched."""
        owner = {} if aws.target.account is None else {"ExpectedBucketOwner": aws.target.account}
        return {"Bucket": self.bucket, **owner}

    def _arn(self, aws: Aws) -> str:
        return f"arn:{aws.partition}:s3:::{self.bucket}"
