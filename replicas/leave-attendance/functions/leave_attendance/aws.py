"""Clients of AWS services, made once an environment, that give up within seconds."""

from __future__ import annotations

from functools import cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

AwsError = (BotoCoreError, ClientError)


@cache
def client(service: str) -> Any:
    """The client of a service: 2 s to connect, 3 s to answer, one retry."""
    config = Config(connect_timeout=2, read_timeout=3, retries={"total_max_attempts": 2, "mode": "standard"})
    return boto3.client(service, config=config)
