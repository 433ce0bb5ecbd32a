"""Calls of AWS services that give up within seconds.

Signed by botocore and sent by the standard library: a boto3 client costs each execution environment 7 MB and 40 ms
for two operations whose requests are a JSON document.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .settings import setting

TIMEOUT_S = 3


class AwsError(Exception):
    """A service refused, or did not answer in time."""


def get_secret_value(secret_id: str) -> str:
    """The current value of a secret. Raises AwsError."""
    answer = _call("secretsmanager", "1.1", "secretsmanager.GetSecretValue", {"SecretId": secret_id})
    value: str = answer["SecretString"]
    return value


def send_message(queue_url: str, body: str) -> str:
    """Put a message into a queue: its id. Raises AwsError; then nobody knows whether it is in the queue."""
    answer = _call("sqs", "1.0", "AmazonSQS.SendMessage", {"QueueUrl": queue_url, "MessageBody": body})
    message_id: str = answer["MessageId"]
    return message_id


def _call(service: str, version: str, operation: str, arguments: dict[str, str]) -> dict[str, Any]:
    """One request in AWS's JSON protocol."""
    region = os.environ.get("AWS_REGION") or setting("AWS_DEFAULT_REGION")
    url = os.environ.get("AWS_ENDPOINT_URL", f"https://{service}.{region}.amazonaws.com").rstrip("/")
    request = AWSRequest(
        "POST",
        f"{url}/",
        {"Content-Type": f"application/x-amz-json-{version}", "X-Amz-Target": operation},
        json.dumps(arguments),
    )
    SigV4Auth(_credentials(), service, region).add_auth(request)
    signed = urllib.request.Request(  # noqa: S310 - the address is AWS's own, or the deployment's
        request.url, request.data.encode(), dict(request.headers), method="POST"
    )
    try:
        with urllib.request.urlopen(signed, timeout=TIMEOUT_S) as response:  # noqa: S310
            answer: dict[str, Any] = json.load(response)
            return answer
    except urllib.error.HTTPError as refusal:
        raise AwsError(f"{operation}: {refusal.code}") from refusal
    except (OSError, ValueError) as cause:
        raise AwsError(f"{operation}: {cause}") from cause


def _credentials() -> Credentials:
    """Those of the execution role, as the Lambda runtime passes them on."""
    return Credentials(
        setting("AWS_ACCESS_KEY_ID"),
        setting("AWS_SECRET_ACCESS_KEY"),
        os.environ.get("AWS_SESSION_TOKEN") or None,
    )
