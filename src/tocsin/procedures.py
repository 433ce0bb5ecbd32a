"""Documented procedures as Chaos Toolkit actions: what people do when something is wrong, and after it is mended."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tocsin.errors import InvalidInput, TargetError
from tocsin.faults.base import Aws, Change
from tocsin.faults.login import database_arns, login_of, secret_arn
from tocsin.faults.session import target_of, waiter_of
from tocsin.faults.sqs import dead_letter_queue, queue_arns, queue_url
from tocsin.iam import Arns, Grant
from tocsin.model.duration import format_duration, parse_duration
from tocsin.target import Target, aws_errors

Configuration = Mapping[str, Any]
_MOVE_WALL_S = 10.0
"""A move of a few messages takes real seconds on every clock."""
_QUERY_WALL_S = 30.0
_INTERVAL = re.compile(r"\binterval\s+'[^']*'", re.IGNORECASE)


def sqs_redrive(queue: str, timeout_s: float = 900.0, configuration: Configuration | None = None) -> str:
    """Move everything in a queue's dead-letter queue back to it, until nothing more arrives there.

    Mend the cause first: messages that fail again come back. A message whose last attempt failed just before the
    mend reaches the dead-letter queue only when its visibility time-out is over, so one redrive leaves it behind;
    and one that fails again comes back only after all its attempts. This one ends when the dead-letter queue has
    stayed empty for as long as either can take. `timeout_s` is production time.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html

    Raises:
        NotFound: no such queue, or it has no dead-letter queue.
        TargetError: a move failed, or messages keep coming back.
    """
    target = target_of(configuration)
    queues = _find(target, queue)
    deadline = time.monotonic() + max(timeout_s / target.scale, _MOVE_WALL_S)
    empty_since, moved = time.monotonic(), 0
    while time.monotonic() - empty_since < queues.comes_back_within_s(moved) / target.scale:
        if time.monotonic() > deadline:
            raise TargetError(
                f"expected the dead-letter queue of {queue} to stay empty, found messages again after {moved} were "
                "moved back: the cause is not mended"
            )
        if _depth(target, queues.dead_url):
            moved += _move(target, queue, queues.dead_arn)
            empty_since = time.monotonic()
        time.sleep(max(0.1, 1.0 / target.scale))
    return f"{moved} messages moved back to {queue}"


@dataclass(frozen=True)
class _Queues:
    dead_url: str
    dead_arn: str
    visibility_timeout_s: float
    max_receive_count: int

    def comes_back_within_s(self, moved: int) -> float:
        """Production seconds in which a message may still arrive in the dead-letter queue."""
        attempts = self.max_receive_count + 1 if moved else 1
        return attempts * self.visibility_timeout_s


def _find(target: Target, queue: str) -> _Queues:
    dead_url = dead_letter_queue(target, queue)
    client = target.client("sqs")
    with aws_errors(f"reading the attributes of {queue}"):
        source = client.get_queue_attributes(
            QueueUrl=queue_url(target, queue), AttributeNames=["VisibilityTimeout", "RedrivePolicy"]
        )["Attributes"]
        dead = client.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])
    return _Queues(
        dead_url=dead_url,
        dead_arn=dead["Attributes"]["QueueArn"],
        visibility_timeout_s=float(source["VisibilityTimeout"]),
        max_receive_count=int(json.loads(source["RedrivePolicy"])["maxReceiveCount"]),
    )


def _depth(target: Target, url: str) -> int:
    with aws_errors("reading the depth of the dead-letter queue"):
        answer = target.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
    return int(answer["Attributes"]["ApproximateNumberOfMessages"])


def _move(target: Target, queue: str, dead_arn: str) -> int:
    """Start one move and wait for its end; number of messages moved."""
    client = target.client("sqs")
    with aws_errors(f"redriving the dead-letter queue of {queue}"):
        client.start_message_move_task(SourceArn=dead_arn)
    deadline = time.monotonic() + max(600.0 / target.scale, _MOVE_WALL_S)
    while True:
        with aws_errors("reading the state of the redrive"):
            tasks = client.list_message_move_tasks(SourceArn=dead_arn, MaxResults=1)["Results"]
        status = tasks[0]["Status"] if tasks else "UNKNOWN"
        if status == "COMPLETED":
            return int(tasks[0].get("ApproximateNumberOfMessagesMoved", 0))
        if status not in ("RUNNING", "UNKNOWN") or time.monotonic() > deadline:
            reason = tasks[0].get("FailureReason", "no reason given") if tasks else "it was never listed"
            raise TargetError(f"expected the redrive of {queue} to complete, found {status}: {reason}")
        time.sleep(max(0.1, 1.0 / target.scale))


def wait(duration: str, configuration: Configuration | None = None) -> str:
    """Wait for `duration` of production time: `6m`. Chaos Toolkit's own `pauses` are real seconds on every clock.

    Raises:
        InvalidInput: not a duration.
        Refused: the end of the drill was asked for.
    """
    try:
        production_s = parse_duration(duration)
    except ValueError as error:
        raise InvalidInput(f"{error}, for the procedure `wait`") from None
    waiter_of(configuration)(production_s / target_of(configuration).scale)
    return f"waited for {format_duration(production_s)}"


def postgres_query(secret: str, sql: str, rows_at_least: int = 0, configuration: Configuration | None = None) -> str:
    """Run a statement in the database that `secret` leads to, as a person with `psql` would, word for word.

    One thing is not: on a target that compresses time every `interval '...'` is divided by its scale, as every other
    duration there is. With fewer than `rows_at_least` rows in the answer the procedure did not do what it is for.

    Raises:
        TargetError: PostgreSQL refused, or answered fewer rows.
    """
    target = target_of(configuration)
    with login_of(target, secret).session(_QUERY_WALL_S) as run:
        rows = run(compressed(sql, target.scale)) or []
    if len(rows) < rows_at_least:
        raise TargetError(
            f"expected {rows_at_least} rows or more from the statement in the database of secret {secret}, found "
            f"{len(rows)}: it had nothing to work on"
        )
    return f"{len(rows)} rows"


def compressed(sql: str, scale: float) -> str:
    """`sql` with its intervals divided by the time scale of a target."""
    return sql if scale == 1 else _INTERVAL.sub(lambda found: f"({found[0]} / {scale:g})", sql)


def _query_grant(arguments: Mapping[str, Any], arns: Arns) -> Grant:
    return Grant(
        sid="Procedures",
        actions=("secretsmanager:GetSecretValue",),
        resources=(secret_arn(arguments["secret"], arns),),
    )


def _redrive_grant(arguments: Mapping[str, Any], arns: Arns) -> Grant:
    """Moving is done with the caller's own permissions on both queues; only the account names the dead-letter queue.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html
    """
    actions = ("GetQueueUrl", "GetQueueAttributes", "StartMessageMoveTask", "ListMessageMoveTasks")
    moving = ("ReceiveMessage", "DeleteMessage", "SendMessage")
    return Grant(
        sid="Procedures",
        actions=tuple(f"sqs:{action}" for action in (*actions, *moving)),
        resources=(arns("sqs", "*"),),
    )


@dataclass(frozen=True)
class _Call:
    """A procedure that is about to change something."""

    name: str
    arguments: Mapping[str, Any]

    @property
    def resource(self) -> str:
        return f"what {self.name} works on"

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return ARNS[self.name](self.arguments, aws)


def change_of(activity: Mapping[str, Any]) -> Change | None:
    """What an activity of an experiment changes, where it is one of these procedures; else None."""
    provider = activity.get("provider") or {}
    if provider.get("module") != __name__ or provider.get("func") not in ARNS:
        return None
    return _Call(provider["func"], provider.get("arguments") or {})


GRANTS: Mapping[str, Callable[[Mapping[str, Any], Arns], Grant]] = {
    "postgres_query": _query_grant,
    "sqs_redrive": _redrive_grant,
}
"""What each procedure needs of IAM with these arguments."""

ARNS: Mapping[str, Callable[[Mapping[str, Any], Aws], tuple[str, ...]]] = {
    "postgres_query": lambda arguments, aws: database_arns(aws, arguments["secret"]),
    "sqs_redrive": lambda arguments, aws: queue_arns(aws, arguments["queue"]),
}
"""ARNs of what each procedure works on, asked of the account."""

__all__ = ["postgres_query", "sqs_redrive", "wait"]
