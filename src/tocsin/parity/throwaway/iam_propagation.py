"""How long it takes until a role that was made, and a policy that was written, are obeyed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import boto3
from botocore.exceptions import ClientError

from tocsin.aws.error_codes import DENIED
from tocsin.aws.sqs import queue_url
from tocsin.aws.target import aws_errors
from tocsin.errors import TargetError
from tocsin.parity.model import Key, Measured
from tocsin.parity.throwaway.kinds.messaging import ParityQueue
from tocsin.parity.throwaway.kinds.role import ParityRole, put_policy
from tocsin.parity.throwaway.workshop import Workshop, figure

ASSUMED, ALLOWED, DENIED_AGAIN = "a new role is assumed", "a new policy allows", "a policy that changed denies"
PROPAGATION = tuple((Key.IAM_PROPAGATION, about) for about in (ASSUMED, ALLOWED, DENIED_AGAIN))

_OBEYED_S = 300.0
_ACTION = "sqs:ListQueueTags"


def propagation(shop: Workshop) -> Iterator[Measured]:
    """Of a role of our own, which may look at a queue of our own and at nothing else."""
    queue = shop.make(ParityQueue(name=shop.name("looked")))
    url = queue_url(shop.ctx.target, queue.name)
    role = shop.make(ParityRole(name=shop.name("looks"), trusted=str(shop.ctx.target.account)))
    made_at = shop.ctx.clock.now()
    keys = shop.seen(f"{role.resource} can be assumed", lambda: _assume(shop, role), _OBEYED_S)
    yield figure(Key.IAM_PROPAGATION, ASSUMED, shop.since(made_at))

    sqs = _client_with(shop, keys)
    if _allowed(sqs, url):
        raise TargetError(
            f"expected a role without a policy to be denied {_ACTION} on {queue.resource}, found that it may: this "
            "target does not ask policies"
        )
    allow = {"Effect": "Allow", "Action": _ACTION, "Resource": queue.arns(shop.aws)[0]}
    yield _obeyed(shop, ALLOWED, lambda: put_policy(shop.aws, role.name, allow), lambda: _allowed(sqs, url) or None)
    deny = {**allow, "Effect": "Deny"}
    yield _obeyed(
        shop, DENIED_AGAIN, lambda: put_policy(shop.aws, role.name, allow, deny), lambda: not _allowed(sqs, url) or None
    )


def _obeyed(shop: Workshop, about: str, change: Callable[[], None], question: Callable[[], bool | None]) -> Measured:
    change()
    changed_at = shop.ctx.clock.now()
    shop.seen(about, question, _OBEYED_S)
    return figure(Key.IAM_PROPAGATION, about, shop.since(changed_at))


def _assume(shop: Workshop, role: ParityRole) -> dict[str, str] | None:
    """Keys of the role; None as long as STS does not know that we may have them."""
    with aws_errors(f"assuming {role.resource}"):
        try:
            answer = shop.aws.client("sts").assume_role(
                RoleArn=role.arns(shop.aws)[0], RoleSessionName=role.name, DurationSeconds=900
            )
        except ClientError as error:
            if not _denied(error):
                raise
            return None
        keys: dict[str, str] = answer["Credentials"]
        return keys


def _client_with(shop: Workshop, keys: dict[str, str]) -> Any:
    """A client that is signed with keys of the role, and of nobody else."""
    target = shop.ctx.target
    session = boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], target.region)
    return session.client("sqs", endpoint_url=target.endpoint_url)


def _allowed(sqs: Any, url: str) -> bool:
    with aws_errors("looking at our queue as our role"):
        try:
            sqs.list_queue_tags(QueueUrl=url)
        except ClientError as error:
            if not _denied(error):
                raise
            return False
    return True


def _denied(error: ClientError) -> bool:
    return error.response.get("Error", {}).get("Code", "") in DENIED
