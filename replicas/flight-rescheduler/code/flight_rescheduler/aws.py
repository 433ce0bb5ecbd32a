"""Calls of AWS services that give up within seconds.

Signed by botocore and sent by the standard library: a boto3 client costs each execution environment 7 MB and 40 ms for
three operations of one request each. SNS and SES speak the Query protocol, CloudWatch JSON.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .settings import setting

TIMEOUT_S = 3
NAMESPACE = "FlightRescheduler"
"""Of the metrics that the application itself publishes."""

_FORM = "application/x-www-form-urlencoded; charset=utf-8"
_JSON = "application/x-amz-json-1.0"


class AwsError(Exception):
    """A service refused, or did not answer in time: then nobody knows whether it did what it was asked."""


def publish(topic: str, message: str, attributes: Mapping[str, str]) -> None:
    """Publish a message to a topic, with attributes that subscribers may filter by. Raises AwsError."""
    form = {"Action": "Publish", "Version": "2010-03-31", "TopicArn": topic, "Message": message}
    for index, (name, value) in enumerate(attributes.items(), start=1):
        entry = f"MessageAttributes.entry.{index}"
        form |= {f"{entry}.Name": name, f"{entry}.Value.DataType": "String", f"{entry}.Value.StringValue": value}
    _call("sns", "sns", urllib.parse.urlencode(form), {"Content-Type": _FORM})


def send_mail(source: str, to: str, subject: str, text: str) -> None:
    """Mail a text. Raises AwsError."""
    form = {
        "Action": "SendEmail",
        "Version": "2010-12-01",
        "Source": source,
        "Destination.ToAddresses.member.1": to,
        "Message.Subject.Data": subject,
        "Message.Body.Text.Data": text,
    }
    _call("ses", "email", urllib.parse.urlencode(form), {"Content-Type": _FORM})


def count(**metrics: float) -> None:
    """Publish metrics of the application, without dimensions. Raises AwsError."""
    data = [{"MetricName": name, "Value": value, "Unit": "Count"} for name, value in metrics.items()]
    target = {"Content-Type": _JSON, "X-Amz-Target": "GraniteServiceVersion20100801.PutMetricData"}
    _call("monitoring", "monitoring", json.dumps({"Namespace": NAMESPACE, "MetricData": data}), target)


def _call(service: str, host: str, body: str, headers: Mapping[str, str]) -> None:
    region = setting("AWS_REGION", os.environ.get("AWS_DEFAULT_REGION"))
    url = os.environ.get("AWS_ENDPOINT_URL", f"https://{host}.{region}.amazonaws.com").rstrip("/")
    request = AWSRequest("POST", f"{url}/", dict(headers), body)
    SigV4Auth(_credentials(), service, region).add_auth(request)
    signed = urllib.request.Request(  # noqa: S310 - the address is AWS's own, or the deployment's
        request.url, body.encode(), dict(request.headers), method="POST"
    )
    try:
        with urllib.request.urlopen(signed, timeout=TIMEOUT_S) as response:  # noqa: S310
            response.read()
    except urllib.error.HTTPError as refusal:
        raise AwsError(f"{service}: {refusal.code} {refusal.read(300).decode(errors='replace')}") from refusal
    except OSError as cause:
        raise AwsError(f"{service}: {cause}") from cause


def _credentials() -> Credentials:
    """Those of the execution role or of the task role, as the runtime passes them on."""
    return Credentials(
        setting("AWS_ACCESS_KEY_ID"), setting("AWS_SECRET_ACCESS_KEY"), os.environ.get("AWS_SESSION_TOKEN") or None
    )
