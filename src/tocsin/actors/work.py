"""Counts work in the system's own logs: everything accepted must be processed, once."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from tocsin.actors.context import RunContext
from tocsin.aws.again import asked_again
from tocsin.aws.iam import Arns, Grant
from tocsin.aws.logs import log_lines
from tocsin.errors import NotFound
from tocsin.model.events import WorkCounted
from tocsin.model.system import Conservation, LogCount, System

_NAMED = 20
"""How many lost or duplicated keys are named in the history."""


def grants(system: System, arns: Arns) -> Iterator[Grant]:
    """What counting the work of this system needs of IAM."""
    rules = system.conservation.values()
    groups = {source.log_group for rule in rules for source in (*rule.accepted, rule.processed)}
    if groups:
        yield log_grant(groups, arns)


def log_grant(groups: Iterable[str], arns: Arns) -> Grant:
    """Reading the lines of log groups; `*` is any of them."""
    # A log group is named with and without the `:*` that stands for its streams.
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/iam-access-control-overview-cwl.html
    names = sorted(groups)
    resources = tuple(arns("logs", f"log-group:{name}{end}") for name in names for end in ("", ":*"))
    return Grant(sid="ReadLogs", actions=("logs:FilterLogEvents",), resources=resources)


def count_work(ctx: RunContext, rule: str, since: float, patience_s: float) -> WorkCounted:
    """Count one conservation rule, waiting until nothing accepted is missing, or the patience ends.

    Logs that cannot be read are read again. `since` is epoch seconds; `patience_s` production seconds.

    Raises:
        TargetError: CloudWatch Logs did not answer to the end.
    """
    conservation = ctx.system.conservation[rule]
    started, patience = time.monotonic(), max(ctx.wall(patience_s), 3.0)

    def count() -> WorkCounted:
        return _count(ctx, rule, conservation, since, time.monotonic() - started)

    while True:
        counted = asked_again(count, started + patience - time.monotonic(), ctx.stop.wait)
        if not counted.lost_count or time.monotonic() - started > patience:
            return counted
        ctx.stop.wait(0.25)


def _count(ctx: RunContext, rule: str, conservation: Conservation, since: float, waited_s: float) -> WorkCounted:
    # Processed first: what is accepted between the two readings is then missing, and waited for, never overlooked.
    processed = Counter(_keys(ctx, [conservation.processed], since))
    accepted = set(_keys(ctx, conservation.accepted, since))
    lost = sorted(accepted - processed.keys())
    duplicated = sorted(key for key, times in processed.items() if times > 1)
    return WorkCounted(
        at=ctx.now(),
        rule=rule,
        accepted=len(accepted),
        processed=len(accepted & processed.keys()),
        lost=tuple(lost[:_NAMED]),
        lost_count=len(lost),
        duplicated=tuple(duplicated[:_NAMED]),
        duplicated_count=len(duplicated),
        waited_s=round(waited_s, 3),
    )


def _keys(ctx: RunContext, sources: Iterable[LogCount], since: float) -> Iterator[str]:
    for source in sources:
        for message in _lines_so_far(ctx, source, since):
            line = json_line(message)
            if line.get("event") == source.event and line.get(source.key) is not None:
                yield str(line[source.key])


def _lines_so_far(ctx: RunContext, source: LogCount, since: float) -> Iterator[str]:
    try:
        yield from log_lines(ctx.target, source.log_group, [source.event], since)
    except NotFound:
        return  # the log group of a function is made by its first invocation: nothing was accepted or processed


def json_line(message: str) -> dict[str, Any]:
    """The JSON object of a log line; empty when it holds none."""
    # Lambda may put its own prefix (time, request id, level) before the line.
    start = message.find("{")
    try:
        line = json.loads(message[start:]) if start >= 0 else {}
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}
