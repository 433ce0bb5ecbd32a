"""What IAM must allow: the actions behind an API call, and the grants that the parts of Tocsin declare.

Whoever calls AWS declares beside the call what it needs, as grants; `commands.permissions` makes one policy of them.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tocsin.model.base import Model

ANY = ("*",)
"""The resources of an action that IAM cannot limit to a resource, as most that list or describe."""


class Grant(Model):
    """Actions that are allowed on resources, for one purpose."""

    sid: str
    """the purpose, as the name of the policy's statement"""
    actions: tuple[str, ...]
    resources: tuple[str, ...] = ANY


@dataclass(frozen=True)
class Arns:
    """Makes ARNs of one account and region; what is not known is `*`."""

    region: str = "*"
    account: str = "*"
    partition: str = "aws"

    def __call__(self, service: str, resource: str) -> str:
        """ARN of a resource in this account and region; `resource` may hold wildcards of IAM."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"

    def of_no_account(self, service: str, resource: str) -> str:
        """ARN of a resource of a service that leaves the account out: API Gateway."""
        return f"arn:{self.partition}:{service}:{self.region}::{resource}"

    def global_(self, service: str, resource: str) -> str:
        """ARN of a resource of a service without regions: IAM."""
        return f"arn:{self.partition}:{service}::{self.account}:{resource}"


# --- from an API call to IAM actions ------------------------------------------------------------------------
# An operation is authorised under its own name and its service's, but for these.
# https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html

_PREFIX: Mapping[str, str] = {
    "elbv2": "elasticloadbalancing",
    "resourcegroupstaggingapi": "tag",
    "sesv2": "ses",
    "stepfunctions": "states",
}
"""boto3's name of a service -> IAM's."""

_BY_METHOD = frozenset({"apigateway", "apigatewayv2"})
"""Services whose actions are HTTP methods.
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonapigatewaymanagement.html
"""

_ACTIONS: Mapping[tuple[str, str], tuple[str, ...]] = {
    # Allowed to everybody: https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
    ("sts", "GetCallerIdentity"): (),
    ("lambda", "Invoke"): ("lambda:InvokeFunction",),
    ("lambda", "InvokeWithResponseStream"): ("lambda:InvokeFunction",),
    ("s3", "HeadBucket"): ("s3:ListBucket",),
    ("s3", "HeadObject"): ("s3:GetObject",),
    ("s3", "ListBuckets"): ("s3:ListAllMyBuckets",),
    ("s3", "ListObjectsV2"): ("s3:ListBucket",),
    # A batch is allowed as what is in it.
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html
    ("sns", "PublishBatch"): ("sns:Publish",),
    ("sqs", "ChangeMessageVisibilityBatch"): ("sqs:ChangeMessageVisibility",),
    ("sqs", "DeleteMessageBatch"): ("sqs:DeleteMessage",),
    ("sqs", "SendMessageBatch"): ("sqs:SendMessage",),
    # The caller's own permissions move the messages.
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html
    ("sqs", "StartMessageMoveTask"): (
        "sqs:StartMessageMoveTask",
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:SendMessage",
    ),
    # Tags are given: https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_Tagging.html
    ("rds", "CreateDBSnapshot"): ("rds:CreateDBSnapshot", "rds:AddTagsToResource"),
    ("rds", "RestoreDBInstanceFromDBSnapshot"): ("rds:RestoreDBInstanceFromDBSnapshot", "rds:AddTagsToResource"),
    # Its roles are handed over: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html
    ("ecs", "RegisterTaskDefinition"): ("ecs:RegisterTaskDefinition", "iam:PassRole"),
    # A role is handed over, and tags are given: https://docs.aws.amazon.com/fis/latest/userguide/security_iam_id-based-policy-examples.html
    ("fis", "CreateExperimentTemplate"): ("fis:CreateExperimentTemplate", "fis:TagResource", "iam:PassRole"),
    ("fis", "StartExperiment"): ("fis:StartExperiment", "fis:TagResource"),
    # A role is handed over: https://docs.aws.amazon.com/scheduler/latest/UserGuide/setting-up.html
    ("scheduler", "CreateSchedule"): ("scheduler:CreateSchedule", "iam:PassRole"),
    ("scheduler", "UpdateSchedule"): ("scheduler:UpdateSchedule", "iam:PassRole"),
}
"""Operations that are authorised under other names, under several, or not at all."""


def actions_of(service: str, operation: str, http_method: str = "POST") -> tuple[str, ...]:
    """The IAM actions that a signed call needs; `service` and `operation` as boto3 names them."""
    if service in _BY_METHOD:
        return (f"apigateway:{http_method}",)
    return _ACTIONS.get((service, operation), (f"{_PREFIX.get(service, service)}:{operation}",))


class CallLog:
    """Counts the IAM actions of every call that the clients of a target make. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()

    def see(self, model: Any, **_: Any) -> None:
        """A handler of botocore's `before-call`: once a call, before its retries."""
        if model.auth_type == "none":
            return  # not signed, so nobody's permission
        service = model.service_model.service_name
        with self._lock:
            self._calls.update(actions_of(service, model.name, model.http["method"]))

    def take(self) -> dict[str, int]:
        """IAM action -> calls since the last time it was asked for."""
        with self._lock:
            calls, self._calls = self._calls, Counter()
        return dict(sorted(calls.items()))
