"""Counts work in the system's own logs: everything accepted must be processed, once."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from tocsin.context import RunContext
from tocsin.errors import NotFound
from tocsin.iam import Arns, Grant
from tocsin.model.events import WorkCounted
from tocsin.model.system import Conservation, LogCount, System
from tocsin.target import aws_errors

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

    `since` is epoch seconds; `patience_s` production seconds.

    Raises:
        TargetError: CloudWatch Logs did not answer.
    """
    conservation = ctx.system.conservation[rule]
    started = time.monotonic()
    while True:
        counted = _count(ctx, rule, conservation, since, time.monotonic() - started)
        if not counted.lost_count or time.monotonic() - started > max(ctx.wall(patience_s), 3.0):
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
        yield from _log_lines(ctx, source, since)
    except NotFound:
        return  # the log group of a function is made by its first invocation: nothing was accepted or processed


def _log_lines(ctx: RunContext, source: LogCount, since: float) -> Iterator[str]:
    client = ctx.target.client("logs")
    with aws_errors(f"reading the log group {source.log_group}"):
        pages = client.get_paginator("filter_log_events").paginate(
            logGroupName=source.log_group,
            # A quoted term narrows the search; which field it stands in is checked on the parsed line.
            filterPattern=f'"{source.event}"',
            startTime=int(since * 1000),
        )
        for page in pages:
            for event in page["events"]:
                yield event["message"]


def json_line(message: str) -> dict[str, Any]:
    """The JSON object of a log line; empty when it holds none."""
    # Lambda may put its own prefix (time, request id, level) before the line.
    start = message.find("{")
    try:
        line = json.loads(message[start:]) if start >= 0 else {}
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}
