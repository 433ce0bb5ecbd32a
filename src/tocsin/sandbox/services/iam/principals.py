"""What a resource-based policy lets a service of AWS do: EventBridge a queue, CloudWatch a topic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def service_may(
    evaluator: Any, policy: Any, service: str, action: str, resource: str, region: str, context: Mapping[str, str]
) -> bool:
    """Whether the policy allows an action to a service principal, by ministack's own evaluator.

    `context` holds what the service tells about itself: `aws:sourcearn`, `aws:sourceaccount`.
    """
    asked = evaluator.EvalContext(
        principal_arn="*",
        principal_type="Service",
        principal_account="",
        action=action,
        resource_arn=resource,
        region=region,
        service_context=dict(context),
    )
    return bool(evaluator.evaluate_resource_policy(policy, asked, service=service).decision == "Allow")
