# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""Whether EventBridge may hand something to a target: by the target's own policy, or by a role.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html

Of a sender without a role the policy of the target is asked, of one with a role the policies of that role.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tocsin.sandbox.keys import Keys
from tocsin.sandbox.metrics import Scope
from tocsin.sandbox.ministack import Ministack
from tocsin.sandbox.service import ReliedOn
from tocsin.sandbox.services.events.deadletters import DeliveryError, ErrorCode
from tocsin.sandbox.services.iam.principals import service_may

RELIED_ON: ReliedOn = {
    "core.iam_evaluator": {
        "EvalContext": "principal_arn, principal_type, principal_account, action, resource_arn, region, source_ip, "
        "secure_transport, request_tags, tag_keys, service_context, principal_keys",
        "evaluate": "ctx, policies, limits",
        "evaluate_resource_policy": "doc, ctx, service, named_only, direct_only",
        "_gather_role_policies": "role_name, account_id",
    },
    "services.iam": {"_roles": ""},
    "services.sts": {"register_session": "access_key, session"},
}

_SESSION_S = 900


@dataclass(frozen=True)
class Sender:
    """Who delivers, as a policy sees it."""

    service: str
    """The principal, such as "events.amazonaws.com"."""
    arn: str
    """`aws:SourceArn`: of the rule or the schedule."""
    scope: Scope
    role: str | None = None
    """ARN of the role in which it delivers; the target's own policy is not asked then."""


def trusts(document: str | Mapping[str, Any] | None, service: str) -> bool:
    """Whether the trust policy of a role lets an AWS service assume it."""
    try:
        policy = json.loads(document) if isinstance(document, str) else document or {}
    except ValueError:
        return False
    return any(
        statement.get("Effect") == "Allow"
        and {"sts:AssumeRole", "sts:*", "*"} & set(_listed(statement.get("Action")))
        and service in _listed((statement.get("Principal") or {}).get("Service"))
        for statement in _listed(policy.get("Statement"))
        if isinstance(statement.get("Principal"), Mapping)
    )


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


class Permissions:
    """What senders may do."""

    def __init__(self, ministack: Ministack, keys: Keys) -> None:
        self._ministack = ministack
        self._keys = keys
        self._evaluator = ministack.module("core.iam_evaluator")
        self._iam = ministack.module("services.iam")
        self._sts = ministack.module("services.sts")

    def credentials(self, sender: Sender) -> dict[str, str]:
        """Access keys (parameters of a boto3 client) with which a sender calls the AWS API in its role.

        One without a role calls it with those of the account.

        Raises:
            DeliveryError: the role does not let itself be assumed.
        """
        if sender.role is None:
            return {"aws_access_key_id": self._keys.account, "aws_secret_access_key": self._keys.secret_access_key}
        account, name, session = self._assumed(sender, sender.role)
        key, secret, token = f"ASIA{secrets.token_hex(8).upper()}", secrets.token_hex(20), secrets.token_hex(20)
        self._sts.register_session(
            key,
            {
                "Arn": session,
                "UserId": f"{name}:{account}",
                "SecretAccessKey": secret,
                "SessionToken": token,
                "Expiration": time.time() + _SESSION_S,
            },
        )
        return {"aws_access_key_id": key, "aws_secret_access_key": secret, "aws_session_token": token}

    def check(self, sender: Sender, action: str, resource: str, *policies: Any, told: bool = True) -> None:
        """Whether `sender` may; `policies` are those of the resource, of which one must allow it.

        Not `told`: the service asks without saying for which rule, so that no condition on that holds.

        Raises:
            DeliveryError: it may not.
        """
        if sender.role is not None:
            self._check_role(sender, sender.role, action, resource)
        elif not any(self._allowed(sender, action, resource, policy, told) for policy in policies if policy):
            raise DeliveryError(
                ErrorCode.NO_PERMISSIONS,
                f"{sender.service} is not authorized to perform: {action} on resource: {resource} because no "
                f"resource-based policy allows it for {sender.arn}",
            )

    def _allowed(self, sender: Sender, action: str, resource: str, policy: Any, told: bool) -> bool:
        account, region = sender.scope
        context = {"aws:sourcearn": sender.arn, "aws:sourceaccount": account} if told else {}
        return service_may(self._evaluator, policy, sender.service, action, resource, region, context)

    def _check_role(self, sender: Sender, role: str, action: str, resource: str) -> None:
        account, name, session = self._assumed(sender, role)
        context = self._evaluator.EvalContext(session, "AssumedRole", account, action, resource, sender.scope[1])
        if self._evaluator.evaluate(context, self._evaluator._gather_role_policies(name, account)).decision != "Allow":
            raise DeliveryError(
                ErrorCode.NO_PERMISSIONS, f"User: {session} is not authorized to perform: {action} on: {resource}"
            )

    def _assumed(self, sender: Sender, role: str) -> tuple[str, str, str]:
        """Account and name of a role, and the ARN of the sender's session in it."""
        account, name = role.split(":")[4], role.rsplit("/", 1)[-1]
        record = self._iam._roles.get_scoped(account, None, name)
        if record is None or not trusts(record.get("AssumeRolePolicyDocument"), sender.service):
            raise DeliveryError(
                ErrorCode.FAILED_TO_ASSUME_ROLE, f"{sender.service} is not allowed to assume the role {role}"
            )
        return account, name, f"arn:aws:sts::{account}:assumed-role/{name}/{sender.service.split('.')[0]}"
