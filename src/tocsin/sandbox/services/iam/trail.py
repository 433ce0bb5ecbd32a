# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""Refused calls as CloudTrail tells them.

CloudTrail of AWS tells management events only, minutes later; here every refused call is told at once, and no other.
https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference.html
"""

from __future__ import annotations

import json
import re
import time
import uuid
from typing import Any

from tocsin.sandbox.ministack import Ministack
from tocsin.sandbox.service import ReliedOn
from tocsin.sandbox.services.iam.refusals import Refused

RELIED_ON: ReliedOn = {"services.cloudtrail": {"_get_event_queue": ""}}

_ROLE = re.compile(r"arn:aws:sts::(\d{12}):assumed-role/([^/]+)/")


class Trail:
    """Writes into the event history of ministack."""

    def __init__(self, ministack: Ministack) -> None:
        self._ministack = ministack
        self._trail = ministack.module("services.cloudtrail")

    def tell(self, refused: Refused) -> None:
        """Write one event, for the account and region of the present request."""
        service, _, operation = refused.action.partition(":")
        event = self._event(refused, f"{service}.amazonaws.com", operation)
        self._trail._get_event_queue().append(
            {
                "EventId": event["eventID"],
                "EventName": operation,
                "EventSource": event["eventSource"],
                "EventTime": time.time(),
                "Username": refused.principal.rsplit("/", 1)[-1],
                "ReadOnly": "false",
                "Resources": [],
                "CloudTrailEvent": json.dumps(event),
            }
        )

    def _event(self, refused: Refused, source: str, operation: str) -> dict[str, Any]:
        account, region = self._ministack.current_scope()
        return {
            "eventVersion": "1.11",
            "userIdentity": _identity(refused.principal, account),
            "eventTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "eventSource": source,
            "eventName": operation,
            "awsRegion": region,
            "errorCode": "AccessDenied",
            "errorMessage": refused.message,
            "requestParameters": None,
            "responseElements": None,
            "eventID": str(uuid.uuid4()),
            "eventType": "AwsApiCall",
            "resources": [{"ARN": refused.resource, "accountId": account}],
            "recipientAccountId": account,
        }


def _identity(principal: str, account: str) -> dict[str, Any]:
    found = _ROLE.match(principal)
    if found is None:
        return {"type": "IAMUser", "arn": principal, "accountId": account}
    role = f"arn:aws:iam::{found[1]}:role/{found[2]}"
    issuer = {"type": "Role", "arn": role, "accountId": account, "userName": found[2]}
    return {
        "type": "AssumedRole",
        "arn": principal,
        "accountId": account,
        "sessionContext": {"sessionIssuer": issuer},
    }
