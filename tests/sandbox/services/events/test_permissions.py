"""Which roles EventBridge may assume."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tocsin.sandbox.services.events.permissions import trusts


def policy(**statement: Any) -> dict[str, Any]:
    return {"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", **statement}]}


@pytest.mark.parametrize(
    ("document", "trusted"),
    [
        (policy(Principal={"Service": "events.amazonaws.com"}), True),
        (json.dumps(policy(Principal={"Service": ["lambda.amazonaws.com", "events.amazonaws.com"]})), True),
        ({"Statement": policy(Principal={"Service": "events.amazonaws.com"})["Statement"][0]}, True),
        (policy(Principal={"Service": "scheduler.amazonaws.com"}), False),
        (policy(Principal={"AWS": "123456789012"}), False),
        (policy(Principal="*"), False),
        (policy(Principal={"Service": "events.amazonaws.com"}, Effect="Deny"), False),
        (policy(Principal={"Service": "events.amazonaws.com"}, Action="sts:TagSession"), False),
        ("no json", False),
        (None, False),
    ],
)
def test_a_trust_policy_names_the_service(document: Any, trusted: bool) -> None:
    assert trusts(document, "events.amazonaws.com") is trusted
