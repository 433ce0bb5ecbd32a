"""The services of the account, each with what the faults ask of it; methods are named as those of a client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.faults.stub import awslambda, data, ecs, kms, names, policies, sqs
from tests.faults.stub.clock import Clock

SERVICES: dict[str, Callable[[Clock], Any]] = {
    "application-autoscaling": ecs.Scaling,
    "cloudtrail": policies.CloudTrail,
    "dynamodb": policies.DynamoDb,
    "ecs": ecs.Ecs,
    "elasticache": data.ElastiCache,
    "elbv2": policies.Elb,
    "fis": ecs.Fis,
    "iam": policies.Iam,
    "kms": kms.Kms,
    "lambda": awslambda.Lambda,
    "rds": data.Rds,
    "s3": policies.S3,
    "scheduler": policies.Scheduler,
    "secretsmanager": policies.Secrets,
    "sns": names.Topics,
    "sqs": sqs.Sqs,
    "ssm": names.Parameters,
}
