"""Denials that nobody feels, and rights that are missing."""

from __future__ import annotations

import json

from tests.planted.bench import Bench
from tests.planted.shelf import planted

from tocsin.model.verdict import Reason

SETUP = "denied desk"


def deny(bench: Bench, *actions: str) -> None:
    """Let the experiment deny something else."""
    bench.document["method"][0]["provider"]["arguments"]["actions"] = list(actions)


@planted("a denial that no call meets", SETUP, "effect", Reason.NO_EFFECT, "no call was refused because of it")
def nobody_asks(bench: Bench) -> None:
    iam, more = bench.client("iam"), {"RoleName": "bell", "PolicyName": "more"}
    may = {"Effect": "Allow", "Action": "sqs:PurgeQueue", "Resource": "*"}
    iam.put_role_policy(**more, PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": may}))
    bench.after(lambda: iam.delete_role_policy(**more))
    deny(bench, "sqs:PurgeQueue")


@planted(
    "a denial of what a role may not do",
    SETUP,
    "guard:bites",
    Reason.REFUSED,
    "no policy of it that allows any of dynamodb",
)
def denied_already(bench: Bench) -> None:
    deny(bench, "dynamodb:GetItem")


@planted(
    "a role that lacks a right", "outage", "guard:canaries", Reason.REFUSED, "POST /orders: expected 202, found 500"
)
def lacks_a_right(bench: Bench) -> None:
    iam, own = bench.client("iam"), {"RoleName": "bell", "PolicyName": "bell"}
    document = json.dumps(iam.get_role_policy(**own)["PolicyDocument"])
    bench.after(lambda: iam.put_role_policy(**own, PolicyDocument=document))
    iam.put_role_policy(**own, PolicyDocument=document.replace("sqs:SendMessage", "sqs:ListQueues"))
