"""Secrets of AWS Secrets Manager that hold JSON. What is in one is never shown."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tocsin.aws.target import Target, aws_errors


@dataclass(frozen=True)
class Secret:
    """A secret; its values are empty where it is no JSON object."""

    arn: str
    values: dict[str, Any] = field(repr=False)


def read_secret(target: Target, secret: str) -> Secret:
    """The current version of a secret; `secret` is its name or ARN.

    Raises:
        NotFound: there is no such secret.
        TargetError: Secrets Manager did not answer.
    """
    with aws_errors(f"reading the secret '{secret}'"):
        answer = target.client("secretsmanager").get_secret_value(SecretId=secret)
    try:
        values = json.loads(answer.get("SecretString", ""))
    except ValueError:
        values = {}
    return Secret(answer.get("ARN", secret), values if isinstance(values, dict) else {})
