# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""Amazon CloudWatch Logs: ministack's log groups, as Lambda and ECS write to them, in memory that is bounded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, ClassVar

from tocsin.sandbox.metrics import Scope
from tocsin.sandbox.service import ReliedOn
from tocsin.sandbox.world import World

_KEPT_EVENTS = 10_000
"""of a stream"""
_KEPT_STREAMS = 200
"""of a group"""


class Logs:
    """The log groups of one sandbox."""

    RELIED_ON: ClassVar[ReliedOn] = {
        "services.cloudwatch_logs": {
            "_log_groups": "",
            "_make_group_arn": "name",
            "_append_log_events": "stream, events",
            "_fanout_to_subscription_filters": "group_name, stream_name, events",
        },
    }

    def adapt(self, world: World) -> None:
        """Nothing is changed."""
        self._ministack = world.ministack
        self._logs = world.ministack.module("services.cloudwatch_logs")

    def write(self, scope: Scope, group: str, stream: str, lines: Sequence[tuple[int, str]]) -> None:
        """Append lines, each with its wall-clock milliseconds, to a stream; it and its group are made when missing."""
        with self._ministack.scope(scope):
            self.append(group, stream, lines)

    def has_group(self, scope: Scope, group: str) -> bool:
        """Whether a log group is there."""
        with self._ministack.scope(scope):
            return group in self._logs._log_groups

    def append(self, group: str, stream_name: str, lines: Sequence[tuple[int, str]]) -> None:
        """As `write`, for the present account and region."""
        now_ms = int(time.time() * 1000)
        stream = self._stream(group, stream_name, lines[0][0])
        events = [{"timestamp": at, "message": line, "ingestionTime": now_ms} for at, line in lines]
        self._logs._append_log_events(stream, events)
        del stream["events"][:-_KEPT_EVENTS]
        self._logs._fanout_to_subscription_filters(
            group, stream_name, [{"timestamp": at, "message": line} for at, line in lines]
        )

    def _stream(self, group_name: str, stream_name: str, now_ms: int) -> Any:
        groups = self._logs._log_groups
        group = groups.setdefault(
            group_name,
            {
                "arn": self._logs._make_group_arn(group_name),
                "creationTime": now_ms,
                "retentionInDays": None,
                "tags": {},
                "subscriptionFilters": {},
                "streams": {},
            },
        )
        streams = group["streams"]
        while len(streams) > _KEPT_STREAMS:
            streams.pop(next(iter(streams)), None)
        return streams.setdefault(
            stream_name,
            {
                "events": [],
                "uploadSequenceToken": "1",
                "creationTime": now_ms,
                "firstEventTimestamp": None,
                "lastEventTimestamp": None,
                "lastIngestionTime": None,
            },
        )
